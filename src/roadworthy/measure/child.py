"""The process that runs an engine to be timed: `python -m roadworthy.measure.child FOLDER`.

One JSON object a line. In: `{"runs": n, "lead": n}`, and `{"end": true}` at last. Out: `{"ready":
true}` once, `{"times": […]}` in nanoseconds for each block, `{"error": {…}}` at the end, and
`{"alive": true}` between long runs.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import queue
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TextIO

from roadworthy.backends.elsewhere import MARK, remove_segments
from roadworthy.core.errors import RoadworthyError
from roadworthy.measure.handover import USERS_PATH, read_engine
from roadworthy.measure.timing import settle, time_runs

_ALIVE_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(folder: Path) -> int:
    """Open the engine in `folder`, then time a block for every line of standard input.

    When told to end it closes the engine first: with a worker that takes its process, its shared
    memory and its folders along.
    """
    _wake_when_orphaned()
    _give_path_back()
    replies = _claim_stdout()
    commands = _listen(folder)
    try:
        engine, feed = read_engine(folder)
        with engine.open() as session:
            _send(replies, {"ready": True})
            while "end" not in (command := commands.get()):
                runs, lead = command["runs"], command["lead"]
                if session.times_itself:
                    times = session.time(feed, runs, lead, host_only=True)["host"]
                else:
                    beat = _heartbeat(replies)
                    times = time_runs(lambda: session.run(feed), runs, lead=lead, between=beat)
                if not hasattr(signal, "SIGSTOP"):
                    settle()  # nobody can stop this process: it has to come to rest by itself
                _send(replies, {"times": times})
        return 0
    except RoadworthyError as error:
        _send(replies, {"error": error.to_json(), "exit_code": error.exit_code})
        return error.exit_code


def _give_path_back() -> None:
    """Make PYTHONPATH what it was: the one that brought us here is for this interpreter alone."""
    users = os.environ.pop(USERS_PATH, None)
    if users is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = users


def _claim_stdout() -> TextIO:
    """Keep standard output for replies; what a runtime prints goes to standard error."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


def _listen(folder: Path) -> queue.SimpleQueue[dict[str, Any]]:
    """Read commands in a thread, which ends this process when the parent is gone.

    Even amid a run that never ends: nobody would be left to stop it, nor to remove what it made.
    """
    commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def read() -> None:
        # Unbuffered: a thread that waits in `sys.stdin` would hold its lock when Python shuts down.
        with open(0, "rb", buffering=0, closefd=False) as stdin:
            while line := stdin.readline():
                commands.put(json.loads(line))
        _leave_nothing(folder)

    threading.Thread(target=read, daemon=True).start()
    return commands


def _leave_nothing(folder: Path) -> NoReturn:
    """End this process and its workers at once, with all that they made."""
    # Python's tracker, which does this otherwise, ends with them.
    remove_segments(os.getpid(), os.environ.get(MARK, ""))
    shutil.rmtree(folder, ignore_errors=True)
    if os.name == "posix" and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(0)


def _wake_when_orphaned() -> None:
    """Have Linux continue this process when its parent dies, so that it sees it and ends.

    A stopped process would sleep on for ever. Where it has workers that are stopped too the system
    also hangs up, which mustn't end it before it has removed what they made.
    """
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if platform.system() == "Linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGCONT))


def _heartbeat(replies: TextIO) -> Callable[[], None]:
    """Return a call that tells the parent about once a second that runs are being done."""
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _ALIVE_SECONDS:
            last = now
            _send(replies, {"alive": True})

    return beat


def _send(replies: TextIO, message: dict[str, Any]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
