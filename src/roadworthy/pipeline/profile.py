"""Where the time of an engine goes, layer by layer, on the names of the ONNX nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from roadworthy.backends.base import CompileOptions
from roadworthy.core.errors import InputError, UnavailableError, UsageError
from roadworthy.core.inputspec import InputSpec, parse_inputs
from roadworthy.core.progress import Progress
from roadworthy.core.signature import Feed
from roadworthy.pipeline.gather import gather_samples
from roadworthy.pipeline.subjects import Runnable, open_runnable
from roadworthy.vision.preprocess import Preprocess

# Runs that don't count, before those of the whole engine that do: caches and threads wake up.
_LEAD = 5


@dataclass(frozen=True)
class Part:
    """What the layers of one kind, or of one precision, take together: median times in µs."""

    name: str
    layers: int
    median_us: float
    share: float


@dataclass(frozen=True)
class Profile:
    """An engine's layers and their times.

    Attributes:
        subject: what was profiled, for people.
        target: where it ran.
        precision: what it was compiled for.
        runs: how often each layer, and the whole engine, was timed.
        run_us: median of whole runs, µs, end to end (arrays in, arrays out), without a profiler.
        device_us: the same on the device alone, where the backend tells.
        layers: in the order of execution: {"name", "onnx": [names], "kind", "precision", "tactic",
            "median_us", "share"}, shares of the layers' sum; a backend may tell more.
    """

    subject: str
    target: str
    precision: str
    runs: int
    run_us: float
    device_us: float | None
    layers: tuple[Mapping[str, Any], ...]

    @property
    def layers_us(self) -> float:
        """The layers' medians together. Timed one by one: no sum of them is a run."""
        return float(sum(row["median_us"] for row in self.layers))

    @property
    def slowest(self) -> list[Mapping[str, Any]]:
        """The layers, those that take longest first."""
        return sorted(self.layers, key=lambda row: -float(row["median_us"]))

    def parts(self, key: str) -> tuple[Part, ...]:
        """Return the layers' times added up by "kind" or "precision", the largest first."""
        taken: dict[str, list[float]] = {}
        for row in self.layers:
            taken.setdefault(str(row[key]) or "not told", []).append(row["median_us"])
        whole = self.layers_us or 1.0
        found = [Part(name, len(us), sum(us), sum(us) / whole) for name, us in taken.items()]
        return tuple(sorted(found, key=lambda part: -part.median_us))

    def to_json(self) -> Mapping[str, Any]:
        """Return the `result` of the command line's JSON document; all layers, times in µs."""
        return {
            "subject": self.subject,
            "target": self.target,
            "precision": self.precision,
            "runs": self.runs,
            "run_us": self.run_us,
            "device_us": self.device_us,
            "layers_us": self.layers_us,
            "kinds": self.parts("kind"),
            "precisions": self.parts("precision"),
            "layers": self.layers,
        }


def run_profile(
    subject: str,
    *,
    samples: Any,
    preprocess: Path | None,
    inputs: Sequence[str],
    target: str | None,
    threads: int | None,
    runs: int,
    progress: Progress,
) -> Profile:
    """Time an engine's layers, and the whole engine beside them, on one real input.

    Args:
        subject: a bundle, an `.onnx` file or a plan.
        samples: whose first one it runs on; None takes a bundle's own.
        preprocess: contract for images.
        inputs: `--inputs` specifications.
        target: for a model or plan, and which engine of a bundle.
        threads: of one inference.
        runs: how often each layer is timed.
        progress: told what is being done.

    Raises:
        UsageError: no engine, no input to run it on, no runs.
        InputError: unreadable files, an input that doesn't fit.
        UnavailableError: the target isn't here, or its runtime can't tell.
    """
    if runs < 1:
        raise UsageError(f"{runs} runs can't be timed", where="--runs", remedy="give at least 1")
    specs = parse_inputs(inputs)
    runnable = open_runnable(subject, target=target, specs=specs)
    feed = _feed(runnable, samples, specs, preprocess)
    progress(f"compile {runnable.name}", 0.0)
    engine = runnable.engine(CompileOptions(threads=threads))
    engine.signature.bind(feed)
    with runnable.open(engine) as session:
        progress(f"time {runnable.name}", 0.3)
        times = session.time(feed, runs, _LEAD)
        progress(f"time the layers of {runnable.name}", 0.6)
        rows = session.profile(feed, runs)
    if not rows:
        raise UnavailableError(
            f"{engine.target.backend} executes no layer of its own here, so there are no times",
            where=runnable.name,
            remedy="profile a network that computes something",
        )
    device = times.get("device")
    return Profile(
        runnable.name,
        str(engine.target),
        engine.options.precision,
        runs,
        median(times["host"]) / 1e3,
        median(device) / 1e3 if device else None,
        tuple(rows),
    )


def _feed(
    runnable: Runnable, samples: Any, specs: Sequence[InputSpec], preprocess: Path | None
) -> Feed:
    """Return the one input to run on: the first sample, else the bundle's first."""
    if samples is not None:
        shipped = Preprocess.of(runnable.bundle) if runnable.bundle is not None else None
        found, _ = gather_samples(samples, runnable.inputs, specs, preprocess, shipped)
        feed: Feed = found[0]
        return feed
    if runnable.kind == "network":
        runnable.engine()  # says that it has none
    if runnable.bundle is None:
        raise InputError(
            "there is no input to run it on", where="--samples", remedy="give --samples PATH"
        )
    _, items = next(runnable.bundle.cases())
    return items[0].feed
