"""The far side: hosts a backend's runtime in another interpreter or on another host.

Sent as text through an execnet gateway, which defines `channel`. Standard library and NumPy only,
Python 3.8 and later. One command at a time: (verb, arguments) in; any number of ("say", text), then
("done", result) or ("error", kind, message, trace) out. A crash ends the process, and the near side
reads its last words from the log that standard error goes to (from another host through ssh).
"""

from __future__ import annotations

import faulthandler
import importlib
import importlib.abc
import importlib.util
import os
import sys
import time
import traceback
import types
from multiprocessing import resource_tracker, shared_memory
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

CHUNK = 1 << 26
# Longer bytes go ahead of the message that they belong to.
AHEAD = 1 << 16
_MARK = "bytes sent ahead"
# What a runtime is imported as.
RUNTIME = "roadworthy_runtime"


class Sent(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """A runtime's modules, from the texts that were sent, imported as `roadworthy_runtime`.

    Not as they are called over there: the packages around a runtime aren't here, and
    `from . import …` asks for them.

    Args:
        name: the runtime's full name over there, which tracebacks show as its files.
        texts: source by module name within the runtime, "" for itself; several are a package.
    """

    def __init__(self, name: str, texts: Dict[str, str]) -> None:
        self.folder = name.replace(".", "/")
        self.texts = {RUNTIME + ("." + inner if inner else ""): texts[inner] for inner in texts}

    def load(self) -> types.ModuleType:
        """Import the runtime; its siblings are found here when it asks for them."""
        sys.meta_path.insert(0, self)
        return importlib.import_module(RUNTIME)

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]] = None, target: Any = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        """See `importlib.abc.MetaPathFinder`."""
        if fullname not in self.texts:
            return None
        spec = importlib.util.spec_from_loader(fullname, self, origin=self.file_of(fullname))
        if spec is not None:
            spec.has_location = True  # so that modules have a `__file__`
        return spec

    def is_package(self, fullname: str) -> bool:
        """See `importlib.abc.InspectLoader`."""
        return fullname == RUNTIME and len(self.texts) > 1

    def get_source(self, fullname: str) -> str:
        """See `importlib.abc.InspectLoader`; tracebacks show their lines by it."""
        return self.texts[fullname]

    def get_code(self, fullname: str) -> types.CodeType:
        """See `importlib.abc.InspectLoader`."""
        return self.source_to_code(self.texts[fullname], self.file_of(fullname))

    def file_of(self, fullname: str) -> str:
        """Return what tracebacks call a module's file."""
        inside = "/__init__" if self.is_package(fullname) else fullname[len(RUNTIME) :]
        return "%s%s.py, sent by roadworthy" % (self.folder, inside.replace(".", "/"))


class Segment:
    """A shared memory segment that the near side made; attached once, not owned."""

    def __init__(self) -> None:
        self._memory: Optional[shared_memory.SharedMemory] = None
        self._in_use: List[shared_memory.SharedMemory] = []

    def attach(self, name: str) -> memoryview:
        """Return the segment's bytes."""
        if self._memory is None or self._memory.name != name:
            self.close()
            self._memory = shared_memory.SharedMemory(name)
            # Python registers what is attached as if it were its own, and would remove it at exit.
            resource_tracker.unregister(self._memory._name, "shared_memory")  # type: ignore[attr-defined]
        return memoryview(self._memory.buf)  # type: ignore[arg-type]  # only a closed one has none

    def close(self) -> None:
        """Detach; memory that an array still lies in stays until a later call finds it free."""
        if self._memory is not None:
            self._in_use.append(self._memory)
            self._memory = None
        in_use, self._in_use = self._in_use, []
        for memory in in_use:
            try:
                memory.close()
            except BufferError:
                self._in_use.append(memory)


