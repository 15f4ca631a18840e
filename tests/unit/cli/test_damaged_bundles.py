"""Damaged bundles, and destinations that belong to somebody else: exit 2, nothing touched."""

from __future__ import annotations

import zipfile

import pytest

from tests.unit.cli import made
from tests.unit.cli.refusals import deploy, refused


@pytest.fixture
def place(tmp_path):
    """A folder with a good model, good samples, and room for damaged ones."""
    made.write_perceptron(tmp_path)
    return tmp_path


# Bundles


@pytest.fixture
def bundle(place, command):
    """A whole bundle."""
    ended = command(*deploy(place))
    assert ended.code == 0, ended
    return place / "new.rw"


def reading(path, place):
    """Every command that opens a bundle."""
    return [
        ("verify", path),
        ("bundle", "show", path),
        ("bundle", "extract", path, "--out", place / "extracted"),
        ("report", path, "--out", place / "page.html"),
        ("predict", path, place / "new.rw", "--save", place / "picture.png"),
        ("bench", path, "--seconds", "0.1"),
    ]


def test_a_flipped_byte_anywhere_in_a_bundle(command, scratch, place, bundle):
    content = bundle.read_bytes()
    damaged = place / "damaged.rw"
    for position in range(0, len(content), len(content) // 40):
        damaged.write_bytes(
            content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :]
        )
        ended = command("bundle", "show", damaged, "--json")
        assert (ended.code, ended.error["code"]) == (2, "bundle"), position


def test_every_command_refuses_a_damaged_bundle(command, scratch, place, bundle):
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = place / "damaged.rw"
    damaged.write_bytes(content)
    for words in reading(damaged, place):
        error = refused(command, scratch, place, *words, code="bundle")
        assert "damaged.rw" in error["where"]


def test_a_zip_that_climbs_out(command, scratch, place):
    inner = place / "inner"
    inner.mkdir()
    evil = inner / "evil.rw"
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("manifest.json", "{}")
        archive.writestr("../climbed.txt", "out")
    for words in reading(evil, inner):
        refused(command, scratch, place, *words, code="bundle")
    assert not (place / "climbed.txt").exists()


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"not a zip at all", b"\x80\x04N."])
def test_not_a_bundle(command, scratch, place, content):
    path = place / "no.rw"
    path.write_bytes(content)
    for words in reading(path, place):
        refused(command, scratch, place, *words)


def test_a_bundle_that_is_not_there(command, scratch, place):
    for words in reading(place / "nowhere.rw", place):
        error = refused(command, scratch, place, *words)
        assert "nowhere.rw" in error["what"] + error["where"]


def test_a_bundle_as_a_source(command, scratch, place, bundle):
    before = bundle.read_bytes()
    error = refused(command, scratch, place, *deploy(place, "new.rw"))
    assert "bundle" in error["what"] + error["remedy"]
    assert bundle.read_bytes() == before


# Destinations


def test_out_in_a_folder_that_does_not_exist(command, scratch, place):
    words = ("deploy", place / "model.onnx", "--samples", place / "samples.npz", "--out")
    refused(command, scratch, place, *words, place / "no" / "a.rw", code="usage")


@pytest.mark.parametrize("name", ["new.rw", "new"])
def test_out_is_somebody_elses_file(command, scratch, place, name):
    (place / name).write_text("mine")
    refused(command, scratch, place, *deploy(place), "--out", place / name, code="usage")
    assert (place / name).read_text() == "mine"


@pytest.mark.parametrize("name", ["new.rw", "new"])
def test_out_is_somebody_elses_folder(command, scratch, place, name):
    (place / name).mkdir()
    (place / name / "diary.txt").write_text("mine")
    refused(command, scratch, place, *deploy(place), "--out", place / name, code="usage")
    assert (place / name / "diary.txt").read_text() == "mine"


@pytest.mark.parametrize("name", [".", "..", "/", ""])
def test_out_is_no_name(command, scratch, place, name, monkeypatch):
    monkeypatch.chdir(place)
    refused(command, scratch, place, *deploy(place), "--out", name, code="usage")


def test_out_where_nothing_can_be_written(command, scratch, place):
    """/proc takes no files from anyone, not even from root."""
    refused(command, scratch, place, *deploy(place), "--out", "/proc/roadworthy.rw", code="usage")


def test_out_with_too_long_a_name(command, scratch, place):
    refused(command, scratch, place, *deploy(place), "--out", place / ("n" * 300), code="usage")


def test_report_does_not_replace_a_bundle(command, scratch, place, bundle):
    before = bundle.read_bytes()
    refused(command, scratch, place, "report", bundle, "--out", bundle, code="usage")
    assert bundle.read_bytes() == before


def test_report_into_a_folder_that_does_not_exist(command, scratch, place, bundle):
    refused(command, scratch, place, "report", bundle, "--out", place / "no" / "page.html")


def test_extract_into_a_folder_with_something_in_it(command, scratch, place, bundle):
    (place / "full").mkdir()
    (place / "full" / "diary.txt").write_text("mine")
    refused(command, scratch, place, "bundle", "extract", bundle, "--out", place / "full")
