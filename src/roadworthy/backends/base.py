"""The three words every backend speaks: `Backend` compiles, `Engine` ships, `Session` runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from roadworthy.backends.device import DeviceRun, device_refusal, device_run, in_place, stand_in
from roadworthy.core.closing import Closing
from roadworthy.core.errors import InputError, UsageError
from roadworthy.core.signature import Answers, Array, Feed, Signature
from roadworthy.core.target import Target

if TYPE_CHECKING:
    import onnx_ir as ir

# A session remembers so many checked shapes; a camera that crops freely never ends naming new ones.
_MOST_SEEN = 256

Say = Callable[[str], None]
"""Told how far a build is, in a few words; the time it took so far is the listener's business."""


REBUILD = (
    "build it anew for this machine from the bundle's own ONNX: "
    "roadworthy verify BUNDLE --rebuild, or roadworthy.load(BUNDLE, rebuild=True); "
    "or deploy again here"
)
"""What to do about an engine of a bundle that was built elsewhere and doesn't load here."""


def quiet(_text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Support:
    """Yes, or no with the reason and the remedy."""

    ok: bool
    reason: str = ""
    remedy: str | None = None

    @classmethod
    def of_version(cls, target: Target, found: str, name: str, package: str) -> Support:
        """Yes if the version that was found is what the target asks for, part by part.

        Args:
            target: "==8.6" takes 8.6 and 8.6.1, and not 8.60.
            found: the installed version.
            name: the runtime's, for people.
            package: what pip calls it.
        """
        asked = target.version
        if not asked or f"{found}.".startswith(f"{asked.rstrip('.')}."):
            return cls(True)
        there = "install it where the target is: " if target.where is not None else ""
        return cls(
            False,
            f"{name} {asked} was asked for, {found} is installed",
            f'{there}pip install "{package}=={asked.rstrip(".")}.*"',
        )


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """What every backend understands. Validated once; part of cache keys.

    Attributes:
        precision: "fp32", "tf32", "fp16", "bf16" or "int8"; a backend says which it has.
        threads: threads of one inference; None lets the backend take what this process may use.
        optimise: False switches the runtime's own graph optimisation off (for oracles).
        spinning: let idle threads spin for work: lower latency, a busy core between runs.
        extra: a backend's own options as (name, text), sorted; the backend parses and checks them.
    """

    precision: str = "fp32"
    threads: int | None = None
    optimise: bool = True
    spinning: bool = True
    extra: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads must be at least 1, not {self.threads}")


@dataclass(frozen=True)
class Engine:
    """Compiled bytes and what they are tied to.

    Attributes:
        target: where it runs.
        signature: its inputs and outputs.
        files: the compiled artefact, file name to content; the first is the one to open.
        options: what it was compiled with.
        fingerprint: what it is tied to (runtime, version, device, …), plain JSON values.
        log: all that the build said; like `proof` an account of the build, not part of equality.
        proof: what really runs (precision, device), read from the engine; plain JSON values.
    """

    target: Target
    signature: Signature
    files: Mapping[str, bytes]
    options: CompileOptions
    fingerprint: Mapping[str, str]
    log: tuple[str, ...] = field(default=(), compare=False)
    proof: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def open(self) -> Session:
        """Open it here. Use the session in a `with` block, from one thread at a time.

        Raises:
            UnavailableError: its runtime or device isn't here.
        """
        from roadworthy.backends.registry import find  # the registry imports this module

        return find(self.target.backend).open(self)


class Runner(Protocol):
    """What a backend's runtime provides: the raw call, nothing checked.

    An optional attribute `times_itself` is true where `time` must be asked, because calling `run`
    from here would measure the way there too. An optional method `run_many` overlaps runs: see
    `backends.many.run_each`. An optional `run_device` is a `backends.device.DeviceRun`, unless an
    optional text `device_refusal` says why not for this network. An optional `notes` (a sequence of
    texts, which may grow) tells what didn't go as intended, though the answers are right.
    """

    def run(self, feed: dict[str, Array]) -> Answers:
        """Run once. Arrays are C-contiguous and of the right dtype; results are the caller's."""
        ...

    def time(
        self, feed: dict[str, Array], runs: int, lead: int, host_only: bool = False
    ) -> dict[str, list[int]]:
        """Time runs where the engine is, in nanoseconds, after `lead` that don't count.

        "host" is end to end; a backend may add "device" and "enqueue".
        """
        ...

    def profile(self, feed: dict[str, Array], runs: int) -> list[dict[str, Any]]:
        """Return time per layer, on the names of the ONNX nodes; raises `UnavailableError`."""
        ...

    def close(self) -> None:
        """Give everything back. May be called twice."""
        ...


def notes_of(runner: Any) -> tuple[str, ...]:
    """Return what a runner says of itself; nothing where it doesn't."""
    return tuple(getattr(runner, "notes", ()))


@runtime_checkable
class Backend(Protocol):
    """One way to compile and run networks.

    An optional method `check_options(options: CompileOptions)` raises `UsageError`, before any
    work, for options of its own that `compile` would refuse whatever the network is.
    """

    name: str

    def supports(self, target: Target) -> Support:
        """Tell whether this target is to be had here, without compiling anything."""
        ...

    def compile(
        self,
        model: ir.Model,
        signature: Signature,
        target: Target,
        options: CompileOptions,
        say: Say = quiet,
    ) -> Engine:
        """Compile, and say how far it is. Never returns something else than was asked for.

        An engine that was taken from a cache instead has `proof["from_cache"]` true.

        Raises:
            UnavailableError: no such target, version or precision here.
            CompileError: the runtime refuses the model.
            DiedError: the worker that compiled it is gone.
        """
        ...

    def open(self, engine: Engine) -> Session:
        """Open an engine here."""
        ...

    def fingerprint(self, target: Target) -> Mapping[str, str]:
        """Return what an engine built here now would be tied to."""
        ...


@dataclass
class Session(Closing):
    """Runs one engine: `run({name: array}) -> {name: array}`.

    Checks names, dtypes and shapes; makes arrays contiguous; results are the caller's to keep.
    One thread at a time: a second one that enters is an error, not a corrupted answer.
    `differences` says where this machine isn't what the engine was built on, though it runs here.
    """

    signature: Signature
    runner: Runner
    differences: tuple[str, ...] = ()
    _seen: set[tuple[Any, ...]] = field(default_factory=set, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _closed: bool = False

    def run(self, feed: Feed) -> Answers:
        """Run once.

        Args:
            feed: every input by name, with its signature's dtype and shape, any strides.

        Returns:
            Every output by name, in the signature's order; C-contiguous, never reused.

        Raises:
            InputError: names, dtypes or shapes that the signature doesn't allow.
            RunError: the runtime failed.
            UsageError: the session is closed, or in use by another thread.
        """
        self._enter()
        try:
            return self.runner.run(self._checked(feed))
        finally:
            self._lock.release()

    def run_many(self, feeds: Iterable[Feed]) -> Iterator[Answers]:
        """Run many feeds: their answers in order, as soon as they are there.

        A runtime that can overlap runs (OpenVINO, with its option mode=throughput; TensorRT, copies
        beside computing) does, and reads as many feeds ahead as runs overlap; the others, and every
        engine in a worker, run one at a time. No more answers are kept than runs overlap. Nothing
        runs before the first is asked for; to stop early, `close()` the iterator or forget it.

        Args:
            feeds: each as for `run`; it may change its arrays as soon as the next one is asked for.

        Raises:
            InputError: a feed that the signature doesn't allow, or RunError: the runtime failed;
                after the answers to all feeds before it, and nothing comes after. What `feeds`
                itself raises comes in the same place.
            UsageError: the session is closed, or in use by another thread.
        """
        from roadworthy.backends.many import run_each

        failures: list[Exception] = []
        answers = run_each(self.runner, self._one_by_one(feeds, failures))
        with contextlib.closing(answers):
            while True:
                self._enter()
                try:
                    one = next(answers, None)
                finally:
                    self._lock.release()
                if one is None:
                    break
                yield one
        if failures:
            raise failures[0]

    def _one_by_one(
        self, feeds: Iterable[Feed], failures: list[Exception]
    ) -> Iterator[dict[str, Array]]:
        """Yield checked feeds up to the first failure, which is kept for its place in the order."""
        source = iter(feeds)
        while True:
            # Whoever makes the feeds may run this session to do so.
            self._lock.release()
            try:
                feed = next(source)
            except StopIteration:
                return
            except Exception as error:
                failures.append(error)
                return
            finally:
                self._lock.acquire()
            try:
                self._check_open()
                checked = self._checked(feed)
            except UsageError as error:
                failures.append(error)
                return
            yield checked

    def _enter(self) -> None:
        """Take the lock for one step; whoever calls this releases it."""
        if not self._lock.acquire(blocking=False):
            raise UsageError(
                "this session is running in another thread",
                remedy="open one session per thread",
            )
        try:
            self._check_open()
        except UsageError:
            self._lock.release()
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this session is closed", remedy="run inside the `with` block")

    @property
    def notes(self) -> tuple[str, ...]:
        """The differences, and what didn't go as intended so far (a CUDA graph, say)."""
        return (*self.differences, *notes_of(self.runner))

    @property
    def run_device(self) -> DeviceRun | None:
        """As `run`, for arrays on the GPU that stay there; None where this engine can't do that."""
        return None if device_run(self.runner) is None else self._run_device

    @property
    def device_refusal(self) -> str:
        """Why there is no `run_device`; "" where there is one."""
        return device_refusal(self.runner)

    def _run_device(
        self,
        feed: Mapping[str, Any],
        outputs: Mapping[str, Any] | None = None,
        stream: int | None = None,
    ) -> dict[str, Any]:
        self._enter()
        try:
            taken = {name: in_place(name, value, stream) for name, value in feed.items()}
            self.signature.bind({name: stand_in(array) for name, array in taken.items()})
            given = outputs or {}
            written = {name: in_place(name, value, stream) for name, value in given.items()}
            call = device_run(self.runner)
            assert call is not None
            made = call(taken, written or None, stream)
            return {name: given.get(name, array) for name, array in made.items()}
        finally:
            self._lock.release()

    @property
    def times_itself(self) -> bool:
        """True where `run`, called from here, would measure the way there too: ask `time`."""
        return bool(getattr(self.runner, "times_itself", False))

    def time(
        self, feed: Feed, runs: int, lead: int = 0, host_only: bool = False
    ) -> dict[str, list[int]]:
        """Time single runs where the engine is, in nanoseconds; arguments checked as by `run`.

        Args:
            feed: as for `run`.
            runs: how many count.
            lead: how many go before and don't.
            host_only: nothing but "host"; the rest takes time of its own.

        Returns:
            "host": end to end; a backend with a device may add "device" and "enqueue", "call":
            from arrays on the device to arrays on the device, each call waited for, and
            "overlapped": from answer to answer of `run_many`, where the engine is.
        """
        if self.times_itself:
            return self.runner.time(self._checked(feed), runs, lead, host_only)
        from roadworthy.backends.place import timed

        return timed(lambda: self.run(feed), runs, lead)

    def profile(self, feed: Feed, runs: int = 10) -> list[dict[str, Any]]:
        """Return time per layer, on the names of the ONNX nodes.

        Raises:
            UnavailableError: this backend can't tell.
        """
        return self.runner.profile(self._checked(feed), runs)

    def _checked(self, feed: Feed) -> dict[str, Array]:
        """Check against the signature; shapes seen before take a short path."""
        ready: dict[str, Array] = {}
        key: list[Any] = []
        for name, array in feed.items():
            if not isinstance(array, np.ndarray):
                raise InputError(
                    f"input {name!r} is a {type(array).__name__}, not a NumPy array",
                    remedy="convert it with numpy.asarray",
                )
            key += (name, array.dtype, array.shape)
            ready[name] = array if array.flags.c_contiguous else np.ascontiguousarray(array)
        seen = tuple(key)
        if seen not in self._seen:
            self.signature.bind(feed)
            if len(self._seen) >= _MOST_SEEN:
                self._seen.clear()
            self._seen.add(seen)
        return ready

    def close(self) -> None:
        """Give the runtime's resources back. May be called twice."""
        if not self._closed:
            self._closed = True
            self.runner.close()
