"""Time several subjects on the same real input: the first against each of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadworthy.backends import registry
from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.bundle.reader import is_bundle, read_bundle
from roadworthy.core.certificate import Comparison, Latency
from roadworthy.core.cpus import usable_cpus
from roadworthy.core.errors import InputError, UsageError
from roadworthy.core.inputspec import InputSpec, parse_inputs
from roadworthy.core.signature import Feed
from roadworthy.core.target import Target
from roadworthy.measure.paired import compare, measure
from roadworthy.measure.subject import EngineSubject, LocalSubject, Subject
from roadworthy.pipeline.gather import gather_samples
from roadworthy.pipeline.request import DEFAULT_TARGET, check_seconds
from roadworthy.source.onnx.source import OnnxSource
from roadworthy.source.opening import open_source
from roadworthy.source.prepared import Source
from roadworthy.verify.answers import Progress


@dataclass(frozen=True)
class BenchResult:
    """One subject's times, or comparisons of the first with each of the others."""

    latency: Latency | None
    comparisons: tuple[Comparison, ...]

    def to_json(self) -> Mapping[str, Any]:
        """Return the `result` of the command line's JSON document."""
        return {"latency": self.latency, "comparisons": self.comparisons}


@dataclass(frozen=True)
class _Contender:
    """Something to time: how to make a subject of it for an input, and its own input if any."""

    make: Callable[[Feed, int], Subject]
    own_feed: Feed | None
    source: Source | None


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
        subjects: bundles, `.onnx` files, factories; a bundle brings an input along.
        samples: whose first one all are timed on; None takes the first bundle's own.
        weights: for factories.
        preprocess: contract for images.
        inputs: `--inputs` specifications.
        target: for `.onnx` files, and which engine of a bundle.
        threads: the same for all.
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
    contenders = [
        _contender(text, index, weights, target, specs, trust)
        for index, text in enumerate(subjects)
    ]
    feed = _feed(contenders, samples, specs, preprocess)
    count = threads or usable_cpus()
    first, *others = [contender.make(feed, count) for contender in contenders]
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


def _contender(
    text: str,
    index: int,
    weights: Path | None,
    target: str | None,
    specs: Sequence[InputSpec],
    trust: bool,
) -> _Contender:
    name = f"{chr(ord('A') + index)}: {Path(text).name}"
    path = Path(text)
    if is_bundle(path):
        bundle = read_bundle(path)
        engine = bundle.engine(target)
        _, items = next(bundle.cases())
        return _Contender(_engine_maker(f"{name} on {engine.target}", engine), items[0].feed, None)
    is_onnx = path.suffix.lower() == ".onnx"
    source = open_source(text, None if is_onnx else weights, trust=trust)
    if isinstance(source, OnnxSource):
        where = Target.parse(target or DEFAULT_TARGET)
        engine = registry.find(where.backend).compile(
            source.model, source.declared(specs), where, CompileOptions()
        )
        return _Contender(_engine_maker(f"{name} on {where}", engine), None, source)
    baseline = source.baseline()
    if baseline is None:
        raise UsageError("this can't be timed as it is", where=text, remedy="deploy it first")
    return _Contender(
        lambda feed, count: LocalSubject(
            f"{name} in {baseline.name}", baseline.call(feed, count), count
        ),
        None,
        source,
    )


def _engine_maker(name: str, engine: Engine) -> Callable[[Feed, int], Subject]:
    def make(feed: Feed, threads: int) -> Subject:
        engine.signature.bind(feed)
        return EngineSubject(name, engine, feed, threads)

    return make


def _feed(
    contenders: Sequence[_Contender],
    samples: Any,
    specs: Sequence[InputSpec],
    preprocess: Path | None,
) -> Feed:
    """Return the one input that all are timed on."""
    sources = [item.source for item in contenders if item.source is not None]
    if samples is not None:
        if not sources:
            raise UsageError(
                "bundles are timed on their own samples", where="--samples", remedy="leave it out"
            )
        found, _ = gather_samples(samples, sources[0], specs, preprocess)
        feed: Feed = found[0]
        return feed
    for contender in contenders:
        if contender.own_feed is not None:
            return contender.own_feed
    raise InputError(
        "there is no input to time with", where="--samples", remedy="give --samples PATH"
    )
