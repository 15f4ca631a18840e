"""One worker for many builds and sessions, where starting one for each would take most of the time.

To start a worker and load TensorRT or TVM takes seconds, a small network milliseconds. A worker's
commands are done one after the other: this is for tests and for many small models, not for serving.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from roadworthy.backends.base import Runner
from roadworthy.backends.place import Place, open_place, open_runner
from roadworthy.core.errors import RoadworthyError
from roadworthy.core.target import Target


class Workers:
    """Where a backend's places come from: a new one each time, or inside `kept()` one for all."""

    def __init__(self, runtime: str) -> None:
        # A module name, as for `open_place`.
        self._runtime = runtime
        self._kept: KeptWorkers | None = None

    @contextlib.contextmanager
    def kept(self) -> Iterator[KeptWorkers]:
        """Use one worker per place for all that is built and opened within a `with` block.

        A worker that died is replaced. An inner block uses the outer one's workers.
        """
        if self._kept is not None:
            yield self._kept
            return
        kept = self._kept = KeptWorkers(self._runtime)
        try:
            yield kept
        finally:
            self._kept = None
            kept.renew()

    @contextlib.contextmanager
    def place(self, target: Target) -> Iterator[Place]:
        """Open a worker for a `with` block, or give the kept one; raises as `open_place`."""
        if self._kept is not None:
            yield self._kept.place(target)
            return
        with open_place(self._runtime, target.where, isolated=True) as place:
            yield place

    def runner(
        self,
        target: Target,
        isolated: bool,
        files: Mapping[str, bytes],
        spec: Mapping[str, Any],
    ) -> Runner:
        """Open an engine in a place of its own, or in the kept one; see `open_runner`."""
        if self._kept is not None:
            return self._kept.place(target).open(files, spec)
        return open_runner(self._runtime, target.where, isolated, files, spec)


class KeptWorkers:
    """Workers of one runtime by place, started when first needed, and again after they died."""

    def __init__(self, runtime: str) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        # By place and device: to ask after another device would select it there.
        self._places: dict[tuple[str | None, str | None], _Kept] = {}

    def place(self, target: Target) -> Place:
        """Return the worker of a target, alive."""
        key = (target.where, target.device)
        with self._lock:
            known = self._places.get(key)
            if known is not None and not _lives(known.place, target.device):
                self._places.pop(key).stack.close()
                known = None
            if known is None:
                stack = contextlib.ExitStack()
                place = stack.enter_context(open_place(self._runtime, target.where, isolated=True))
                known = self._places[key] = _Kept(place, stack)
            return known.place

    def renew(self) -> None:
        """End every worker; the next use starts a fresh one.

        A failure can leave a process in doubt that still answers: a GPU's context is lost for good
        after one bad access, and so is all that comes after it.
        """
        with self._lock:
            while self._places:
                self._places.popitem()[1].stack.close()


class _Kept(NamedTuple):
    place: Place
    stack: contextlib.ExitStack


def _lives(place: Place, device: str | None) -> bool:
    """Tell whether a worker still answers; one that can't even describe itself is none to keep."""
    try:
        place.describe(device)
    except RoadworthyError:
        return False
    return True
