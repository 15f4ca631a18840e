"""Many samples in one `.npz` stay on disk, whatever their number, and are those that were saved."""

from __future__ import annotations

import gc
import resource
import tempfile
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roadworthy.core.account import take_account
from roadworthy.core.errors import SamplesError
from roadworthy.core.npz import Stack, open_npz, read_npz
from roadworthy.core.samples import load_samples

SAVING = pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
Save = Callable[..., None]

_SAMPLE = 1 << 20  # bytes


def stack(count: int) -> np.ndarray:
    """Return so many samples of `_SAMPLE` bytes; they are easy to compress."""
    return np.arange(count * _SAMPLE // 4, dtype=np.uint32).reshape(count, -1) >> 12


def open_files() -> int:
    gc.collect()
    return len(list(Path("/dev/fd").iterdir()))


@SAVING
def test_memory_doesnt_grow_with_the_samples(save: Save, tmp_path: Path) -> None:
    save(tmp_path / "a.npz", x=stack(48))
    tracemalloc.start()
    try:
        samples = load_samples(tmp_path / "a.npz", {"x": 1}, None)
        assert len(samples) == 48
        total = sum(int(feed["x"].sum()) for feed in samples)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == stack(48).sum()
    # One sample at a time, the next one while the last is still held, and what reads a zip.
    assert peak < 5 * _SAMPLE


@SAVING
def test_the_account_is_that_of_the_arrays(save: Save, tmp_path: Path) -> None:
    x, n = np.random.default_rng(0).standard_normal((4, 3)).astype(">f4"), np.arange(4, dtype=">i2")
    save(tmp_path / "a.npz", x=x, n=n)
    found = load_samples(tmp_path / "a.npz", {"x": 1, "n": 0}, None).account()
    feeds = [(f"a.npz#{i}", {"x": x[i], "n": n[i]}) for i in range(4)]
    assert found == take_account(str(tmp_path / "a.npz"), "npz", feeds)


@SAVING
def test_a_sample_is_the_callers_to_keep(save: Save, tmp_path: Path) -> None:
    save(tmp_path / "a.npz", x=stack(2))
    kept = open_npz(tmp_path / "a.npz")["x"]
    first = kept[0]
    first += 1
    np.testing.assert_array_equal(kept[0], stack(2)[0])
    with pytest.raises(IndexError):
        kept[2]


def test_a_zip_with_something_before_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", x=stack(2), y=stack(3))
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04" + bytes(61) + (tmp_path / "b.npz").read_bytes())
    arrays = open_npz(tmp_path / "a.npz")
    for name, wanted in read_npz(tmp_path / "a.npz").items():
        assert isinstance(arrays[name], Stack)
        np.testing.assert_array_equal(arrays[name][1], wanted[1])


@SAVING
def test_nothing_stays_open_and_no_file_is_left(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    save(tmp_path / "a.npz", x=stack(2), y=stack(2))
    before = open_files()
    samples = load_samples(tmp_path / "a.npz", {"x": 1, "y": 1}, None)
    assert open_files() == before + 2
    assert samples[1].keys() == {"x", "y"}
    # Without a name it is gone even if the process is killed.
    assert list((tmp_path / "scratch").iterdir()) == []
    del samples
    assert open_files() == before


def test_a_full_disk_is_said_with_what_to_do(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=stack(8))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * _SAMPLE, limits[1]))
    try:
        with pytest.raises(SamplesError, match="couldn't be unpacked: File too large") as caught:
            open_npz(tmp_path / "a.npz")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.where == str(tmp_path / "a.npz")
    assert "TMPDIR to a folder with room for 8 MB" in str(caught.value.remedy)


def test_no_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=stack(2))
    np.savez(tmp_path / "b.npz", x=stack(2))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(SamplesError, match="couldn't be unpacked: No such file"):
        open_npz(tmp_path / "a.npz")
    assert open_npz(tmp_path / "b.npz")["x"].shape == (2, _SAMPLE // 4)


@pytest.mark.parametrize("content", [b"", b"shorter", bytes(9 * _SAMPLE)])
def test_a_file_that_is_written_to_while_it_is_used(content: bytes, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=stack(8))
    samples = load_samples(tmp_path / "a.npz", {"x": 1}, None)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(SamplesError, match="written to while") as caught:
        samples[7]
    assert caught.value.where == str(tmp_path / "a.npz")


@SAVING
def test_a_file_that_is_replaced_or_removed_is_the_old_one_here(save: Save, tmp_path: Path) -> None:
    save(tmp_path / "a.npz", x=stack(3))
    samples = load_samples(tmp_path / "a.npz", {"x": 1}, None)
    (tmp_path / "a.npz").unlink()
    np.testing.assert_array_equal(samples[2]["x"], stack(3)[2])


@pytest.mark.parametrize("read", [read_npz, open_npz])
@pytest.mark.parametrize("second", ["x.npy", "x"])
def test_a_name_twice_is_refused(read: Any, second: str, tmp_path: Path) -> None:
    """NumPy gives the last one in silence; another reader, the first."""
    np.save(tmp_path / "x.npy", np.zeros(3, np.float32))
    content = (tmp_path / "x.npy").read_bytes()
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("x.npy", second):
            archive.writestr(name, content)
    with pytest.raises(SamplesError, match="'x' more than once"):
        read(tmp_path / "s.npz")
