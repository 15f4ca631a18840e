"""The near side of a worker: an execnet gateway, its log, and what its death means."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from roadworthy.backends import worker as far
from roadworthy.backends.base import Say, quiet
from roadworthy.backends.elsewhere import BUILD_SECONDS, RUN_SECONDS, WorkerRunner
from roadworthy.backends.interpreter import (
    SSH_FAILED,
    START_SECONDS,
    check_interpreter,
    execnet_spec,
    kill_there,
)
from roadworthy.backends.place import BuildResult, Where, missing, short_name, source_of
from roadworthy.core.errors import (
    CompileError,
    DiedError,
    MissingExtraError,
    RoadworthyError,
    RunError,
    UnavailableError,
)
from roadworthy.core.lastwords import last_words

_CRASHED = (
    "the runtime crashed, this program didn't; try smaller shapes, other options, or another "
    "version of it"
)
# So many times what counts as hanging may a command take that still talks.
TALKING = 6.0
_CUT = "the runtime may be in order: try again once the way there holds"


class Worker:
    """A runtime in a process of its own; see `backends.place.Place`. Use in a `with` block."""

    def __init__(self, runtime: str, where: Where | None) -> None:
        self._runtime = runtime
        self._where = where
        self._name = short_name(runtime)
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        # From the sending of a command to the end of its answer; true afterwards: it is no more.
        self._is_cut = False
        self._stack = contextlib.ExitStack()
        self.pid: int | None = None

    @property
    def is_local(self) -> bool:
        """True when it runs on this host: then memory can be shared."""
        return self._where is None or self._where.ssh is None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _start(self) -> None:
        try:
            import execnet
        except ImportError as error:
            raise MissingExtraError("execnet", "remote", "a worker process") from error
        if self._where is not None:
            check_interpreter(self._where, self._place_name())
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="roadworthy-worker-"))
        self._log = Path(folder, "log")
        group = execnet.Group()
        self._gateway: Any = None
        self._stack.callback(self._close_pipes)
        self._stack.callback(group.terminate, timeout=2.0)
        try:
            self._gateway = group.makegateway(execnet_spec(self._where, self._log))
            self._channel = self._gateway.remote_exec(_far_source())
        except (OSError, EOFError, execnet.HostNotFound, ValueError) as error:
            raise UnavailableError(
                "no worker can be started there: "
                + (self._last_words() or str(error).strip() or type(error).__name__),
                where=self._place_name(),
                remedy="try again; if it stays, name another interpreter",
            ) from error
        self._send(self._runtime, source_of(self._runtime), str(self._log) if self.is_local else "")
        started = self._reply(UnavailableError, START_SECONDS, quiet)
        self.pid = int(started["pid"])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def describe(self, device: str | None) -> dict[str, str]:
        """See `Place`."""
        return dict(self.ask("describe", (device,), UnavailableError, RUN_SECONDS))

    def build(
        self, files: Mapping[str, bytes], spec: Mapping[str, Any], say: Say = quiet
    ) -> BuildResult:
        """See `Place`."""
        result = self.ask("build", (dict(files), dict(spec)), CompileError, BUILD_SECONDS, say)
        return BuildResult(result["files"], tuple(result["log"]), result["proof"])

    def open(self, files: Mapping[str, bytes], spec: Mapping[str, Any]) -> WorkerRunner:
        """See `Place`."""
        number = next(self._numbers)
        self.ask("open", (number, dict(files), dict(spec)), CompileError, BUILD_SECONDS)
        runner = WorkerRunner(self, number)
        # Shared memory outlives processes: it must be given back even if nobody closes the runner.
        self._stack.callback(runner.release)
        return runner

    def ask(
        self,
        verb: str,
        arguments: tuple[Any, ...],
        kind: type[RoadworthyError],
        seconds: float,
        say: Say = quiet,
    ) -> Any:
        """Do one command there and return its result.

        Args:
            verb: a method of `worker.Host`.
            arguments: plain values.
            kind: what a failure is here.
            seconds: without a word for this long it counts as hanging, and is killed; with words
                after `TALKING` times as long, as a hanging builder may have a thread that talks.
            say: told what it says meanwhile.

        Raises:
            UnavailableError: of class `kind` for failures; it crashed, hangs, or lacks a package.
        """
        with self._lock:
            if self._is_cut:
                raise DiedError(
                    f"the worker of {self._name} was ended: a call to it was interrupted",
                    where=self._place_name(),
                    remedy="open the engine again",
                )
            # Whatever interrupts this (a signal's exception, one of `say`) leaves an answer on its
            # way that the next call would take for its own.
            self._is_cut = True
            try:
                self._send(verb, arguments)
                return self._reply(kind, seconds, say)
            finally:
                if self._is_cut:
                    self._kill()

    def _send(self, *message: Any) -> None:
        try:
            far.post(self._channel, message)
        except (OSError, EOFError) as error:
            self._died(error)

    def _reply(self, kind: type[RoadworthyError], seconds: float, say: Say) -> Any:
        import execnet

        ends = time.monotonic() + TALKING * seconds
        pieces: list[bytes] = []
        while True:
            try:
                message = self._channel.receive(
                    timeout=min(seconds, max(ends - time.monotonic(), 0.0))
                )
            except self._channel.TimeoutError as error:
                self._hangs(seconds, time.monotonic() >= ends, error)
            except (EOFError, OSError, execnet.RemoteError) as error:
                self._died(error)
            if isinstance(message, bytes):
                pieces.append(message)
                continue
            if message[0] == "say":
                say(message[1])
                continue
            self._is_cut = False
            message = far.together(message, pieces)
            if message[0] == "done":
                return message[1]
            self._failed(kind, *message[1:])

    def _hangs(self, seconds: float, talked: bool, cause: BaseException) -> NoReturn:
        """Kill it, and say for how long it did nothing."""
        self._is_cut = False
        self._kill()
        how = f"wasn't done after {TALKING * seconds:.0f} s, whatever it said meanwhile,"
        if not talked:
            how = f"gave no sign of life for {seconds:.0f} s"
        words = self._last_words()
        raise DiedError(
            f"{self._name} {how} and was killed" + (f"; its last words: {words}" if words else ""),
            where=self._place_name(),
            remedy="try smaller shapes, cheaper options, or another version of it",
        ) from cause

    def _failed(self, kind: type[RoadworthyError], what: str, text: str, trace: str) -> NoReturn:
        if what == "import":
            error = missing(self._runtime, text)
            error.where = self._place_name()
            raise error
        if what == "memory":
            text = f"out of memory: {text}"
            if kind is RunError:
                kind = DiedError
        raise kind(text, where=self._place_name()) from RemoteTraceback(trace)

    def _died(self, cause: BaseException) -> NoReturn:
        """Say how the process ended, with its last words."""
        self._is_cut = False  # there is nobody whose answer could come late
        how, remedy = self._ending()
        words = self._last_words()
        raise DiedError(
            f"the worker of {self._name} died: {how}"
            + (f"; its last words: {words}" if words else ""),
            where=self._place_name(),
            remedy=remedy,
        ) from cause

    def _ending(self) -> tuple[str, str]:
        """Return how the process ended, and what to do about it."""
        popen = self._popen()
        if popen is None:
            return "the connection broke", _CUT
        try:
            code = popen.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            return "the connection broke, the process still runs", _CUT
        if not self.is_local:
            if code < 0:
                return f"ssh was killed here by {signal.Signals(-code).name}", _CUT
            if code == SSH_FAILED:
                return "the connection broke", _CUT
            code = 128 - code if code > 128 else code
        if code < 0:
            name = signal.Signals(-code).name
            more = " (out of memory?)" if name == "SIGKILL" else ""
            return f"killed by {name}{more}", _CRASHED
        return f"exit status {code}", _CRASHED

    def _popen(self) -> Any:
        """The process behind the gateway (ssh's own, where it is elsewhere)."""
        return getattr(getattr(self._gateway, "_io", None), "popen", None)

    def _close_pipes(self) -> None:
        """Close what execnet leaves open when a gateway ends."""
        popen = self._popen()
        for pipe in (popen.stdin, popen.stdout) if popen is not None else ():
            with contextlib.suppress(OSError):
                pipe.close()

    def _kill(self) -> None:
        if self.pid is None:
            return
        if self._where is not None and self._where.ssh is not None:
            kill_there(self._where.ssh, self.pid)
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def _last_words(self) -> str:
        if not self._log.exists():
            return ""
        return last_words(self._log.read_text(encoding="utf-8", errors="replace"))

    def _place_name(self) -> str:
        if self._where is None:
            return f"{self._name}, worker process here"
        host = f"{self._where.ssh}: " if self._where.ssh else ""
        return f"{self._name} in {host}{self._where.python}"


class RemoteTraceback(Exception):  # noqa: N818 - not an error of its own: the cause of one
    """The far side's traceback, shown as the cause."""


def _far_source() -> str:
    return Path(far.__file__).read_text(encoding="utf-8")
