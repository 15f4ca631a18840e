"""Samples: the forms they come in, and everything that isn't one of them."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from roadworthy.core.errors import MissingExtraError, SamplesError
from roadworthy.core.npz import read_npy, read_npz
from roadworthy.core.samples import Sample, Samples, load_samples, random_samples
from roadworthy.core.signature import Array, Dim, Feed, Signature, TensorSpec

RANKS = {"x": 2, "n": 0}
ONE = {"x": np.ones((2, 3), np.float32), "n": np.array(7)}
SIGNATURE = Signature(
    (TensorSpec("x", "float32", (Dim("batch"), 3)), TensorSpec("n", "int64", ())), ()
)


def load(path: Path, ranks: dict[str, int] | None = None, only: str | None = "x") -> Samples:
    return load_samples(path, ranks, only)


def same(one: Feed, other: Feed) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[k], other[k]) and one[k].shape == other[k].shape for k in one
    )


# An .npz


def test_an_npz_with_the_inputs_own_ranks_is_one_feed(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **ONE)
    samples = load(tmp_path / "a.npz", RANKS)
    assert (len(samples), samples.kind) == (1, "npz")
    assert same(samples[0], ONE)


def test_an_npz_with_one_more_leading_axis_is_that_many_feeds(tmp_path: Path) -> None:
    x, n = np.arange(24, dtype=np.float32).reshape(4, 2, 3), np.arange(4)
    np.savez(tmp_path / "a.npz", x=x, n=n)
    samples = load(tmp_path / "a.npz", RANKS)
    assert [item.name for item in samples.items] == [f"a.npz#{i}" for i in range(4)]
    for i, feed in enumerate(samples):
        assert same(feed, {"x": x[i], "n": n[i]})
    samples.check(SIGNATURE)


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": np.ones((4, 2, 3)), "n": np.array(7)},  # only one of them has more axes
        {"x": np.ones((4, 2, 3)), "n": np.arange(3)},  # 4 feeds or 3?
        {"x": np.ones((5, 4, 2, 3)), "n": np.ones((5, 4))},  # two more axes
        {"x": np.ones((4, 2, 3)), "z": np.ones((4, 2))},  # an unknown name
    ],
)
def test_anything_between_is_one_feed_and_then_does_not_fit(
    arrays: dict[str, Array], tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    samples = load(tmp_path / "a.npz", RANKS)
    assert len(samples) == 1
    with pytest.raises(SamplesError, match=r"a\.npz"):
        samples.check(SIGNATURE)


def test_an_npz_of_no_feeds_at_all_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((0, 2, 3), np.float32), n=np.ones(0))
    with pytest.raises(SamplesError, match="no samples"):
        load(tmp_path / "a.npz", RANKS)


# A folder


def test_in_a_folder_each_file_is_one_feed_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        np.save(tmp_path / f"{name}.npy", np.full((2, 3), ord(name), np.float32))
    (tmp_path / "notes.txt").write_text("not a sample")
    (tmp_path / ".hidden.npy").write_bytes(b"")
    (tmp_path / "folder.npy").mkdir()
    samples = load(tmp_path)
    assert samples.kind == "npy"
    assert [item.name for item in samples.items] == ["a.npy", "b.npy", "c.npy"]
    assert [chr(int(feed["x"][0, 0])) for feed in samples] == ["a", "b", "c"]


def test_in_a_folder_an_npz_is_one_feed_whatever_its_ranks(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((4, 2, 3), np.float32), n=np.arange(4))
    assert len(load(tmp_path, RANKS)) == 1


def test_a_mixed_folder_says_so(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ONE["x"])
    np.savez(tmp_path / "b.npz", x=ONE["x"])
    (tmp_path / "c.png").write_bytes(b"an image, to whom it may concern")
    samples = load_samples(tmp_path, None, "x", lambda path: {"x": ONE["x"]})
    assert samples.kind == "mixed"
    assert all(same(feed, {"x": ONE["x"]}) for feed in samples)
    assert [item.file and item.file.name for item in samples.items] == ["a.npy", "b.npz", "c.png"]


def test_images_without_a_preprocess_are_refused_with_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.PNG").write_bytes(b"")
    for path in (tmp_path, tmp_path / "a.PNG"):
        with pytest.raises(SamplesError) as caught:
            load(path)
        assert "--preprocess" in str(caught.value.remedy)


def test_an_npy_needs_a_network_with_one_input(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ONE["x"])
    with pytest.raises(SamplesError, match="several inputs"):
        load(tmp_path, only=None)


@pytest.mark.parametrize("what", ["nothing there", "empty folder", "another ending", "device"])
def test_no_samples_there(what: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    paths = {
        "nothing there": tmp_path / "b",
        "empty folder": tmp_path,
        "another ending": tmp_path / "a.txt",
        "device": Path(os.devnull),
    }
    with pytest.raises(SamplesError) as caught:
        load(paths[what])
    assert caught.value.exit_code == 2
    assert str(paths[what]) in str(caught.value.where)


# Damaged and hostile files


def npz_bytes(**arrays: Array) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


WHOLE = npz_bytes(x=np.random.default_rng(0).standard_normal(500))


@pytest.mark.parametrize("length", [0, 1, 10, 60, len(WHOLE) // 2, len(WHOLE) - 1])
def test_a_truncated_npz_is_refused(length: int, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(WHOLE[:length])
    with pytest.raises(SamplesError) as caught:
        read_npz(path)
    assert str(path) in str(caught.value.where)


@pytest.mark.parametrize("length", [0, 5, 30, 127, 4000])
def test_a_truncated_npy_is_refused(length: int, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(1000))
    path = tmp_path / "a.npy"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(SamplesError):
        read_npy(path)


def test_an_npz_that_is_an_npy_and_the_other_way_round(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    (tmp_path / "b.npy").write_bytes(WHOLE)
    with pytest.raises(SamplesError, match="one array, not named ones"):
        read_npz(tmp_path / "a.npz")
    with pytest.raises(SamplesError, match="several arrays"):
        read_npy(tmp_path / "b.npy")


def test_an_npz_without_arrays_or_with_other_things_inside(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w"):
        pass
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as file:
        file.writestr("readme.txt", "no array")
    with pytest.raises(SamplesError, match="no arrays"):
        read_npz(tmp_path / "a.npz")
    with pytest.raises(SamplesError, match="readme"):
        read_npz(tmp_path / "b.npz")


def test_a_file_that_is_something_else_is_not_called_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x89PNG\r\n\x1a\n and so on")
    with pytest.raises(SamplesError, match="no NumPy arrays"):
        read_npy(path)


class Malicious:
    """Unpickled, it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_is_never_executed(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    objects = np.empty(1, object)
    objects[0] = Malicious(trace)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=objects)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Malicious(trace)))
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Malicious(trace)))
    # It does create the file if it is unpickled: otherwise this test would prove nothing.
    pickle.loads((tmp_path / "b.npz").read_bytes()).close()
    trace.unlink()
    for path in sorted(tmp_path.glob("*.np?")):
        with pytest.raises(SamplesError, match="pickled Python objects"):
            load(path)[0]
    with pytest.raises(SamplesError, match="pickled"):
        load(tmp_path)[0]
    assert not trace.exists()


