"""How long builds took here, so that the next one can say how long it may take.

`$XDG_CACHE_HOME/roadworthy/builds.jsonl` holds one build a line, the latest last. It is a cache:
a line that can't be read is passed over, and where nothing can be written nothing is remembered.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

from roadworthy.backends.base import Backend, CompileOptions
from roadworthy.core.errors import RoadworthyError
from roadworthy.core.files import cache_root, replacing_file
from roadworthy.core.target import Target

# Shorter builds are over before anyone has read when; and asking a place what it is, which a
# prediction needs, can itself take seconds.
WORTH_TELLING_SECONDS = 5.0
_MOST_BUILDS = 500
_MOST_BYTES = 4 << 20
# Where a runtime's fingerprint says on what it computes; the first that it has.
_DEVICE_KEYS = ("device_name", "device name", "cpu", "provider")

_writing = threading.Lock()


@dataclass(frozen=True, slots=True)
class Build:
    """One build that took its time; all but `nodes` and `seconds` say what it was a build of."""

    backend: str
    version: str
    device: str
    precision: str
    options: str
    model: str
    nodes: int
    seconds: float

    @classmethod
    def of(
        cls,
        target: Target,
        fingerprint: Mapping[str, str],
        options: CompileOptions,
        model: str,
        nodes: int,
        seconds: float = 0.0,
    ) -> Build:
        """Return the record of a build.

        Args:
            target: what was built for.
            fingerprint: what the engine is tied to.
            options: what it was built with.
            model: the ONNX model's digest.
            nodes: how many the model has.
            seconds: what it took; leave it out for one that is yet to come.
        """
        device = next((fingerprint[key] for key in _DEVICE_KEYS if key in fingerprint), "")
        return cls(
            backend=target.backend,
            version=fingerprint.get("version", ""),
            device=device,
            precision=options.precision,
            options=json.dumps(asdict(options), sort_keys=True),
            model=model,
            nodes=nodes,
            seconds=seconds,
        )

    def is_like(self, other: Build) -> bool:
        """Tell whether both are builds of one model, by one runtime, for one device."""
        names = [field.name for field in fields(self) if field.name not in ("nodes", "seconds")]
        return all(getattr(self, name) == getattr(other, name) for name in names)


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a build may take, in seconds; as text with what that is known from."""

    seconds: float
    text: str

    def __str__(self) -> str:
        return self.text


def estimate(coming: Build, known: Sequence[Build]) -> Estimate | None:
    """Return how long a build may take: as long as last time, else by nodes as others did.

    Args:
        coming: its seconds don't count.
        known: earlier builds, the latest last.

    Returns:
        None where nothing is known, or it isn't worth telling.
    """
    same = [build for build in known if build.is_like(coming)]
    if same:
        return _worth(same[-1].seconds, f"last time {same[-1].seconds:.0f} s")
    others = [
        build
        for build in known
        if (build.backend, build.device, build.precision)
        == (coming.backend, coming.device, coming.precision)
    ]
    if not others or not coming.nodes:
        return None
    seconds = coming.nodes * median(build.seconds / build.nodes for build in others)
    return _worth(seconds, f"about {_rough(seconds)} s (from {_whose(coming, others)})")


def _worth(seconds: float, text: str) -> Estimate | None:
    return Estimate(seconds, text) if seconds >= WORTH_TELLING_SECONDS else None


def _rough(seconds: float) -> str:
    """Return no more digits than a guess has."""
    return f"{round(seconds, -1) if seconds >= 20 else seconds:.0f}"


def _whose(coming: Build, others: Sequence[Build]) -> str:
    count = len(others)
    if all(build.model != coming.model for build in others):
        return f"{count} builds of other networks" if count > 1 else "1 build of another network"
    return f"{count} other builds" if count > 1 else "1 other build"


def expect(
    backend: Backend, target: Target, options: CompileOptions, model: str, nodes: int
) -> Estimate | None:
    """Return how long a build may take; the place is only asked what it is where that can help.

    Args:
        backend: builds it.
        target: what it is for.
        options: what it is built with.
        model: the ONNX model's digest.
        nodes: how many the model has.
    """
    known = [
        build
        for build in read_builds()
        if (build.backend, build.precision) == (target.backend, options.precision)
    ]
    if not any(build.seconds >= WORTH_TELLING_SECONDS for build in known):
        return None
    try:
        found = backend.fingerprint(target)
    except RoadworthyError:
        return None  # the build itself will say what is wrong
    return estimate(Build.of(target, found, options, model, nodes), known)


def read_builds() -> list[Build]:
    """Return the builds that are remembered, the latest last; none where they can't be read."""
    path = _path()
    try:
        if path is None or path.stat().st_size > _MOST_BYTES:
            return []
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = (_parsed(line) for line in lines)
    return [build for build in found if build is not None]


def remember(build: Build) -> None:
    """Keep a build; in one step, so that a reader never meets half of it."""
    path = _path()
    if path is None:
        return
    # Not being able to remember is no reason to fail: a full disk, a home that is read-only.
    with _writing, contextlib.suppress(OSError, RoadworthyError):
        kept = [*read_builds(), build][-_MOST_BUILDS:]
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(asdict(item)) + "\n" for item in kept)
        with replacing_file(path) as partial:
            partial.write_text(text, encoding="utf-8")


def _parsed(line: str) -> Build | None:
    """Return a line's build, None for anything that `remember` doesn't write."""
    try:
        data: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or data.keys() != {field.name for field in fields(Build)}:
        return None
    nodes, seconds = data["nodes"], data["seconds"]
    texts = [value for name, value in data.items() if name not in ("nodes", "seconds")]
    if not all(isinstance(value, str) for value in texts):
        return None
    if type(nodes) is not int or nodes < 1 or type(seconds) not in (int, float):
        return None
    return Build(**data) if 0 < seconds < math.inf else None


def _path() -> Path | None:
    """Return the file, None for a user without a home."""
    try:
        return cache_root() / "builds.jsonl"
    except OSError:
        return None
