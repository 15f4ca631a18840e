"""What can be timed: a call in this process, or an engine in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Protocol, Self

from roadworthy.backends.base import Engine
from roadworthy.core.errors import UsageError
from roadworthy.core.signature import Feed
from roadworthy.measure.handover import write_engine
from roadworthy.measure.process import Child
from roadworthy.measure.timing import settle, time_runs


class Subject(Protocol):
    """Something that is timed in blocks of runs. Use it in a `with` block."""

    @property
    def name(self) -> str:
        """What it is, for people."""
        ...

    @property
    def threads(self) -> int | None:
        """Threads of one run; None is as many as its runtime takes by itself."""
        ...

    def block(self, runs: int, lead: int = 0) -> list[int]:
        """Run `lead` times unwatched, then `runs` times; return those times in nanoseconds."""
        ...

    def rest(self) -> None:
        """Return when it is idle: from now to the next block it takes no processor time."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class LocalSubject:
    """A call in this process, such as a PyTorch module on its input.

    Args:
        name: what it is, for people.
        call: one run. If it works on a device it must wait for the device before it returns.
        threads: what its runtime was set to; stated, not enforced here.
    """

    def __init__(self, name: str, call: Callable[[], object], threads: int) -> None:
        self.name = name
        self.threads = _checked_threads(threads)
        self._call = call

    def block(self, runs: int, lead: int = 0) -> list[int]:
        """See `Subject.block`. What the call raises passes through."""
        return time_runs(self._call, runs, lead=lead)

    def rest(self) -> None:
        """Wait until this process's threads sleep."""
        settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to give back."""


class EngineSubject:
    """An engine on one input, in a process of its own, which is stopped while it isn't timed.

    In this process its thread pool would spin beside the baseline's, and the two runtimes would
    share an allocator and an OpenMP library. The process is started on entry and gone on exit,
    whatever happens; it can't outlive this one.

    Args:
        name: what it is, for people.
        engine: what is opened there.
        feed: one input, as the engine's signature has it.
        threads: replaces the engine's own `CompileOptions.threads`; None leaves those.
        timeout: seconds that opening it, or one run of it, may take.

    Raises:
        RunError: on entry and from `block`: the process died, hangs, or the engine fails there.
        InputError: the feed isn't what the engine takes.
    """

    def __init__(
        self, name: str, engine: Engine, feed: Feed, threads: int | None, timeout: float = 300.0
    ) -> None:
        self.name = name
        if threads is not None:
            options = replace(engine.options, threads=_checked_threads(threads))
            engine = replace(engine, options=options)
        self.threads = engine.options.threads
        self._engine = engine
        self._feed = dict(feed)
        self._timeout = timeout
        self._stack = ExitStack()
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """The process that runs the engine; None outside the `with` block."""
        return self._child.pid if self._child else None

    def block(self, runs: int, lead: int = 0) -> list[int]:
        """See `Subject.block`."""
        if self._child is None:
            raise UsageError(f"{self.name} isn't running", remedy="time it inside the `with` block")
        reply = self._child.ask({"runs": runs, "lead": lead})
        return [int(value) for value in reply["times"]]

    def rest(self) -> None:
        """Stop the process (where the system can), so that its threads can't spin."""
        if self._child is not None:
            self._child.pause()

    def __enter__(self) -> Self:
        if self._child is not None:
            raise UsageError(f"{self.name} is already running")
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="roadworthy-")))
            write_engine(folder, self._engine, self._feed)
            child = stack.enter_context(Child(self.name, folder, self._timeout))
            child.expect_ready()
            self._child, self._stack = child, stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child = None
        self._stack.close()


def _checked_threads(threads: int) -> int:
    if threads < 1:
        raise UsageError(f"threads must be at least 1, not {threads}")
    return threads
