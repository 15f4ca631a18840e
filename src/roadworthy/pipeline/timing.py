"""Time an engine beside what its users run today, where there is that, or beside another engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from roadworthy.backends.base import Engine
from roadworthy.core.certificate import Comparison, Latency
from roadworthy.core.cpus import usable_cpus
from roadworthy.core.progress import Progress
from roadworthy.core.signature import Feed
from roadworthy.measure.paired import compare, measure
from roadworthy.measure.subject import EngineSubject, LocalSubject, Subject
from roadworthy.source.prepared import Prepared


def time_engine(
    engine: Engine,
    prepared: Prepared,
    threads: int | None,
    seconds: float,
    progress: Progress,
) -> tuple[Latency, Comparison | None]:
    """Time the engine on the first sample; beside the source framework where there is one.

    An engine on another host is timed there, by itself: a ratio to PyTorch here would compare the
    machines. There it takes as many threads as it was verified with, whatever this machine has.

    Args:
        engine: what ships.
        prepared: gives the sample, and the baseline.
        threads: of both sides; None takes what this process may use, or what the other host does.
        seconds: of timed work.
        progress: told what is being done.
    """
    what = f"time {engine.target}"
    timed = _Input.of(prepared, engine)
    subject = timed.subject(str(engine.target), engine, threads)
    if prepared.baseline is None or engine.target.is_elsewhere:
        latency = measure(
            subject,
            seconds=seconds,
            batch=timed.batch,
            progress=lambda share: progress(what, share),
        )
        return latency, None
    what += f" beside {prepared.baseline.name}"
    count = usable_cpus() if threads is None else threads
    call = prepared.baseline.call(timed.feed, count)
    baseline = LocalSubject(prepared.baseline.name, call, count)
    comparison = timed.compare(subject, baseline, seconds, lambda share: progress(what, share))
    return comparison.subject, comparison


def time_side_by_side(
    engine: Engine,
    other: Engine,
    prepared: Prepared,
    threads: int | None,
    seconds: float,
    progress: Progress,
) -> Comparison:
    """Time two engines of one network on one host in alternating blocks, on the first sample.

    Args:
        engine: the subject of the comparison.
        other: its baseline.
        prepared: gives the sample.
        threads: of both sides; see `time_engine`.
        seconds: of timed work.
        progress: told what is being done.

    Raises:
        RunError: one of them failed.
        UnavailableError: it would take too long.
    """
    timed = _Input.of(prepared, engine)
    names = [f"{each.options.precision} on {each.target}" for each in (engine, other)]
    first, second = (
        timed.subject(name, each, threads)
        for name, each in zip(names, (engine, other), strict=True)
    )
    what = f"time {names[0]} beside {names[1]}"
    return timed.compare(first, second, seconds, lambda share: progress(what, share))


@dataclass(frozen=True)
class _Input:
    """The first sample, which everything is timed on."""

    feed: Feed
    sizes: Mapping[str, int]
    batch: int

    @classmethod
    def of(cls, prepared: Prepared, engine: Engine) -> Self:
        _, feed, _ = next(prepared.trusted.cases[0].pairs())
        sizes = engine.signature.bind(feed)
        batch = engine.signature.batch_dim
        return cls(feed, sizes, sizes[batch.name] if batch is not None else 1)

    def subject(self, name: str, engine: Engine, threads: int | None) -> Subject:
        own = threads if threads is not None or engine.target.is_elsewhere else usable_cpus()
        return EngineSubject(name, engine, self.feed, own)

    def compare(
        self, subject: Subject, baseline: Subject, seconds: float, tell: Callable[[float], None]
    ) -> Comparison:
        return compare(
            subject,
            baseline,
            seconds=seconds,
            sizes=self.sizes,
            batch=self.batch,
            progress=tell,
        )
