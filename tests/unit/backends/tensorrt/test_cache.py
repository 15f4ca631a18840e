"""A cache never answers for another model, and never with a damaged engine."""

from pathlib import Path

import pytest

from roadworthy.backends.place import BuildResult
from roadworthy.backends.tensorrt import cache
from roadworthy.backends.tensorrt.cache import engine_key
from roadworthy.backends.tensorrt.compiler import _built
from roadworthy.backends.tensorrt.options import parse_options

MODEL = {"model.onnx": b"graph and weights"}
SPEC = {"precision": "fp16", "level": None, "profiles": []}
HERE = {"version": "8.6.0", "device_name": "NVIDIA H200", "compute_capability": "9.0"}
BUILT = BuildResult({"engine.plan": b"\x00plan" * 99, "layers.json": b"[]"}, ("line",), {"n": 1})


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_what_was_saved_comes_back():
    key = engine_key(MODEL, SPEC, HERE)
    assert cache.load_engine(key) is None
    cache.save_engine(key, BUILT)
    assert cache.load_engine(key) == BUILT


@pytest.mark.parametrize(
    "other",
    [
        ({"model.onnx": b"graph and weightz"}, SPEC, HERE),
        ({"model.onnx": b"graph and", "weights": b" weights"}, SPEC, HERE),
        (MODEL, {**SPEC, "precision": "fp32"}, HERE),
        (MODEL, {**SPEC, "profiles": [{"x": [[1], [1], [2]]}]}, HERE),
        (MODEL, SPEC, {**HERE, "version": "8.6.1"}),
        (MODEL, SPEC, {**HERE, "device_name": "NVIDIA H100"}),
    ],
)
def test_everything_that_decides_an_engine_is_in_its_key(other):
    cache.save_engine(engine_key(MODEL, SPEC, HERE), BUILT)
    assert engine_key(*other) != engine_key(MODEL, SPEC, HERE)
    assert cache.load_engine(engine_key(*other)) is None


def test_a_single_changed_byte_anywhere_is_found(folder):
    key = engine_key(MODEL, SPEC, HERE)
    cache.save_engine(key, BUILT)
    (path,) = folder.rglob(key)
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert cache.load_engine(key) is None
        assert not path.exists()
    path.write_bytes(whole[:-1])
    assert cache.load_engine(key) is None


def test_an_entry_under_another_name_is_not_believed(folder):
    key = engine_key(MODEL, SPEC, HERE)
    cache.save_engine(key, BUILT)
    (path,) = folder.rglob(key)
    other = engine_key({"model.onnx": b"another"}, SPEC, HERE)
    path.rename(path.with_name(other))
    assert cache.load_engine(other) is None


def test_timings_are_kept_per_device_and_version(folder):
    cache.save_timings(HERE, b"timings")
    assert cache.load_timings({**HERE, "driver": "another"}) == b"timings"
    assert cache.load_timings({**HERE, "version": "10.0.1"}) is None
    assert cache.load_timings({**HERE, "device_name": "another"}) is None
    (path,) = (item for item in folder.rglob("*") if item.is_file())
    path.write_bytes(path.read_bytes() + b"!")
    assert cache.load_timings(HERE) is None


class Place:
    """Builds in no time."""

    def build(self, _files, spec, _say):
        files = {**BUILT.files, "timing.cache": b"timings"}
        return BuildResult(files, BUILT.log, {"with": spec["timing_cache"]})


def built(**options):
    own = parse_options(tuple(options.items()))
    return _built(Place(), MODEL, dict(SPEC), HERE, own, lambda _text: None)


def test_a_build_is_kept_and_its_timings_are_the_next_ones():
    first = built()
    assert first.files == BUILT.files
    assert first.proof == {"with": None}
    assert built().proof == {"with": None, "from_cache": True}
    assert built(**{"build-cache": "off"}).proof == {"with": b"timings"}


@pytest.mark.parametrize("how", ["a file in its place", "no home"])
def test_a_cache_that_cannot_be_had_costs_no_engine(how, tmp_path, monkeypatch):
    if how == "no home":
        monkeypatch.setenv("XDG_CACHE_HOME", "")
        monkeypatch.setattr(Path, "home", no_home)
    else:
        (tmp_path / "roadworthy").write_text("a file")
    for _ in range(2):
        found = built()
        assert found.files == BUILT.files
        assert "isn't kept for the next build" in found.log[-1]


def no_home():
    raise RuntimeError("could not determine home directory")
