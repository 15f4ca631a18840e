"""`Session` runs an engine: what goes to the runner is checked here."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roadworthy.backends.base import Runner, notes_of
from roadworthy.backends.device import DeviceRun, device_refusal, device_run, in_place, stand_in
from roadworthy.core.closing import Closing
from roadworthy.core.errors import InputError, UsageError
from roadworthy.core.signature import Answers, Array, Feed, Signature

# A session remembers so many checked shapes; a camera that crops freely never ends naming new ones.
_MOST_SEEN = 256


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