# Checking


def test_check_names_the_sample_that_does_not_fit(tmp_path: Path) -> None:
    good, bad = dict(ONE), {**ONE, "x": np.ones((2, 4), np.float32)}
    samples = Samples.of_arrays([good, good, bad], source="mine")
    with pytest.raises(SamplesError, match=r"mine#2.*\[2, 4\]") as caught:
        samples.check(SIGNATURE)
    assert caught.value.remedy


def test_check_leaves_errors_that_are_not_the_samples_fault_as_they_are() -> None:
    def load_image() -> Feed:
        raise MissingExtraError("PIL", "vision", "reading images")

    samples = Samples("folder", "images", [Sample("a.png", load_image)])
    with pytest.raises(MissingExtraError):  # exit 4, not 2
        samples.check(SIGNATURE)


def test_samples_are_a_sequence() -> None:
    feeds = [{"x": np.full((1, 3), i, np.float32)} for i in range(5)]
    samples = Samples.of_arrays(feeds)
    assert [int(feed["x"][0, 0]) for feed in samples[1:3]] == [1, 2]
    assert samples[-1] is feeds[4]
    with pytest.raises(IndexError):
        samples[5]
    with pytest.raises(SamplesError, match="no samples"):
        Samples.of_arrays([])


# Random ones


def test_random_samples_are_marked_for_good() -> None:
    samples = random_samples(SIGNATURE)
    assert samples.is_random and samples[1:].is_random
    assert (samples.kind, samples.account().kind) == ("random", "random")
    assert not Samples.of_arrays([ONE]).is_random
    samples.check(SIGNATURE)


def test_random_samples_are_repeatable_and_differ_from_one_another() -> None:
    one, other = random_samples(SIGNATURE), random_samples(SIGNATURE)
    assert all(same(a, b) for a, b in zip(one, other, strict=True))
    assert not same(one[0], one[1])
    assert not same(one[0], random_samples(SIGNATURE, seed=1)[0])


@pytest.mark.parametrize(
    ("dim", "size"),
    [
        (Dim("n"), 2),
        (Dim("n", 1, 1), 1),
        (Dim("n", 0, 0), 0),
        (Dim("n", 5, 9), 5),
        (Dim("n", 1, 4097, 16), 17),  # the lowest of 2 and more, not the largest
        (Dim("n", 0, 9, 3), 3),
    ],
)
def test_random_samples_take_the_lowest_size_from_2_on(dim: Dim, size: int) -> None:
    spec = Signature((TensorSpec("x", "float32", (dim,)),), ())
    samples = random_samples(spec)
    samples.check(spec)
    assert samples[0]["x"].shape == (size,)


@pytest.mark.parametrize("dtype", ["str", "bfloat16", "float8_e4m3fn", "int4", "uint2"])
def test_what_cannot_be_invented_is_said(dtype: str) -> None:
    with pytest.raises(SamplesError, match=r"can't be invented"):
        random_samples(Signature((TensorSpec("x", dtype, (2,)),), ()))[0]


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "int64", "float16", "float32", "float64", "complex64"]
)
@pytest.mark.parametrize("shape", [(), (0,), (3, 4)])
def test_what_can_be_invented_fits(dtype: str, shape: tuple[int, ...]) -> None:
    spec = Signature((TensorSpec("x", dtype, shape),), ())
    random_samples(spec).check(spec)
