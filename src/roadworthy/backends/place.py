"""Where a runtime works: in this process, in another interpreter, on another host.

A target's `where` says it: nothing (here), `python=/opt/trt/bin/python3.10` or
`ssh=user@host[:/usr/bin/python3]`. Whatever a runtime can do here it can do there; its source
travels, the other side needs only NumPy and the runtime itself. A worker that crashes, hangs or
runs out of memory is one clear error on this side, with the last lines of its log.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from roadworthy.backends.base import Runner, Say, notes_of, quiet
from roadworthy.backends.device import device_refusal, device_run
from roadworthy.backends.many import run_each
from roadworthy.core.errors import (
    CompileError,
    RoadworthyError,
    RunError,
    UnavailableError,
    UsageError,
)
from roadworthy.core.signature import Answers, Array

# What a runtime's package is called, where that isn't its backend's name.
_PACKAGES = {"tvm": "apache-tvm"}
# Built-in classes that runtimes raise for a model or an input that they can't do.
_FOREIGN = (RuntimeError, ValueError, MemoryError, OSError)
# No option of ssh's, and nothing that a shell would take for more than a word.
_HOST = re.compile(r"(?!-)[\w.@+-]+")
_FAR_PYTHON = re.compile(r"(?!.*//)[\w.@+=,/~-]*")


@dataclass(frozen=True)
class BuildResult:
    """What a runtime built: files, all that it said, and what really runs in it."""

    files: Mapping[str, bytes]
    log: tuple[str, ...] = ()
    proof: Mapping[str, Any] = field(default_factory=dict)


class Place(Protocol):
    """A runtime, wherever it is."""

    def describe(self, device: str | None) -> dict[str, str]:
        """Return the fingerprint. Raises `UnavailableError` where runtime or device is missing."""
        ...

    def build(
        self, files: Mapping[str, bytes], spec: Mapping[str, Any], say: Say = quiet
    ) -> BuildResult:
        """Compile. Raises `CompileError`."""
        ...

    def open(self, files: Mapping[str, bytes], spec: Mapping[str, Any]) -> Runner:
        """Open an engine there. Raises `CompileError`; the runner raises `RunError`."""
        ...


@dataclass(frozen=True)
class Where:
    """A parsed `where`: an interpreter, on this host or another one."""

    python: str | None = None
    ssh: str | None = None

    @classmethod
    def parse(cls, text: str) -> Where:
        """Parse `python=…` or `ssh=user@host[:python]`.

        Raises:
            UsageError: text of another form.
        """
        kind, _, value = text.partition("=")
        if kind == "python" and value:
            return cls(python=value)
        if kind == "ssh" and value:
            host, _, python = value.partition(":")
            if _HOST.fullmatch(host) and _FAR_PYTHON.fullmatch(python):
                return cls(python=python or "python3", ssh=host)
        raise UsageError(
            f"can't tell where {text!r} is",
            where="--target",
            remedy="write @python=/path/to/python or @ssh=user@host[:/path/to/python]; port "
            "and key go to ~/.ssh/config, under a name for the host",
        )


@contextlib.contextmanager
def open_place(runtime: str, where: str | None, isolated: bool = False) -> Iterator[Place]:
    """Open a place for a `with` block; its worker process, if any, ends with the block.

    Args:
        runtime: the runtime's module name, e.g. "roadworthy.backends.tensorrt.runtime".
        where: a target's `where`; None is this machine and interpreter.
        isolated: use a worker process even here, so that a crash there is an error here.

    Raises:
        UnavailableError: no such interpreter or host, or the runtime isn't installed there.
        UsageError: `where` can't be read.
    """
    if where is None and not isolated:
        yield Here(runtime)
        return
    from roadworthy.backends.gateway import Worker

    with Worker(runtime, None if where is None else Where.parse(where)) as worker:
        yield worker


def open_runner(
    runtime: str,
    where: str | None,
    isolated: bool,
    files: Mapping[str, bytes],
    spec: Mapping[str, Any],
) -> Runner:
    """Open an engine in a place of its own, which is closed with the runner; see `open_place`."""
    stack = contextlib.ExitStack()
    try:
        place = stack.enter_context(open_place(runtime, where, isolated))
        runner = place.open(files, spec)
    except BaseException:
        stack.close()
        raise
    return _Owning(runner, stack)


class _Owning:
    """A runner that takes its place along when it is closed."""

    def __init__(self, runner: Runner, place: contextlib.ExitStack) -> None:
        self._runner = runner
        self._place = place
        self.times_itself = getattr(runner, "times_itself", False)
        self.run_device = device_run(runner)
        self.device_refusal = device_refusal(runner)

    @property
    def notes(self) -> tuple[str, ...]:
        return notes_of(self._runner)

    def run(self, feed: dict[str, Array]) -> Answers:
        return self._runner.run(feed)

    def run_many(self, feeds: Iterable[dict[str, Array]]) -> Generator[Answers, None, None]:
        return run_each(self._runner, feeds)

    def time(
        self, feed: dict[str, Array], runs: int, lead: int, host_only: bool = False
    ) -> dict[str, list[int]]:
        return self._runner.time(feed, runs, lead, host_only)

    def profile(self, feed: dict[str, Array], runs: int) -> list[dict[str, Any]]:
        return self._runner.profile(feed, runs)

    def close(self) -> None:
        self._runner.close()
        self._place.close()


class Here:
    """A runtime in this process: nothing between it and the caller but translated exceptions."""

    def __init__(self, runtime: str) -> None:
        self._name = runtime
        try:
            self._module: ModuleType = importlib.import_module(runtime)
        except ImportError as error:
            raise missing(runtime, str(error)) from error

    def describe(self, device: str | None) -> dict[str, str]:
        """See `Place`."""
        with translated(UnavailableError, self._name):
            return dict(self._module.describe(device))

    def build(
        self, files: Mapping[str, bytes], spec: Mapping[str, Any], say: Say = quiet
    ) -> BuildResult:
        """See `Place`."""
        with translated(CompileError, self._name, "refused the model"):
            result = self._module.build(dict(files), dict(spec), say)
        return BuildResult(result["files"], tuple(result.get("log", ())), result.get("proof", {}))

    def open(self, files: Mapping[str, bytes], spec: Mapping[str, Any]) -> Runner:
        """See `Place`."""
        with translated(CompileError, self._name, "refused the model"):
            return _HereRunner(self._module.Runner(dict(files), dict(spec)), self._name)


class _HereRunner:
    def __init__(self, runner: Any, name: str) -> None:
        self._runner = runner
        self._name = name
        self.times_itself = hasattr(runner, "time")
        self.run_device = self._run_device if device_run(runner) else None
        self.device_refusal = device_refusal(runner)

    @property
    def notes(self) -> tuple[str, ...]:
        return notes_of(self._runner)

    def run(self, feed: dict[str, Array]) -> Answers:
        # Not `with translated(…)`: that costs a microsecond more, on the hot path.
        try:
            answers: Answers = self._runner.run(feed)
        except Exception as error:
            if not is_foreign(error):
                raise
            raise RunError(first_line(error), where=short_name(self._name)) from error
        return answers

    def run_many(self, feeds: Iterable[dict[str, Array]]) -> Generator[Answers, None, None]:
        with translated(RunError, self._name):
            yield from run_each(self._runner, feeds)

    def _run_device(
        self,
        feed: Mapping[str, Any],
        outputs: Mapping[str, Any] | None = None,
        stream: int | None = None,
    ) -> dict[str, Any]:
        with translated(RunError, self._name):
            return dict(self._runner.run_device(feed, outputs, stream))

    def time(
        self, feed: dict[str, Array], runs: int, lead: int, host_only: bool = False
    ) -> dict[str, list[int]]:
        with translated(RunError, self._name):
            if hasattr(self._runner, "time"):
                return dict(self._runner.time(feed, runs, lead, host_only))
            return timed(lambda: self._runner.run(feed), runs, lead)

    def profile(self, feed: dict[str, Array], runs: int) -> list[dict[str, Any]]:
        if not hasattr(self._runner, "profile"):
            raise no_profile(self._name)
        with translated(RunError, self._name):
            return list(self._runner.profile(feed, runs))

    def close(self) -> None:
        self._runner.close()


def timed(call: Callable[[], object], runs: int, lead: int) -> dict[str, list[int]]:
    """Time a call end to end, in nanoseconds, after `lead` runs that don't count."""
    from time import perf_counter_ns

    for _ in range(lead):
        call()
    times = []
    for _ in range(runs):
        start = perf_counter_ns()
        call()
        times.append(perf_counter_ns() - start)
    return {"host": times}


