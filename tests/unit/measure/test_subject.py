"""Engines in processes of their own: they rest when told, die when they must, and never stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from roadworthy.core.errors import InputError, RunError, UsageError
from roadworthy.measure.subject import EngineSubject, LocalSubject
from tests.unit.measure.engines import ENDLESS, FEED, engine, feed

ROOT = Path(__file__).parents[3]


def state(pid: int) -> str:
    """R, S, T (stopped), Z (zombie), … or "" when there is no such process (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def gone_soon(pid: int) -> bool:
    """Wait up to 20 s until the process is gone, or dead and only waits to be collected."""
    for _ in range(400):
        if state(pid) in ("", "Z"):
            return True
        time.sleep(0.05)
    return False


def test_a_call_in_this_process_is_timed_as_often_as_asked():
    calls: list[int] = []
    with LocalSubject("here", lambda: calls.append(1), threads=1) as subject:
        times = subject.block(5, lead=2)
        subject.rest()
    assert len(times) == 5
    assert len(calls) == 7


def test_an_engine_runs_in_another_process_which_is_stopped_while_it_rests():
    with EngineSubject("double", engine(), FEED, threads=1) as subject:
        pid = subject.pid
        assert pid not in (None, os.getpid())
        assert len(subject.block(4, lead=1)) == 4
        subject.rest()
        assert state(pid) == "T"
        assert len(subject.block(2)) == 2
        assert state(pid) != "T"
    assert state(pid) == ""
    assert subject.pid is None


def test_a_process_that_something_else_keeps_going_is_an_error_not_a_hang(monkeypatch):
    with EngineSubject("double", engine(), FEED, threads=1) as subject:
        monkeypatch.setattr(signal, "SIGSTOP", signal.SIGCONT)
        with pytest.raises(RunError, match="can't be stopped while something else is timed"):
            subject.rest()


def test_the_threads_asked_for_replace_the_engines_own():
    with EngineSubject("double", engine(), FEED, threads=3) as subject:
        subject.block(1)
        threads = len(list(Path(f"/proc/{subject.pid}/task").iterdir()))
    with EngineSubject("double", engine(), FEED, threads=1) as subject:
        subject.block(1)
        assert threads - len(list(Path(f"/proc/{subject.pid}/task").iterdir())) == 2


@pytest.mark.parametrize("make", [EngineSubject, LocalSubject])
def test_no_threads_at_all_make_no_sense(make):
    arguments = ("x", engine(), FEED) if make is EngineSubject else ("x", lambda: None)
    with pytest.raises(UsageError, match="at least 1"):
        make(*arguments, threads=0)


def test_a_subject_can_be_used_again_but_not_outside_its_block():
    subject = EngineSubject("double", engine(), FEED, threads=1)
    with pytest.raises(UsageError, match="isn't running"):
        subject.block(1)
    for _ in range(2):
        with subject:
            assert len(subject.block(1)) == 1
            with pytest.raises(UsageError, match="already running"), subject:
                pass


def children() -> set[str]:
    """This process's children; Python's own tracker of shared memory may be one of them."""
    lists = Path("/proc/self/task").glob("*/children")
    return set("".join(path.read_text() for path in lists).split())


def test_garbage_bytes_are_an_error_and_leave_no_process():
    before = children()
    subject = EngineSubject("broken", engine(content=b"garbage"), FEED, threads=1)
    with pytest.raises(RunError, match="broken, in a process of its own: onnxruntime refused"):
        subject.__enter__()
    assert subject.pid is None
    assert children() <= before


def test_a_feed_that_does_not_fit_is_an_input_error():
    wrong = feed(x=np.zeros((2, 4), np.float32))
    with (
        EngineSubject("double", engine(), wrong, threads=1) as subject,
        pytest.raises(InputError, match=r"input 'x' has shape \[2, 4\]"),
    ):
        subject.block(1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_between_blocks_is_an_error(number):
    with EngineSubject("double", engine(), FEED, threads=1) as subject:
        subject.block(1)
        os.kill(subject.pid, number)
        with pytest.raises(RunError, match=f"ran double was killed by {number.name}") as caught:
            for _ in range(2):  # it may still answer the first, before the signal arrives
                subject.block(1)
    assert "its last words: " in str(caught.value)
    if number == signal.SIGSEGV:
        assert "Segmentation fault" in str(caught.value)


def test_a_process_that_dies_while_it_rests_or_runs_is_an_error():
    with EngineSubject("double", engine(), FEED, threads=1) as subject:
        subject.rest()
        os.kill(subject.pid, signal.SIGKILL)
        subject.rest()
        with pytest.raises(RunError, match="killed by SIGKILL"):
            subject.block(1)
    with EngineSubject("endless", engine(ENDLESS), FEED, threads=1) as subject:
        threading.Timer(0.3, os.kill, (subject.pid, signal.SIGKILL)).start()
        with pytest.raises(RunError, match="killed by SIGKILL"):
            subject.block(1)


def test_a_run_that_never_ends_is_an_error_after_the_timeout_and_leaves_no_process():
    with EngineSubject("endless", engine(ENDLESS), FEED, threads=1, timeout=30.0) as subject:
        subject._child._timeout = 0.5  # opening had its time; the run gets little
        pid = subject.pid
        with pytest.raises(RunError, match=r"endless gave no sign of life for 0.5 s"):
            subject.block(1)
    assert state(pid) == ""


SCRIPT = """
import sys, time
from roadworthy.measure.subject import EngineSubject
from tests.unit.measure.engines import ENDLESS, FEED, engine

# No guard for __main__: this is how people write scripts.
with EngineSubject("child", engine({text}), FEED, threads=1) as subject:
    print(subject.pid, flush=True)
    {then}
"""


def start(tmp_path: Path, text: str, then: str) -> tuple[subprocess.Popen[str], int]:
    """Start a script that holds a subject; return it and the subject's process."""
    script, temporary = tmp_path / "script.py", tmp_path / "temporary"
    temporary.mkdir()
    script.write_text(SCRIPT.format(text=text, then=then))
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
    )
    return parent, int(parent.stdout.readline())


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("", "time.sleep(600)"),
        ("", "subject.rest(); time.sleep(600)"),
        ("ENDLESS", "subject.block(1)"),
    ],
    ids=["waiting", "stopped", "amid an endless run"],
)
def test_neither_the_process_nor_its_files_outlive_a_parent_that_is_killed(tmp_path, text, then):
    parent, pid = start(tmp_path, text, then)
    with parent:
        time.sleep(0.3)  # let it come to what it shall be found at
        assert list((tmp_path / "temporary").glob("roadworthy-*"))
        parent.kill()
        assert gone_soon(pid)
    assert not list((tmp_path / "temporary").glob("roadworthy-*"))


