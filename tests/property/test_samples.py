"""Sample files: whatever is written comes back, whatever is damaged is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from roadworthy.core.account import take_account
from roadworthy.core.errors import SamplesError
from roadworthy.core.npz import open_npz, read_npy, read_npz
from roadworthy.core.samples import load_samples
from roadworthy.core.signature import Array

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_, np.complex64]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
FEEDS = st.dictionaries(st.from_regex(r"\A[a-z_:/. ]{1,8}\Z"), ARRAYS, min_size=1, max_size=3)


def npz(feed: dict[str, Array]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **feed)  # type: ignore[arg-type]
    return file.getvalue()


WHOLE = npz({"x": np.random.default_rng(0).standard_normal((5, 9)), "n": np.arange(3)})


@given(feed=FEEDS)
def test_a_feed_comes_back_bit_for_bit(feed: dict[str, Array], tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(npz(feed))
    samples = load_samples(path, None, None)
    assert len(samples) == 1
    back = samples[0]
    assert back.keys() == feed.keys()
    for name, array in feed.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tobytes() == array.tobytes()


@given(feeds=st.integers(1, 4), feed=FEEDS)
def test_many_feeds_in_one_file_are_those_feeds(
    feeds: int, feed: dict[str, Array], tmp_path: Path
) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(npz({name: np.stack([array] * feeds) for name, array in feed.items()}))
    samples = load_samples(path, {name: array.ndim for name, array in feed.items()}, None)
    assert len(samples) == feeds
    for one in samples:
        assert all(np.array_equal(one[name], feed[name], equal_nan=True) for name in feed)


@given(data=st.data())
@settings(max_examples=250)
def test_damage_is_refused_in_our_words_or_harmless(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    for name, read in (("a.npz", read_npz), ("a.npy", read_npy)):
        (tmp_path / name).write_bytes(bytes(content))
        try:
            read(tmp_path / name)
        except SamplesError as error:
            assert "\n" not in error.what


STACKS = hnp.arrays(
    st.one_of(
        st.sampled_from(
            [np.dtype(text) for text in ("<f2", ">f4", "<f8", ">i2", "<i8", "u1", "?")]
        ),
        st.sampled_from([np.dtype(text) for text in ("<c8", "<U3", ">U1", "S2", "<U0", "<M8[s]")]),
        st.just(np.dtype([("a", "<f4"), ("b", "u1")])),
    ),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
SAVING = st.sampled_from([np.savez, np.savez_compressed])


@given(stacks=st.dictionaries(st.sampled_from("abc"), STACKS, min_size=1), data=st.data())
def test_arrays_that_stay_on_disk_are_those_that_numpy_reads(
    stacks: dict[str, Array], data: st.DataObject, tmp_path: Path
) -> None:
    path = tmp_path / "a.npz"
    orders = {k: np.asarray(v, order=data.draw(st.sampled_from("CF"))) for k, v in stacks.items()}
    data.draw(SAVING)(path, **orders)
    found = open_npz(path)
    with np.load(path) as archive:
        assert list(found) == archive.files
        for name, wanted in archive.items():
            assert (found[name].shape, found[name].ndim) == (wanted.shape, wanted.ndim)
            for index in range(len(wanted) if wanted.ndim else 0):
                one, other = np.asarray(found[name][index]), np.asarray(wanted[index])
                assert (one.dtype, one.shape) == (other.dtype, other.shape)
                assert one.tobytes() == other.tobytes()


@given(save=SAVING, data=st.data())
@settings(max_examples=250)
def test_damage_is_found_before_any_sample_is_used(
    save: Callable[..., None], data: st.DataObject, tmp_path: Path
) -> None:
    path = tmp_path / "a.npz"
    save(path, x=np.arange(45, dtype=np.float32).reshape(5, 9), n=np.arange(5))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    try:
        wanted = read_npz(path)
    except SamplesError as error:
        with pytest.raises(SamplesError) as caught:
            open_npz(path)
        assert str(caught.value) == str(error)
        return
    for name, found in open_npz(path).items():
        assert found.shape == wanted[name].shape
        if found.ndim:
            for index, value in enumerate(wanted[name]):
                assert found[index].tobytes() == value.tobytes()


@given(feed=FEEDS, data=st.data())
def test_the_digest_is_stable_and_changes_with_any_byte(
    feed: dict[str, Array], data: st.DataObject
) -> None:
    digest = take_account("s", "k", [("a", feed)]).digest
    again = {name: feed[name].copy(order="F") for name in reversed(feed)}
    assert take_account("s", "k", [("b", again)]).digest == digest
    name = data.draw(st.sampled_from(sorted(feed)))
    raw = bytearray(feed[name].tobytes())
    if raw:
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1
        other = np.frombuffer(bytes(raw), feed[name].dtype).reshape(feed[name].shape)
        assert take_account("s", "k", [("a", {**feed, name: other})]).digest != digest
