"""Engines that are timed in a worker leave no shared memory, no folder and no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.registry import find
from roadworthy.core.errors import RunError
from roadworthy.core.target import Target
from roadworthy.graph.signature import signature_of
from roadworthy.measure.subject import EngineSubject
from tests.models import network
from tests.unit.measure.test_workers_rest import processes_of_group, settled

ROOT = Path(__file__).parents[3]
# Large enough to travel through shared memory.
FEED = {"x": np.ones((1, 65536), np.float32)}
DOUBLE = "g (float[1,65536] x) => (float[1,65536] y) { y = Add (x, x) }"
# 2^40 turns: longer than anybody waits.
ENDLESS = """g (float[1,65536] x) => (float[1,65536] y)
<int64 turns = {1099511627776}, bool go = {1}>
{
  y = Loop (turns, go, x) <body = turn (int64 i, bool c, float[1,65536] v) =>
                                       (bool d, float[1,65536] w) { d = Identity(c) w = Sin(v) }>
}"""

pytestmark = pytest.mark.skipif(
    not Path("/dev/shm").is_dir(), reason="only Linux shows its shared memory as files"
)


def elsewhere(text: str = DOUBLE, backend: str = "onnxruntime") -> Engine:
    """An engine that opens in a worker."""
    model = network(text)
    target = Target(backend, where=f"python={sys.executable}")
    return find(backend).compile(model, signature_of(model), target, CompileOptions())


def segments(pid: int, mark: str) -> list[str]:
    """The shared memory of a process; without its mark, also that of dead ones of its number."""
    return [path.name for path in Path("/dev/shm").glob(f"roadworthy-{pid}-{mark}*")]


def worker_of(pid: int) -> int:
    """The worker of a timing process."""
    for other in processes_of_group(pid):
        command = Path(f"/proc/{other}/cmdline").read_bytes()
        if other != pid and b"resource_tracker" not in command:
            return other
    raise AssertionError("it has no worker")


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process and its children have their temporary folders."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def made(folder: Path, prefix: str) -> list[Path]:
    return list(folder.rglob(f"{prefix}*"))


@pytest.mark.parametrize("backend", ["onnxruntime", "tvm"])
@pytest.mark.parametrize("rests", [False, True])
def test_after_a_timing_that_ends_well(backend: str, rests: bool, folders: Path) -> None:
    with EngineSubject("double", elsewhere(backend=backend), FEED, 1) as subject:
        subject.block(2)
        child, pid, mark = subject._child, subject.pid, subject._child._mark
        assert segments(pid, mark)
        assert made(folders, "roadworthy-worker-")
        assert backend != "tvm" or made(folders, "roadworthy-tvm-")
        if rests:
            subject.rest()
    assert child._process.returncode == 0, "it ended by itself"
    assert segments(pid, mark) == []
    assert list(folders.iterdir()) == []
    assert settled(pid, set()) == {}


def test_after_a_worker_was_killed(folders: Path) -> None:
    with EngineSubject("double", elsewhere(), FEED, 1) as subject:
        subject.block(2)
        pid, mark = subject.pid, subject._child._mark
        os.kill(worker_of(pid), signal.SIGKILL)
        with pytest.raises(RunError, match="killed by SIGKILL"):
            subject.block(2)
    assert segments(pid, mark) == []
    assert list(folders.iterdir()) == []


@pytest.mark.parametrize("rests", [False, True])
def test_after_the_timing_process_was_killed(rests: bool, folders: Path) -> None:
    with EngineSubject("double", elsewhere(), FEED, 1) as subject:
        subject.block(2)
        pid, mark = subject.pid, subject._child._mark
        if rests:
            subject.rest()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(RunError, match="killed by SIGKILL"):
            subject.block(2)
            subject.block(2)
    assert segments(pid, mark) == []
    assert list(folders.iterdir()) == []
    assert settled(pid, set()) == {}


def test_after_a_run_took_too_long(folders: Path) -> None:
    with EngineSubject("endless", elsewhere(ENDLESS), FEED, 1) as subject:
        subject._child._timeout = 1.0
        pid, mark = subject.pid, subject._child._mark
        with pytest.raises(RunError, match="no sign of life"):
            subject.block(1)
        assert segments(pid, mark)
    assert segments(pid, mark) == []
    assert list(folders.iterdir()) == []
    assert settled(pid, set()) == {}


SCRIPT = """
import sys, time
from roadworthy.measure.subject import EngineSubject
from tests.unit.measure.test_nothing_is_left import DOUBLE, ENDLESS, FEED, elsewhere

with EngineSubject("child", elsewhere({text}), FEED, threads=1) as subject:
    print(subject.pid, subject._child._mark, flush=True)
    {then}
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("ENDLESS", "subject.block(1)"),
        ("DOUBLE", "subject.block(1); subject.rest(); time.sleep(600)"),
    ],
    ids=["amid a run", "at rest"],
)
def test_after_the_program_was_interrupted_or_killed(
    text: str, then: str, number: signal.Signals, tmp_path: Path, folders: Path
) -> None:
    script, path = tmp_path / "script.py", os.pathsep.join((str(ROOT), str(ROOT / "src")))
    script.write_text(SCRIPT.format(text=text, then=then))
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(folders)},
    ) as parent:
        assert parent.stdout is not None
        words = parent.stdout.readline().split()
        pid, mark = int(words[0]), words[1]
        deadline = time.monotonic() + 20.0
        while not segments(pid, mark) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert segments(pid, mark)
        time.sleep(0.3)  # let it come to what it shall be found at
        parent.send_signal(number)
        parent.wait(60)
        assert settled(pid, set()) == {}
    assert segments(pid, mark) == []
    assert list(folders.iterdir()) == []