@pytest.mark.parametrize(
    ("text", "then"),
    [("ENDLESS", "subject.block(1)"), ("", "subject.rest(); time.sleep(600)")],
    ids=["amid an endless run", "stopped"],
)
def test_interrupting_ends_the_process(tmp_path, text, then):
    parent, pid = start(tmp_path, text, then)
    with parent:
        time.sleep(0.3)
        parent.send_signal(signal.SIGINT)
        _, errors = parent.communicate(timeout=60)
        assert "KeyboardInterrupt" in errors
        assert gone_soon(pid)
    assert not list((tmp_path / "temporary").glob("roadworthy-*"))


def test_what_this_process_can_import_the_other_can(tmp_path, monkeypatch):
    # A backend that some package registers, found only through this process's sys.path.
    (tmp_path / "elsewhere.py").write_text(
        "from roadworthy.backends.onnxruntime.compiler import OnnxRuntimeBackend\n"
        "class Backend(OnnxRuntimeBackend):\n    name = 'elsewhere'\n"
        "BACKEND = Backend()\n"
    )
    info = tmp_path / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[roadworthy.backends]\nelsewhere=elsewhere:BACKEND\n")
    monkeypatch.syspath_prepend(tmp_path)
    with EngineSubject("e", engine(backend="elsewhere"), FEED, threads=1) as subject:
        assert len(subject.block(1)) == 1


def test_a_module_in_the_working_folder_does_not_replace_one_of_python(tmp_path, monkeypatch):
    (tmp_path / "queue.py").write_text("raise SystemExit('not the queue you look for')\n")
    monkeypatch.chdir(tmp_path)
    with EngineSubject("double", engine(), FEED, threads=1) as subject:
        assert len(subject.block(1)) == 1
