"""A bundle in memory is checked as one on a disk is, and written in one step."""

from __future__ import annotations

import numpy as np
import pytest

from roadworthy.bundle.packed import open_packed, pack, unpack
from roadworthy.bundle.reader import read_bundle
from roadworthy.bundle.writer import write_bundle
from roadworthy.core.errors import BundleError, UsageError
from tests.unit.bundle import made


@pytest.fixture(params=["net.rw", "folder"])
def path(request, tmp_path):
    path = tmp_path / request.param
    write_bundle(path, made.content())
    return path


def test_there_and_back(path, tmp_path):
    packed = pack(path)
    bundle, expected = open_packed(packed, "memory"), read_bundle(path)
    assert bundle.manifest == expected.manifest
    for name in expected.manifest.files:
        assert bundle.read(name) == expected.read(name)
    out = tmp_path / "again.rw"
    unpack(packed, out)
    unpack(packed, out)
    assert read_bundle(out).manifest == expected.manifest
    if path.is_file():
        assert out.read_bytes() == path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, "again.rw"])


def test_every_changed_byte_is_found(tmp_path):
    write_bundle(tmp_path / "net.rw", made.content())
    packed = pack(tmp_path / "net.rw")
    rng = np.random.default_rng(0)
    places = {0, len(packed) - 1, *rng.integers(0, len(packed), 200).tolist()}
    for place in places:
        damaged = packed.copy()
        damaged[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(BundleError):
            open_packed(damaged, "memory")
    for short in (packed[:-1], packed[: len(packed) // 2], packed[:3], packed[1:]):
        with pytest.raises(BundleError):
            open_packed(np.ascontiguousarray(short), "memory")


def test_what_changes_later_is_found_when_it_is_read(tmp_path):
    write_bundle(tmp_path / "net.rw", made.content())
    packed = pack(tmp_path / "net.rw")
    bundle = open_packed(packed, "memory")
    name = bundle.manifest.model[0]
    at = bytes(packed).index(name.encode()) + len(name) + 4
    packed[at] ^= 1
    with pytest.raises(BundleError, match=r"damaged|changed"):
        bundle.read(name)


def test_nothing_of_a_user_is_written_over(tmp_path):
    write_bundle(tmp_path / "net.rw", made.content())
    packed = pack(tmp_path / "net.rw")
    (tmp_path / "notes.rw").write_text("mine")
    for name, said in (
        ("net.zip", "named \\*.rw"),
        ("notes.rw", "not overwritten"),
        ("nowhere/net.rw", "doesn't exist"),
    ):
        with pytest.raises(UsageError, match=said):
            unpack(packed, tmp_path / name)
    assert (tmp_path / "notes.rw").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.rw", "notes.rw"]


def test_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "text.rw").write_text("not a zip")
    with pytest.raises(BundleError):
        pack(tmp_path / "nowhere.rw")
    with pytest.raises(BundleError):
        open_packed(pack(tmp_path / "text.rw"), "memory")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BundleError):
        pack(tmp_path / "folder")