class Host:
    """Does the commands. `runners` are open engines by number."""

    def __init__(self, channel: Any, module: types.ModuleType) -> None:
        self.channel = channel
        self.module = module
        self.runners: Dict[int, Any] = {}
        self.feed_segment = Segment()
        self.answer_segment = Segment()
        # By runner: another one may run before they are fetched.
        self.waiting: Dict[int, List[np.ndarray]] = {}

    def say(self, text: str) -> None:
        """Tell the near side how far it is; also the sign of life."""
        post(self.channel, ("say", str(text)))

    def describe(self, device: Optional[str]) -> Dict[str, str]:
        """See `runtime.describe`."""
        return dict(self.module.describe(device))

    def build(self, files: Dict[str, bytes], spec: Dict[str, Any]) -> Dict[str, Any]:
        """See `runtime.build`."""
        result = self.module.build(files, spec, self.say)
        return {
            "files": dict(result["files"]),
            "log": [str(line) for line in result.get("log", ())],
            "proof": result.get("proof", {}),
        }

    def open(self, number: int, files: Dict[str, bytes], spec: Dict[str, Any]) -> None:
        """Open an engine under a number."""
        self.runners[number] = self.module.Runner(files, spec)

    def run(self, number: int, feed: List[Any], segment: Optional[str]) -> List[Any]:
        """Run once; large arrays come and go through shared memory where there is some."""
        self.waiting.pop(number, None)
        answers = self.runners[number].run(self.unpack(feed))
        packed, waiting = self.pack(answers, segment)
        if waiting:
            self.waiting[number] = waiting
        return packed

    def fetch(self, number: int, segment: Optional[str]) -> List[bytes]:
        """Copy the answers that didn't fit into a larger segment; without one, return them."""
        waiting = self.waiting.pop(number)
        if segment is None:
            return [array.tobytes() for array in waiting]
        fill(self.answer_segment.attach(segment), waiting)
        return []

    def time(
        self, number: int, feed: List[Any], runs: int, lead: int, host_only: bool = False
    ) -> Dict[str, List[int]]:
        """Time runs here, so that the way to the near side isn't measured."""
        runner, arrays = self.runners[number], self.unpack(feed)
        if hasattr(runner, "time"):
            return dict(runner.time(arrays, runs, lead, host_only))
        for _ in range(lead):
            runner.run(arrays)
        times = []
        for _ in range(runs):
            start = time.perf_counter_ns()
            runner.run(arrays)
            times.append(time.perf_counter_ns() - start)
        return {"host": times}

    def profile(self, number: int, feed: List[Any], runs: int) -> List[Dict[str, Any]]:
        """See `Runner.profile`."""
        runner = self.runners[number]
        if not hasattr(runner, "profile"):
            raise RuntimeError("this runtime has no profile per layer")
        return list(runner.profile(self.unpack(feed), runs))

    def notes(self, number: int) -> List[str]:
        """Return what a runner says of itself."""
        return [str(note) for note in getattr(self.runners[number], "notes", ())]

    def close(self, number: int) -> None:
        """Close an engine."""
        runner = self.runners.pop(number, None)
        self.waiting.pop(number, None)
        if runner is not None:
            runner.close()
        self.detach()

    def detach(self) -> None:
        """Let go of the segments: the system has their memory back only then."""
        self.feed_segment.close()
        self.answer_segment.close()

    def unpack(self, feed: List[Any]) -> Dict[str, np.ndarray]:
        """Return arrays from (name, dtype, shape, bytes, or (segment, offset), or texts)."""
        arrays = {}
        for name, dtype, shape, content in feed:
            if dtype == "str":
                arrays[name] = np.array(content, dtype=object).reshape(shape)
                continue
            count = int(np.prod(shape, dtype=np.int64))
            if isinstance(content, tuple):
                buffer, offset = self.feed_segment.attach(content[0]), content[1]
                flat = np.frombuffer(buffer, np.dtype(dtype), count, offset)
            else:
                flat = np.frombuffer(content, np.dtype(dtype), count)
            # No copy, as a runtime in the caller's process gets the caller's arrays: it may read
            # them until it has answered. The segment isn't written before the next command.
            arrays[name] = flat.reshape(shape)
        return arrays

    def pack(
        self, answers: Dict[str, np.ndarray], segment: Optional[str]
    ) -> Tuple[List[Any], List[np.ndarray]]:
        """Return what `unpack` takes, with offsets only for what is or will be in the segment.

        And the arrays that don't fit into it.
        """
        packed: List[Any] = []
        shared: List[np.ndarray] = []
        offset = 0
        for name, array in answers.items():
            if array.dtype.kind in "OUST":
                texts = [str(text) for text in array.reshape(-1).tolist()]
                packed.append((name, "str", list(array.shape), texts))
                continue
            array = np.ascontiguousarray(array).reshape(array.shape)
            if segment is None:
                packed.append((name, array.dtype.str, list(array.shape), array.tobytes()))
            else:
                packed.append((name, array.dtype.str, list(array.shape), offset))
                shared.append(array)
                offset += aligned(array.nbytes)
        if segment is not None:
            buffer = self.answer_segment.attach(segment)
            if offset <= len(buffer):
                fill(buffer, shared)
                shared = []
        return packed, shared