@contextlib.contextmanager
def translated(kind: type[RoadworthyError], runtime: str, what: str = "") -> Iterator[None]:
    """Turn what a runtime raises into ours; defects of Python code stay what they are.

    Args:
        kind: what it becomes.
        runtime: whose it is.
        what: what it did, to be said first.
    """
    try:
        yield
    except ImportError as error:
        raise missing(runtime, str(error)) from error
    except Exception as error:
        if not is_foreign(error):
            raise
        said = f"{short_name(runtime)} {what}: " if what else ""
        raise kind(said + first_line(error), where=short_name(runtime)) from error


def is_foreign(error: Exception) -> bool:
    """Tell what a runtime raises (its own classes too) from defects of Python code and our errors.

    A TypeError or a KeyError is a defect, here or in a runtime, and must look like one.
    """
    if isinstance(error, RoadworthyError):
        return False
    return isinstance(error, _FOREIGN) or type(error).__module__ != "builtins"


def first_line(error: BaseException) -> str:
    """Return what a foreign exception says, shortened to its first line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def missing(runtime: str, said: str) -> UnavailableError:
    """Return the error for a runtime that isn't installed where it was looked for."""
    name = short_name(runtime)
    return UnavailableError(
        f"{name} isn't installed there: {said}",
        where=name,
        remedy=f"install it there: pip install {_PACKAGES.get(name, name)}",
    )


def no_profile(runtime: str) -> UnavailableError:
    """Return the error for a runtime that can't tell where its time goes."""
    name = short_name(runtime)
    return UnavailableError(f"{name} has no profile per layer", where=name)


def short_name(runtime: str) -> str:
    """Return "tensorrt" for "roadworthy.backends.tensorrt.runtime"."""
    parts = runtime.split(".")
    return parts[-2] if len(parts) > 1 else runtime


def source_of(runtime: str) -> dict[str, str]:
    """Return a runtime's texts by module name within it, without importing it.

    A runtime that is one module, or a package's `__init__`, has the name "".
    """
    spec = importlib.util.find_spec(runtime)
    if spec is None or spec.origin is None:
        raise UsageError(f"there is no module {runtime}")
    origin = Path(spec.origin)
    files = {"": origin}
    if spec.submodule_search_locations is not None:
        siblings = (path for path in sorted(origin.parent.glob("*.py")) if path != origin)
        files.update((path.stem, path) for path in siblings)
    return {name: path.read_text(encoding="utf-8") for name, path in files.items()}
