"""ONNX's reference evaluator as an oracle: in FP64, in a process of its own, with a time budget."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import onnx_ir as ir

from roadworthy.core.errors import RunError
from roadworthy.core.signature import Answers, Array, Feed
from roadworthy.graph.serial import to_files
from roadworthy.source.given import feed_digest
from roadworthy.source.onnx.double import to_double
from roadworthy.source.onnx.evaluate import read_arrays, write_arrays

EVALUATOR_SECONDS = 60.0
_ENDING_SECONDS = 5.0


class EvaluatorOracle:
    """ONNX's reference evaluator in FP64, in a child process that is killed at the deadline.

    Asked again after the time is used up, it raises: a judgement that can't be had is said, not
    waited for. Answers are kept: it judges the other oracles and tells the noise on the same feeds.
    """

    name = "ONNX reference evaluator, FP64"

    def __init__(self, model: ir.Model, seconds: float = EVALUATOR_SECONDS) -> None:
        # An oracle lives as long as its reference does: the folder and the process go with it.
        self._folder = Path(tempfile.mkdtemp(prefix="roadworthy-evaluator-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._left = seconds
        self._known: dict[str, Answers] = {}
        self._child: _Child | None = None
        for name, content in to_files(to_double(model), "model.onnx").items():
            (self._folder / name).write_bytes(content)

    def run(self, feed: Feed) -> Answers:
        """Return the answers in FP64 (integer outputs as they are), or raise `RunError`."""
        key = feed_digest(feed)
        if key not in self._known:
            self._known[key] = self._evaluate(feed)
        return self._known[key]

    def _evaluate(self, feed: Feed) -> Answers:
        if self._left <= 0:
            raise RunError("the time for the reference evaluator is used up", where=self.name)
        answers = self._folder / "answers.npz"
        answers.unlink(missing_ok=True)
        try:
            write_arrays(self._folder / "feed.npz", {k: _doubled(v) for k, v in feed.items()})
        except ValueError as error:
            raise RunError(f"the evaluator can't be asked: {error}", where=self.name) from error
        started = time.monotonic()
        try:
            self._ask()
        except TimeoutError as error:
            self._left = 0.0
            raise RunError(
                "the time for the reference evaluator is used up", where=self.name
            ) from error
        except ChildProcessError as error:
            self._left = 0.0
            raise RunError(f"the reference evaluator failed: {error}", where=self.name) from error
        finally:
            self._left -= time.monotonic() - started
        return read_arrays(answers)

    def _ask(self) -> None:
        child = self._child or _taken()
        try:
            child.ask(self._folder, self._left)
        except BaseException:
            # Whatever it is doing, nobody waits for it.
            self._child = None
            child.end()
            raise
        if child is self._child:
            return
        if _idle is not None:
            _idle.append(child)
        else:
            self._child = child
            weakref.finalize(self, child.end)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Let all oracles that are asked within a `with` block use the same process.

    For many small models: to start one takes longer than most evaluations. One that failed or took
    too long is replaced.
    """
    global _idle
    outer, _idle = _idle, []
    try:
        yield
    finally:
        ended, _idle = _idle, outer
        for child in ended:
            child.end()


class _Child:
    """A process of `roadworthy.source.onnx.evaluate`."""

    def __init__(self) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._replies: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "roadworthy.source.onnx.evaluate"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            encoding="utf-8",
            # Its own group: Ctrl-C comes to us alone, and we end it.
            process_group=0 if os.name == "posix" else None,
        )
        # It holds no reference to what it reads for, which would keep that alive.
        self._reader = threading.Thread(
            target=_read, args=(self._process.stdout, self._replies), daemon=True
        )
        self._reader.start()

    def ask(self, folder: Path, seconds: float) -> None:
        """Wait until the feed that lies in a folder is answered.

        Raises:
            TimeoutError: it takes longer than that.
            ChildProcessError: it failed; with the last line of what it said.
        """
        stdin = self._process.stdin
        assert stdin is not None  # it was opened as a pipe
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps(str(folder)) + "\n")
            stdin.flush()
        try:
            reply = self._replies.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError from None
        if reply is None:
            self._stderr.seek(0)
            said = self._stderr.read().decode("utf-8", errors="replace").strip()
            raise ChildProcessError((said.splitlines() or ["no message"])[-1])

    def end(self) -> None:
        """End the process. May be called twice."""
        self._process.kill()
        self._process.wait()
        # Garbage may be collected in any thread.
        if self._reader is not threading.current_thread():
            self._reader.join(_ENDING_SECONDS)
        self._stderr.close()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None  # both were opened as pipes
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


# What `kept` keeps; None outside of it.
_idle: list[_Child] | None = None


def _taken() -> _Child:
    """Return a kept process that nobody uses, or a new one."""
    try:
        return _idle.pop() if _idle else _Child()
    except IndexError:  # another thread was quicker
        return _Child()


def _read(stdout: IO[str], replies: queue.SimpleQueue[str | None]) -> None:
    for line in stdout:
        replies.put(line)
    replies.put(None)


def _doubled(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype == np.float32 else array
