"""A record of named steps that survives being cut off: written after each, and continued."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from roadworthy.core.errors import RoadworthyError
from roadworthy.core.files import write_text
from roadworthy.core.jsonable import dumps

BESIDE = ", beside other work"
"""Ends the name of a step that was recorded again while the machine did something else too."""


@dataclass(frozen=True)
class Step:
    """One measurement.

    Attributes:
        part: the group it belongs to.
        key: its name in the record.
        seconds: what it is expected to take; it isn't begun with less time left.
        work: returns what is recorded.
        builds: what can be built for it beforehand by name, and is then found in TensorRT's build
            cache.
    """

    part: str
    key: str
    seconds: float
    work: Callable[[], dict[str, Any]]
    builds: Mapping[str, Callable[[], object]] = field(default_factory=dict)


class Record:
    """The JSON file of results, and how much time is left."""

    def __init__(
        self, path: Path, machine: dict[str, Any], seconds: float, also_running: str = ""
    ) -> None:
        self._path = path
        self._end = time.monotonic() + seconds
        self._start = time.monotonic()
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        # A file of another form is an older program's: its results aren't continued.
        self.steps: dict[str, Any] = known.get("steps", {})
        self.machine = machine
        self._also = {"also_running": also_running} if also_running else {}

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._end - time.monotonic()

    def say(self, text: str) -> None:
        """Print a line with the time since the start, at once."""
        print(f"[{time.monotonic() - self._start:6.1f}] {text}", flush=True)

    def do(self, steps: list[Step], again: bool = False) -> int:
        """Do those steps that aren't recorded yet; return the exit code.

        A step that raises is recorded with its reason and counts as not done: the next call tries
        it again. 0: all done; 1: a step failed; 5: no time was left for some.
        """
        failed, left_out = [], []
        for step in steps:
            if step.key in self.steps and "error" not in self.steps[step.key] and not again:
                self.say(f"{step.key}: recorded already")
                continue
            if self.left < step.seconds:
                left_out.append(step.key)
                continue
            self.say(f"{step.key} (about {step.seconds:.0f} s, {self.left:.0f} s left)")
            if not self._done(step):
                failed.append(step.key)
        return self._ended(failed, left_out)

    def _ended(self, failed: list[str], left_out: list[str]) -> int:
        for what, keys in (("failed", failed), ("no time left for", left_out)):
            if keys:
                self.say(f"{what}: {', '.join(dict.fromkeys(keys))}")
        return 1 if failed else 5 if left_out else 0

    def build(self, steps: list[Step], only: str) -> int:
        """Build what the steps need and has `only` in its name; record nothing.

        Returns:
            The exit code, as `do` does.
        """
        failed, left_out = [], []
        wanted = {name: (step, build) for step in steps for name, build in step.builds.items()}
        for name, (step, build) in wanted.items():
            if only not in name:
                continue
            if self.left < step.seconds:
                left_out.append(name)
                continue
            began = time.monotonic()
            try:
                build()
            except Exception as error:  # the step itself will record it
                failed.append(name)
                self.say(f"  FAILED {type(error).__name__}: {error}")
            self.say(f"{name}: {time.monotonic() - began:.1f} s")
        return self._ended(failed, left_out)

    def _name(self, key: str) -> str:
        """Return where a result goes: what a quiet machine gave isn't replaced by a busy one's."""
        before = self.steps.get(key, {"error": "none"})
        quiet = "error" not in before and "also_running" not in before
        return f"{key}{BESIDE}" if self._also and quiet else key

    def _done(self, step: Step) -> bool:
        began = time.monotonic()
        try:
            found = step.work()
        except RoadworthyError as error:
            found = {"error": str(error)}
        except Exception as error:  # one step's fault must not lose the others' results
            found = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        found["wall_seconds"] = round(time.monotonic() - began, 1)
        self.steps[self._name(step.key)] = {"part": step.part, **found, **self._also}
        known = {"recorded": date.today().isoformat(), "machine": self.machine}
        write_text(self._path, dumps({**known, "steps": self.steps}))
        if "error" in found:
            self.say(f"  FAILED {found['error']}")
        return "error" not in found