def aligned(size: int) -> int:
    """Round up to 64 bytes: every array starts where vector instructions like it."""
    return (size + 63) // 64 * 64


def fill(buffer: memoryview, arrays: List[np.ndarray]) -> None:
    """Copy arrays into a segment, one after the other."""
    offset = 0
    for array in arrays:
        if array.nbytes:
            buffer[offset : offset + array.nbytes] = array.reshape(-1).view(np.uint8).data
        offset += aligned(array.nbytes)


def post(channel: Any, message: Any) -> None:
    """Send a message of plain values: execnet carries no 2 GiB in one, so bytes go ahead of it."""
    channel.send(_ahead(channel, message))


def _ahead(channel: Any, value: Any) -> Any:
    """Send the bytes within a value, piece by piece; return it with marks in their places."""
    if isinstance(value, bytes) and len(value) > AHEAD:
        pieces = chunks(value)
        for piece in pieces:
            channel.send(piece)
        return (_MARK, len(pieces))
    if isinstance(value, dict):
        return {name: _ahead(channel, inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_ahead(channel, inner) for inner in value])
    return value


def together(message: Any, pieces: List[bytes]) -> Any:
    """Return a message with the pieces that came ahead of it in their places."""
    waiting = iter(pieces)

    def place(value: Any) -> Any:
        if isinstance(value, tuple) and len(value) == 2 and value[0] == _MARK:
            return b"".join([next(waiting) for _ in range(value[1])])
        if isinstance(value, dict):
            return {name: place(inner) for name, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)([place(inner) for inner in value])
        return value

    return place(message) if pieces else message


def chunks(content: bytes) -> List[bytes]:
    """Cut what is long: execnet can't carry 2 GiB in one piece."""
    return [content[start : start + CHUNK] for start in range(0, len(content), CHUNK)]


def kind_of(error: BaseException) -> str:
    """Tell the near side's classes of failure apart."""
    if isinstance(error, ImportError):
        return "import"
    return "memory" if isinstance(error, MemoryError) else "runtime"


def serve(channel: Any) -> None:
    """Load the runtime that is sent first, then do commands until the channel closes."""
    name, texts, log = channel.receive()
    if log:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, 2)
    os.dup2(2, 1)
    faulthandler.enable(2)
    try:
        module = Sent(name, texts).load()
    except Exception as error:
        channel.send(("error", kind_of(error), str(error), traceback.format_exc()))
        return
    channel.send(("done", {"pid": os.getpid(), "python": sys.version.split()[0]}))
    host = Host(channel, module)
    pieces: List[bytes] = []
    while True:
        try:
            message = channel.receive()
        except EOFError:
            return
        if isinstance(message, bytes):
            pieces.append(message)
            continue
        (verb, arguments), pieces = together(message, pieces), []
        try:
            post(channel, ("done", getattr(host, verb)(*arguments)))
        except Exception as error:
            text = str(error).strip() or type(error).__name__
            channel.send(("error", kind_of(error), text, traceback.format_exc()))


if __name__ == "__channelexec__":
    serve(channel)  # type: ignore[name-defined]  # noqa: F821 - execnet defines it
