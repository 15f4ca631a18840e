"""Sample files: whatever is written comes back, whatever is damaged is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from roadworthy.core.account import take_account
from roadworthy.core.errors import SamplesError
from roadworthy.core.samples import load_samples, read_npy, read_npz
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
