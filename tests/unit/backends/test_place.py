"""Whatever a runtime can do here it can do elsewhere; when it dies there, nothing dies here."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from roadworthy.backends import gateway
from roadworthy.backends.place import Where, open_place, open_runner
from roadworthy.core.errors import CompileError, RunError, UnavailableError, UsageError

RUNTIME = "tests.unit.backends.numpy_runtime"
HERE, WORKER, OTHER = (None, False), (None, True), (f"python={sys.executable}", False)
PLACES = pytest.mark.parametrize(("where", "isolated"), [HERE, WORKER, OTHER])
WORKERS = pytest.mark.parametrize(("where", "isolated"), [WORKER, OTHER])

ARRAYS = {
    "large": np.arange(300_000, dtype=np.float32).reshape(3, -1),
    "small": np.array([[1, -2]], np.int64),
    "scalar": np.array(2.5),
    "empty": np.zeros((0, 3), np.float16),
    "flags": np.array([True, False]),
    "text": np.array([["a", "bß"]], dtype=object),
}


def segments() -> set[str]:
    """The shared memory that this process has made and not given back."""
    return {path.name for path in Path("/dev/shm").glob(f"roadworthy-{os.getpid()}-*")}


@PLACES
def test_describe_build_run_time_and_profile(where, isolated):
    before = segments()
    said = []
    with open_place(RUNTIME, where, isolated) as place:
        assert place.describe(None) == {"runtime": "numpy", "version": np.__version__}
        built = place.build({"a": b"12", "b": b"345"}, {}, said.append)
        assert (built.files, built.log, built.proof) == (
            {"engine": b"12345"},
            ("built",),
            {"bytes": 5},
        )
        assert said == ["building"]
        runner = place.open(built.files, {})
        answers = runner.run(dict(ARRAYS))
        for name, array in ARRAYS.items():
            assert np.array_equal(answers[name], array), name
            assert answers[name].shape == array.shape
            if name != "text":
                assert answers[name].dtype == array.dtype
        assert len(runner.time(dict(ARRAYS), 3, 1)["host"]) == 3
        assert runner.profile(dict(ARRAYS), 1)[0]["onnx"] == ["copy"]
        runner.close()
        runner.close()
    assert segments() <= before


@WORKERS
def test_answers_larger_than_any_before_arrive_whole_and_stay(where, isolated):
    runner = open_runner(RUNTIME, where, isolated, {"m": b""}, {"grow": 5})
    first = runner.run({"x": np.arange(100_000.0)})["x"]
    kept = first.copy()
    second = runner.run({"x": -np.arange(400_000.0)})["x"]
    runner.close()
    assert np.array_equal(first, kept)
    assert np.array_equal(second, np.tile(-np.arange(400_000.0), 5))


def test_a_large_file_is_cut_and_put_together(monkeypatch):
    monkeypatch.setattr(gateway.far, "CHUNK", 1000)
    content = bytes(range(256)) * 40
    with open_place(RUNTIME, None, isolated=True) as place:
        assert place.build({"m": content}, {}).files == {"engine": content}


@WORKERS
@pytest.mark.parametrize("when", ["build", "run"])
@pytest.mark.parametrize(
    ("how", "says"),
    [
        (
            "segv",
            r"killed by SIGSEGV; its last words: about to read address 0 \| Fatal Pyth",
        ),
        ("kill", r"killed by SIGKILL \(out of memory\?\)"),
        ("exit", "exit status 7"),
    ],
)
def test_a_crash_there_is_an_error_here(where, isolated, when, how, says):
    before = segments()
    with (
        pytest.raises(RunError, match=says) as caught,
        open_place(RUNTIME, where, isolated) as place,
    ):
        place.build({"m": b""}, {when: how})
        place.open({"m": b""}, {when: how}).run({"x": np.ones(100_000)})
    assert caught.value.exit_code == 4
    assert "this program didn't" in str(caught.value.remedy)
    assert segments() <= before


@WORKERS
def test_memory_that_runs_out_is_said(where, isolated):
    with (
        open_place(RUNTIME, where, isolated) as place,
        pytest.raises(CompileError, match="out of memory"),
    ):
        place.build({"m": b""}, {"build": "memory"})


def test_a_worker_that_hangs_is_killed(monkeypatch):
    monkeypatch.setattr(gateway, "BUILD_SECONDS", 0.5)
    with open_place(RUNTIME, None, isolated=True) as place:
        with pytest.raises(RunError, match="no sign of life"):
            place.build({"m": b""}, {"build": "hang"})
        with pytest.raises(RunError, match="died"):
            place.describe(None)


@PLACES
def test_what_a_runtime_says_is_kept(where, isolated):
    with open_place(RUNTIME, where, isolated) as place:
        with pytest.raises(CompileError, match="Conv_7"):
            place.build({"m": b""}, {"build": "error"})
        runner = place.open({"m": b""}, {"run": "error"})
        with pytest.raises(RunError, match="Conv_7"):
            runner.run({})
        with pytest.raises(UnavailableError, match="isn't installed there"):
            place.describe("missing-package")
        with pytest.raises(UnavailableError, match="no such device"):
            place.describe("absent")


def test_a_defect_of_a_runtime_looks_like_one_here():
    with open_place(RUNTIME, None) as place, pytest.raises(KeyError):
        place.build({"m": b""}, {"build": "defect"})


@pytest.mark.parametrize("where", ["python=/no/such/python", "python=/bin/ls", "ssh=-oEvil=1"])
def test_no_worker_there_is_one_clear_error(where, capfd):
    with pytest.raises((UnavailableError, UsageError)), open_place(RUNTIME, where):
        pass


def test_where_is_parsed():
    assert Where.parse("python=/opt/x/bin/python3") == Where(python="/opt/x/bin/python3")
    assert Where.parse("ssh=me@jetson") == Where(python="python3", ssh="me@jetson")
    assert Where.parse("ssh=me@jetson:/opt/py") == Where(python="/opt/py", ssh="me@jetson")
    assert Where.parse("ssh=jetson:~/venv/bin/python") == Where("~/venv/bin/python", "jetson")
    words = ("", "python=", "ssh=", "docker=x", "nonsense")
    hosts = ("ssh=-v", "ssh=me -oProxyCommand=x", "ssh=me@jetson:22:/opt/py", "ssh=a;b")
    pythons = ("ssh=me:/opt/my py", "ssh=me:/opt//py", "ssh=me:$(x)", "ssh=me:/opt/py'")
    for wrong in (*words, *hosts, *pythons):
        with pytest.raises(UsageError):
            Where.parse(wrong)
