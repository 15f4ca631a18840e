"""Compile one target, and tell meanwhile how far that is, how long it takes and may take."""

from __future__ import annotations

import re
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from roadworthy.backends import registry
from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.core.progress import Progress
from roadworthy.core.signature import Signature
from roadworthy.core.target import Target
from roadworthy.pipeline import history

if TYPE_CHECKING:
    import onnx_ir as ir

# What is expected to be done is never shown as done.
_MOST_SHARE = 0.95
_TICK_SECONDS = 1.0
_ELAPSED = re.compile(r",? ?\d+(\.\d+)? s$")


def build(
    model: ir.Model,
    signature: Signature,
    model_digest: str,
    target: Target,
    options: CompileOptions,
    progress: Progress,
    doing: str = "compile",
) -> Engine:
    """Compile a model for a target; remember how long it took.

    Args:
        model: what to build.
        signature: its inputs and outputs.
        model_digest: of its files.
        target: what to build for.
        options: what to build with.
        doing: what to call it.
        progress: told how far it is, about once a second, also from a thread of its own: most
            runtimes say nothing while they build.

    Raises:
        UnavailableError: as of `Backend.compile`.
    """
    backend = registry.find(target.backend)
    stage = f"{target}: {doing}"
    progress(stage, 0.0)
    nodes = sum(1 for _ in model.graph.all_nodes())
    expected = history.expect(backend, target, options, model_digest, nodes)
    started = time.monotonic()
    with BuildProgress(stage, expected, progress) as told:
        engine = backend.compile(model, signature, target, options, told.say)
    if not engine.proof.get("from_cache") and nodes:
        seconds = time.monotonic() - started
        history.remember(
            history.Build.of(target, engine.fingerprint, options, model_digest, nodes, seconds)
        )
    return engine


class BuildProgress:
    """Tells of one build: what the runtime last said, the elapsed time, the estimate.

    "tensorrt: compile, tactics 12/80, 34 s; last time 61 s". Use it in a `with` block, in which
    `progress` is called by one thread at a time.

    Args:
        stage: what is being done; every text begins with it.
        expected: how long it may take; the share that is done follows from it.
        progress: is told.
        tick: seconds after which it is told again though the runtime said nothing.
    """

    def __init__(
        self,
        stage: str,
        expected: history.Estimate | None,
        progress: Progress,
        tick: float = _TICK_SECONDS,
    ) -> None:
        self._stage = stage
        self._expected = expected
        self._progress = progress
        self._tick = tick
        self._said = ""
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._tick_until_over, daemon=True)

    def say(self, text: str) -> None:
        """Take what the runtime says; the time that it counts itself is left out."""
        with self._lock:
            self._said = _ELAPSED.sub("", text.strip())
            self._tell()

    def _tell(self) -> None:
        elapsed = time.monotonic() - self._started
        text = ", ".join(part for part in (self._stage, self._said, f"{elapsed:.0f} s") if part)
        share = 0.0
        if self._expected is not None:
            text += f"; {self._expected}"
            share = min(_MOST_SHARE, elapsed / self._expected.seconds)
        self._progress(text, share)

    def _tick_until_over(self) -> None:
        while not self._over.wait(self._tick):
            try:
                with self._lock:
                    self._tell()
            # Whatever it is, it is raised when the build is over: a thread would lose it.
            except Exception as error:
                self._failure = error
                return

    def __enter__(self) -> Self:
        if self._expected is not None:
            self._tell()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        if error is None and self._failure is not None:
            raise self._failure
