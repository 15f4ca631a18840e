"""Time several subjects on the same real input: the first against each of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from roadworthy.backends import registry
from roadworthy.backends.base import Engine
from roadworthy.core.certificate import Comparison, Latency
from roadworthy.core.cpus import usable_cpus
from roadworthy.core.errors import InputError, UsageError
from roadworthy.core.inputspec import InputSpec, parse_inputs
from roadworthy.core.progress import Progress
from roadworthy.core.signature import Feed
from roadworthy.core.target import Target
from roadworthy.measure.paired import compare, measure
from roadworthy.measure.subject import EngineSubject, LocalSubject, Subject
from roadworthy.pipeline.gather import gather_samples
from roadworthy.pipeline.request import check_seconds
from roadworthy.pipeline.subjects import Runnable, open_runnable


@dataclass(frozen=True)
class BenchResult:
    """One subject's times, or comparisons of the first with each of the others."""

    latency: Latency | None
    comparisons: tuple[Comparison, ...]

    def to_json(self) -> Mapping[str, Any]:
        """Return the `result` of the command line's JSON document."""
        return {"latency": self.latency, "comparisons": self.comparisons}


def run_bench(
    subjects: Sequence[str],
    *,
    samples: Any,
    weights: Path | None,
    preprocess: Path | None,
    inputs: Sequence[str],
    target: str | None,
    threads: int | None,
    seconds: float,
    trust: bool,
    progress: Progress,
) -> BenchResult:
    """Time the subjects.

    Args:
        subjects: bundles, `.onnx` files, plans, factories; a bundle brings an input along.
        samples: whose first one all are timed on; None takes the first bundle's own.
        weights: for factories.
        preprocess: contract for images.
        inputs: `--inputs` specifications.
        target: for `.onnx` files and plans, and which engine of a bundle.
        threads: the same for all; None takes what this process may use, and for an engine on
            another host what its runtime takes there.
        seconds: of timed work for each pair.
        trust: allow files to run code.
        progress: told what is being done.

    Raises:
        UsageError: no input to time with, or no subjects.
        InputError: unreadable files, an input that doesn't fit.
    """
    specs = parse_inputs(inputs)
    check_seconds("--seconds", seconds)
    if target is not None:
        registry.find(Target.parse(target).backend)
    opened = [_open(text, weights, target, specs, trust) for text in subjects]
    feed = _feed(opened, samples, specs, preprocess)
    first, *others = [
        _subject(f"{chr(ord('A') + index)}: {item.name}", item, feed, threads)
        for index, item in enumerate(opened)
    ]
    if not others:
        latency = measure(
            first, seconds=seconds, progress=lambda share: progress(f"time {first.name}", share)
        )
        return BenchResult(latency, ())
    comparisons = [_compare(first, other, seconds, progress) for other in others]
    return BenchResult(None, tuple(comparisons))


def _compare(first: Subject, other: Subject, seconds: float, progress: Progress) -> Comparison:
    what = f"time {first.name} beside {other.name}"
    return compare(first, other, seconds=seconds, progress=lambda share: progress(what, share))


def _open(
    text: str, weights: Path | None, target: str | None, specs: Sequence[InputSpec], trust: bool
) -> Runnable:
    """Open one of several: weights and a target go to those that can take them."""
    alone = Path(text).suffix.lower() == ".onnx"
    return open_runnable(
        text, target=target, weights=None if alone else weights, specs=specs, trust=trust
    )


def _subject(name: str, opened: Runnable, feed: Feed, threads: int | None) -> Subject:
    count = usable_cpus() if threads is None else threads
    if opened.kind != "network":
        engine = opened.engine()
        engine.signature.bind(feed)
        own = threads if engine.target.is_elsewhere else count
        return _Opening(name, engine, feed, own, opened)
    baseline = opened.source.baseline() if opened.source is not None else None
    if baseline is None:
        raise UsageError(
            "this can't be timed as it is", where=opened.text, remedy="deploy it first"
        )
    return LocalSubject(f"{name} in {baseline.name}", baseline.call(feed, count), count)


class _Opening(EngineSubject):
    """An engine in a process of its own; where it can't be opened there, the remedy is named."""

    def __init__(
        self, name: str, engine: Engine, feed: Feed, threads: int | None, opened: Runnable
    ) -> None:
        super().__init__(name, engine, feed, threads)
        self._opened = opened

    def __enter__(self) -> Self:
        with self._opened.opening(self._engine):
            return super().__enter__()


def _feed(
    opened: Sequence[Runnable],
    samples: Any,
    specs: Sequence[InputSpec],
    preprocess: Path | None,
) -> Feed:
    """Return the one input that all are timed on: the samples' first, else a bundle's own."""
    if samples is not None:
        inputs = [item.inputs for item in opened if item.bundle is None]
        if not inputs:
            raise UsageError(
                "bundles are timed on their own samples", where="--samples", remedy="leave it out"
            )
        found, _ = gather_samples(samples, inputs[0], specs, preprocess)
        feed: Feed = found[0]
        return feed
    for item in opened:
        if item.bundle is not None:
            _, kept = next(item.bundle.cases())
            return kept[0].feed
    raise InputError(
        "there is no input to time with", where="--samples", remedy="give --samples PATH"
    )
