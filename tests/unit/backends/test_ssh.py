"""Over a real ssh client and server: what works here works there, and what fails there is said."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from roadworthy.backends import elsewhere, gateway, interpreter
from roadworthy.backends.place import open_place, open_runner
from roadworthy.core.errors import CompileError, DiedError, RunError, UnavailableError
from tests.loopback import CLOSED, HOST, NOISY, SILENT
from tests.unit.backends.test_place import ARRAYS, RUNTIME

ONNXRUNTIME = "roadworthy.backends.onnxruntime.runtime"
THERE = f"ssh={HOST}:{sys.executable}"


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def has_gone(pid):
    deadline = time.monotonic() + 20
    while is_there(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_there(pid)


def test_describe_build_run_time_and_profile(far):
    said = []
    with open_place(RUNTIME, THERE) as place:
        assert is_there(place.pid)
        assert place.describe(None) == {"runtime": "numpy", "version": np.__version__}
        built = place.build({"a": b"12", "b": b"345"}, {}, said.append)
        assert (built.files, built.proof, said) == (
            {"engine": b"12345"},
            {"bytes": 5},
            ["building"],
        )
        runner = place.open(built.files, {})
        answers = runner.run(dict(ARRAYS))
        for name, array in ARRAYS.items():
            assert np.array_equal(answers[name], array), name
            assert (answers[name].shape, answers[name].dtype) == (array.shape, array.dtype)
        assert len(runner.time(dict(ARRAYS), 3, 1)["host"]) == 3
        assert runner.profile(dict(ARRAYS), 1)[0]["onnx"] == ["copy"]
        runner.close()
        pid = place.pid
    assert has_gone(pid)


def test_large_tensors_go_both_ways_bit_for_bit(far):
    bits = np.random.default_rng(0).integers(0, 1 << 32, (4, 3, 512, 512), np.uint32)
    image = bits.view(np.float32)  # NaN, infinite and subnormal numbers among them
    runner = open_runner(RUNTIME, THERE, False, {"m": b""}, {"grow": 2})
    answer = runner.run({"x": image})["x"]
    runner.close()
    assert (answer.dtype, answer.shape) == (image.dtype, (4, 3, 512, 1024))
    assert answer.tobytes() == np.tile(image, 2).tobytes()


def test_what_a_runtime_says_is_kept(far):
    with open_place(RUNTIME, THERE) as place:
        with pytest.raises(CompileError, match="Conv_7") as caught:
            place.build({"m": b""}, {"build": "error"})
        assert f"{HOST}: {sys.executable}" in str(caught.value)
        runner = place.open({"m": b""}, {"run": "error"})
        with pytest.raises(RunError, match="Conv_7"):
            runner.run({})
        with pytest.raises(UnavailableError, match="isn't installed there") as missing:
            place.describe("missing-package")
        assert HOST in str(missing.value.where)


@pytest.mark.parametrize(("host", "says"), CLOSED.items())
def test_a_host_that_nobody_gets_into_is_an_error_with_sshs_words(far, host, says, capfd):
    with (
        pytest.raises(UnavailableError, match=f"ssh doesn't get into {host}: .*{says}") as caught,
        open_place(RUNTIME, f"ssh={host}"),
    ):
        pass
    assert caught.value.exit_code == 4
    assert f"ssh {host} true" in str(caught.value.remedy)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("host", ["strange-key", "unknown-host"])
def test_nobody_is_asked(far, host, tmp_path, monkeypatch):
    """For a password, or whether a host is the right one; ssh by itself would."""
    asked, asking = tmp_path / "asked", tmp_path / "askpass"
    asking.write_text(f"#!/bin/sh\ntouch {asked}\nexit 1\n")
    asking.chmod(0o755)
    monkeypatch.setenv("SSH_ASKPASS", str(asking))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(UnavailableError), open_place(RUNTIME, f"ssh={host}"):
        pass
    assert not asked.exists()
    subprocess.run(["ssh", host, "true"], capture_output=True, start_new_session=True, check=False)
    assert asked.exists()


@pytest.mark.parametrize("by", ["ssh", "us"])
def test_a_host_that_does_not_answer_is_given_up(far, by, monkeypatch):
    if by == "ssh":
        quick = interpreter._SSH.replace("ConnectTimeout=15", "ConnectTimeout=1")
        assert quick != interpreter._SSH
        monkeypatch.setattr(interpreter, "_SSH", quick)
    else:
        monkeypatch.setattr(interpreter, "START_SECONDS", 1.0)
    says = "timed out" if by == "ssh" else "no answer within 1 s"
    with pytest.raises(UnavailableError, match=says), open_place(RUNTIME, f"ssh={SILENT}"):
        pass


@pytest.mark.parametrize(
    ("host", "python", "says"),
    [
        (
            HOST,
            "/no/such/python",
            "no Python 3.8 or later with NumPy: .*/no/such/python.*not found",
        ),
        (HOST, "/bin/echo", "no Python 3.8 or later with NumPy: it printed -c import sys"),
        (NOISY, sys.executable, "its login prints 'Welcome to Jetson' before Python can"),
    ],
)
def test_what_is_no_python_there_is_said(far, host, python, says):
    with (
        pytest.raises(UnavailableError, match=says) as caught,
        open_place(RUNTIME, f"ssh={host}:{python}"),
    ):
        pass
    assert host in str(caught.value.remedy)


def bare_python(path: Path, folder: Path) -> Path:
    """Make this interpreter without its packages, but with those that lie in `folder`."""
    path.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} -S "$@"\n')
    path.chmod(0o755)
    return path


def test_a_python_there_that_lacks_numpy_or_the_runtime(far, tmp_path):
    packages = tmp_path / "packages"
    packages.mkdir()
    python = bare_python(tmp_path / "python", packages)
    with (
        pytest.raises(UnavailableError, match="No module named 'numpy'") as caught,
        open_place(ONNXRUNTIME, f"ssh={HOST}:{python}"),
    ):
        pass
    assert f"on {HOST}: {python} -m pip install numpy" in str(caught.value.remedy)
    installed = Path(np.__file__).parent
    for found in (installed, installed.with_name("numpy.libs")):
        (packages / found.name).symlink_to(found)
    with (
        pytest.raises(UnavailableError, match="No module named 'onnxruntime'") as caught,
        open_place(ONNXRUNTIME, f"ssh={HOST}:{python}"),
    ):
        pass
    assert HOST in str(caught.value.where)
    assert "pip install onnxruntime" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("segv", r"killed by SIGSEGV; its last words: about to read address 0 \| Fatal Pyth"),
        ("kill", r"killed by SIGKILL \(out of memory\?\)"),
        ("exit", "exit status 7"),
    ],
)
def test_a_crash_there_is_an_error_here(far, how, says):
    with (
        pytest.raises(DiedError, match=says) as caught,
        open_place(RUNTIME, THERE) as place,
    ):
        place.open({"m": b""}, {"run": how}).run({"x": np.ones(3)})
    assert caught.value.exit_code == 4
    assert "this program didn't" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (lambda far, place: os.kill(place.pid, signal.SIGKILL), "died: killed by SIGKILL"),
        (lambda far, place: place._popen().kill(), "died: ssh was killed here by SIGKILL"),
        (lambda far, place: far.cut(), "died: the connection broke"),
    ],
    ids=["the worker is killed", "ssh is killed", "the host cuts"],
)
def test_what_ends_amid_a_run_is_an_error_and_leaves_no_process(far, end, says):
    with open_place(RUNTIME, THERE) as place:
        runner = place.open({"m": b""}, {"run": "hang"})
        timer = threading.Timer(0.3, end, (far, place))
        timer.start()
        with pytest.raises(DiedError, match=says) as caught:
            runner.run({"x": np.ones(3)})
        timer.join()
        assert ("try again" in str(caught.value.remedy)) == ("killed by SIGKILL" not in says)
        assert has_gone(place.pid)


def test_a_worker_that_hangs_there_is_killed_there(far, monkeypatch):
    monkeypatch.setattr(elsewhere, "RUN_SECONDS", 0.5)
    with open_place(RUNTIME, THERE) as place:
        runner = place.open({"m": b""}, {"run": "hang"})
        with pytest.raises(DiedError, match="no sign of life"):
            runner.run({"x": np.ones(3)})
        assert has_gone(place.pid)


def test_a_way_that_is_lost_after_the_check_is_said_in_sshs_words(far, monkeypatch):
    monkeypatch.setattr(gateway, "check_interpreter", lambda where, place: None)
    with (
        pytest.raises(UnavailableError, match="Connection refused"),
        open_place(RUNTIME, "ssh=refusing"),
    ):
        pass
