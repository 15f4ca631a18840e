"""A child process that times an engine: started, asked, stopped while idle, always ended."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from roadworthy.backends.elsewhere import MARK, new_mark, remove_segments
from roadworthy.core.closing import Closing
from roadworthy.core.errors import EXIT_USAGE, InputError, RoadworthyError, RunError
from roadworthy.core.lastwords import last_words
from roadworthy.measure.handover import USERS_PATH

_PAUSE_SECONDS = 0.02  # the same rest that `timing.settle` gives the other side
_DEATH_SECONDS = 5.0
_STOP_SECONDS = 5.0
_END_SECONDS = 5.0
_POLL_SECONDS = 0.001


class Child(Closing):
    """`roadworthy.measure.child` on a folder. Use it in a `with` block.

    Not `multiprocessing`: its spawned processes import the user's main script again, which does
    the whole work twice when that has no `__main__` guard; its forked ones inherit thread pools
    whose threads are gone.

    Args:
        name: what it runs, for messages.
        folder: what `handover.write_engine` filled; `stderr.txt` is added, and `temporary` where
            the process and its workers have their temporary files. Who made it removes it.
        timeout: seconds without a sign of life after which it counts as hanging.
    """

    def __init__(self, name: str, folder: Path, timeout: float) -> None:
        self._name = name
        self._stderr = folder / "stderr.txt"
        self._timeout = timeout
        self._mark = new_mark()
        # It owes a reply: the one that says that it is ready, at first.
        self._owes = True
        self._closed = False
        self._replies: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._process = self._start(folder)
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,))
        self._reader.daemon = True
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def _start(self, folder: Path) -> subprocess.Popen[str]:
        if not sys.executable:
            raise RunError(
                f"{self._name} needs a process of its own, and this program doesn't tell where "
                "its Python interpreter is",
                where="sys.executable is empty",
            )
        # -P: the working folder doesn't come first on the path; a json.py there is not ours.
        command = [sys.executable, "-P", "-X", "faulthandler", "-m", "roadworthy.measure.child"]
        temporary = folder / "temporary"
        temporary.mkdir()
        with self._stderr.open("wb") as stderr:
            try:
                return subprocess.Popen(
                    [*command, str(folder)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    env={**_environment(), MARK: self._mark, "TMPDIR": str(temporary)},
                    encoding="utf-8",
                    # Its own group: Ctrl-C comes to us alone, and we end it. But our session: when
                    # we are killed, POSIX continues and hangs up its group should it be stopped.
                    process_group=0 if os.name == "posix" else None,
                )
            except OSError as error:
                raise RunError(
                    f"the process that shall run {self._name} can't be started: {error}",
                    where=sys.executable,
                ) from error

    def _read(self, stdout: IO[str]) -> None:
        for line in stdout:
            self._replies.put(json.loads(line))
        self._replies.put(None)

    def expect_ready(self) -> None:
        """Wait until the engine is open there."""
        self._reply()

    def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """Send one command to the (continued) process and return its reply.

        Raises:
            RunError: it died, or gave no sign of life for the timeout, or its engine failed.
            InputError: the feed isn't what the engine takes.
        """
        self._signal("SIGCONT")
        stdin = self._process.stdin
        assert stdin is not None  # it was opened as a pipe
        self._owes = True
        try:
            stdin.write(json.dumps(command) + "\n")
            stdin.flush()
        except BrokenPipeError as error:
            raise self._death() from error
        return self._reply()

    def pause(self) -> None:
        """Stop the process, threads and all, where the system can; then rest a little.

        Raises:
            RunError: it doesn't stop; something else continues it.
        """
        if self._signal("SIGSTOP") and hasattr(os, "waitid"):
            self._wait_until_stopped()
        time.sleep(_PAUSE_SECONDS)

    def _wait_until_stopped(self) -> None:
        """Return when it has stopped, not when it is going to; or when it died."""
        # WNOWAIT leaves its exit status, if it died instead, to `subprocess`.
        seen = os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG
        deadline = time.monotonic() + _STOP_SECONDS
        while self._process.returncode is None and os.waitid(os.P_PID, self.pid, seen) is None:
            if time.monotonic() > deadline:
                raise RunError(
                    f"the process that runs {self._name} can't be stopped while something else is "
                    "timed",
                    where=f"process {self.pid}",
                    remedy="let nothing else (a supervisor, a debugger) continue it",
                )
            time.sleep(_POLL_SECONDS)

    def _signal(self, name: str) -> bool:
        """Send a signal to the process and its own workers; tell whether this system has it."""
        number = getattr(signal, name, None)
        if number is None or self._process.poll() is not None:
            return number is not None
        # The group: an engine that runs in a worker of the child's would spin on beside us.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        return True

    def _reply(self) -> dict[str, Any]:
        while True:
            try:
                reply = self._replies.get(timeout=self._timeout)
            except queue.Empty:
                raise RunError(
                    f"{self._name} gave no sign of life for {self._timeout:g} s",
                    where=self._last_words(),
                    remedy="give it more time if one run can take that long; else it hangs",
                ) from None
            if reply is None:
                raise self._death()
            if "alive" in reply:
                continue
            self._owes = False
            if "error" in reply:
                raise _translated(self._name, reply)
            return reply

    def _death(self) -> RunError:
        try:
            code = self._process.wait(_DEATH_SECONDS)
        except subprocess.TimeoutExpired:
            ended = "closed its pipe"
        else:
            ended = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with {code}"
        return RunError(
            f"the process that ran {self._name} {ended}",
            where=self._last_words(),
            remedy="SIGKILL is often the system running out of memory; otherwise the runtime "
            "crashed: try another version of it, or another target",
        )

    def _last_words(self) -> str:
        text = self._stderr.read_text(encoding="utf-8", errors="replace")
        return "its last words: " + (last_words(text) or "none")

    def close(self) -> None:
        """End the process, its workers and what they hold. May be called twice.

        Told to end, it closes its engine itself. It is killed where it can't hear that, being amid
        a run, or takes too long; what is left then of its shared memory is removed here.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if not self._owes:
                self._let_end()
        finally:
            self._kill()
        self._reader.join(_DEATH_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not self._reader.is_alive():
                _close_quietly(pipe)

    def _let_end(self) -> None:
        """Tell the (continued) process to end, and give it a few seconds."""
        self._signal("SIGCONT")
        stdin = self._process.stdin
        assert stdin is not None  # as in `ask`
        with contextlib.suppress(OSError):
            stdin.write(json.dumps({"end": True}) + "\n")
            stdin.flush()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)

    def _kill(self) -> None:
        """Kill what is left of the process and its own children; so no zombie remains."""
        if self._process.poll() != 0:
            if os.name == "posix":
                # Where it died by itself its workers may live on, stopped for ever perhaps.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        # The tracker, which Python has to do this, died with the group.
        remove_segments(self.pid, self._mark)


def _close_quietly(pipe: IO[str]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        return  # a command was still in the buffer when the process died


def _environment() -> dict[str, str]:
    """Return this environment with our search path; the child takes that out again.

    It is for the child alone: a worker of another Python that inherited it would find our NumPy.
    """
    known = {USERS_PATH: os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
    return {**os.environ, **known, "PYTHONPATH": _search_path()}


def _search_path() -> str:
    """Return this process's module search path, for `PYTHONPATH`; "" there means the folder."""
    return os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _translated(name: str, reply: dict[str, Any]) -> RoadworthyError:
    """Return the child's error as one of ours, of the kind that its exit code means."""
    error = reply["error"]
    kind = InputError if reply["exit_code"] == EXIT_USAGE else RunError
    return kind(
        f"{name}, in a process of its own: {error['what']}",
        where=error["where"],
        remedy=error["remedy"],
    )
