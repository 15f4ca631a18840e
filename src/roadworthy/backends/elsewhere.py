"""An engine that is open in a worker, and the shared memory that its arrays travel through."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from multiprocessing import shared_memory
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roadworthy.backends import worker as far
from roadworthy.core.errors import RunError, UnavailableError
from roadworthy.core.signature import Answers, Array

if TYPE_CHECKING:
    from roadworthy.backends.gateway import Worker

# Without a word for this long a worker counts as hanging: TensorRT's INT8 builds take six minutes.
BUILD_SECONDS = 3600.0
RUN_SECONDS = 300.0
# Smaller arrays travel in the message: a segment costs more than it saves.
_SHARED_FROM = 1 << 16
# Where Linux keeps shared memory.
_FOLDER = Path("/dev/shm")
MARK = "ROADWORTHY_MARK"
"""The environment variable that marks the shared memory of a process for who started it.

A number alone wouldn't do: containers may share their memory and have processes of equal numbers.
"""


def new_mark() -> str:
    """Return what nobody else has; short, for some systems allow 31 letters in a name."""
    return secrets.token_hex(3)


def remove_segments(pid: int, mark: str) -> None:
    """Remove the shared memory of a process that is dead and was started with this mark."""
    for segment in _FOLDER.glob(f"{_prefix(pid, mark)}*"):
        segment.unlink(missing_ok=True)


def _prefix(pid: int, mark: str) -> str:
    return f"roadworthy-{pid}-{mark}"


class WorkerRunner:
    """An engine that is open in a worker; see `backends.base.Runner`."""

    times_itself = True

    def __init__(self, worker: Worker, number: int) -> None:
        self._worker = worker
        self._number = number
        self._feed = _Memory()
        self._answers = _Memory()
        # Until there is no room for it: then arrays travel in the messages, as they do by ssh.
        self._shares = worker.is_local
        self._closed = False

    def run(self, feed: dict[str, Array]) -> Answers:
        """Run once; arrays of this host travel through shared memory."""
        segment = self._answers.name if self._room(self._answers, _SHARED_FROM) else None
        packed = self._worker.ask(
            "run", (self._number, self._pack(feed), segment), RunError, RUN_SECONDS
        )
        if segment is None:
            return {name: _unpack(*rest) for name, *rest in packed}
        size = sum(far.aligned(_nbytes(d, s)) for _, d, s, _ in packed if d != "str")
        if size > self._answers.size:
            segment = self._answers.name if self._room(self._answers, size) else None
            waited = self._worker.ask("fetch", (self._number, segment), RunError, RUN_SECONDS)
            if segment is None:
                return {name: _unpack(*rest) for name, *rest in _with_contents(packed, waited)}
        return {name: self._take(*rest) for name, *rest in packed}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the runner there says of itself; nothing once it is closed or gone."""
        if self._closed:
            return ()
        with contextlib.suppress(RunError):
            return tuple(self._worker.ask("notes", (self._number,), RunError, RUN_SECONDS))
        return ()

    def time(
        self, feed: dict[str, Array], runs: int, lead: int, host_only: bool = False
    ) -> dict[str, list[int]]:
        """Time runs in the worker: the way there isn't measured."""
        arguments = (self._number, self._pack(feed), runs, lead, host_only)
        return dict(self._worker.ask("time", arguments, RunError, BUILD_SECONDS))

    def profile(self, feed: dict[str, Array], runs: int) -> list[dict[str, Any]]:
        """See `Runner.profile`."""
        arguments = (self._number, self._pack(feed), runs)
        return list(self._worker.ask("profile", arguments, UnavailableError, BUILD_SECONDS))

    def close(self) -> None:
        """Close the engine there. A worker that is dead already has nothing to close."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(RunError):
            self._worker.ask("close", (self._number,), RunError, RUN_SECONDS)
        self.release()

    def release(self) -> None:
        """Give the shared memory back; the worker may be gone."""
        self._feed.close()
        self._answers.close()

    def _pack(self, feed: dict[str, Array]) -> list[Any]:
        """Return what `worker.Host.unpack` takes."""
        offsets = dict(_offsets(feed)) if self._shares else {}
        if offsets and not self._room(
            self._feed, sum(far.aligned(feed[name].nbytes) for name in offsets)
        ):
            offsets = {}
        packed: list[Any] = []
        for name, array in feed.items():
            if array.dtype.kind in "OUST":
                texts = [str(text) for text in array.reshape(-1).tolist()]
                packed.append((name, "str", list(array.shape), texts))
                continue
            content: Any = array.tobytes() if name not in offsets else None
            if name in offsets:
                self._feed.write(offsets[name], array)
                content = (self._feed.name, offsets[name])
            packed.append((name, array.dtype.str, list(array.shape), content))
        return packed

    def _room(self, memory: _Memory, size: int) -> bool:
        """Make room in shared memory, where that can be had."""
        if self._shares:
            if 0 < memory.size < size:
                # The system needn't have room for the smaller one besides.
                self._worker.ask("detach", (), RunError, RUN_SECONDS)
            try:
                memory.grow(size)
            except OSError:
                self._shares = False
        return self._shares

    def _take(self, dtype: str, shape: list[int], content: Any) -> Array:
        if dtype == "str":
            return _unpack(dtype, shape, content)
        return self._answers.read(int(content), np.dtype(dtype), tuple(shape))


def _offsets(feed: dict[str, Array]) -> Iterator[tuple[str, int]]:
    offset = 0
    for name, array in feed.items():
        if array.nbytes >= _SHARED_FROM and array.dtype.kind not in "OUST":
            yield name, offset
            offset += far.aligned(array.nbytes)


def _nbytes(dtype: str, shape: list[int]) -> int:
    return int(np.dtype(dtype).itemsize * np.prod(shape, dtype=np.int64))


def _unpack(dtype: str, shape: list[int], content: Any) -> Array:
    if dtype == "str":
        return np.array(content, dtype=object).reshape(shape)
    return np.frombuffer(content, np.dtype(dtype)).reshape(shape).copy()


def _with_contents(packed: list[Any], contents: list[bytes]) -> Iterator[tuple[Any, ...]]:
    """Put contents, which are those of all but the texts, in the place of offsets."""
    waiting = iter(contents)
    for name, dtype, shape, content in packed:
        yield name, dtype, shape, content if dtype == "str" else next(waiting)


def _reserve(name: str, size: int) -> None:
    """Have the system find the pages of a segment now.

    It gives out more than there is, and ends the process (SIGBUS) that touches a page too many.
    """
    if not hasattr(os, "posix_fallocate") or not _FOLDER.is_dir():
        return
    descriptor = os.open(_FOLDER / name, os.O_RDWR)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)


class _Memory:
    """A shared segment of ours that grows; the other side attaches by its name."""

    def __init__(self) -> None:
        self._segment: shared_memory.SharedMemory | None = None

    @property
    def name(self) -> str:
        """What the other side attaches to."""
        assert self._segment is not None  # from grow() to close()
        return self._segment.name

    @property
    def size(self) -> int:
        """Bytes that fit."""
        return self._segment.size if self._segment is not None else 0

    @property
    def _buffer(self) -> memoryview:
        assert self._segment is not None and self._segment.buf is not None  # as in `name`
        return self._segment.buf

    def grow(self, size: int) -> None:
        """Make room; what was in it is lost.

        Raises:
            OSError: the system has no such room (containers often allow 64 MB).
        """
        if size <= self.size:
            return
        self.close()
        name = _prefix(os.getpid(), os.environ.get(MARK, "")) + secrets.token_hex(3)
        self._segment = shared_memory.SharedMemory(name, create=True, size=size)
        try:
            _reserve(name, size)
        except OSError:
            self.close()
            raise

    def write(self, offset: int, array: Array) -> None:
        """Copy an array in."""
        flat = np.frombuffer(self._buffer, array.dtype, array.size, offset)
        flat[:] = array.reshape(-1)

    def read(self, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        """Copy an array out."""
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self._buffer, dtype, count, offset).reshape(shape).copy()

    def close(self) -> None:
        """Give the segment back to the system."""
        if self._segment is not None:
            self._segment.close()
            self._segment.unlink()
            self._segment = None
