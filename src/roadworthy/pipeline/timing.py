"""Time an engine, beside what its users run today where there is something to compare with."""

from __future__ import annotations

from roadworthy.backends.base import Engine
from roadworthy.core.certificate import Comparison, Latency
from roadworthy.core.cpus import usable_cpus
from roadworthy.measure.paired import compare, measure
from roadworthy.measure.subject import EngineSubject, LocalSubject
from roadworthy.source.prepared import Prepared
from roadworthy.verify.answers import Progress


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
    _, feed, _ = next(prepared.trusted.cases[0].pairs())
    sizes = engine.signature.bind(feed)
    batch = engine.signature.batch_dim
    samples = sizes[batch.name] if batch is not None else 1
    what = f"time {engine.target}"
    count = usable_cpus() if threads is None else threads
    elsewhere = engine.target.is_elsewhere
    subject = EngineSubject(str(engine.target), engine, feed, threads if elsewhere else count)
    if prepared.baseline is None or elsewhere:
        latency = measure(
            subject, seconds=seconds, batch=samples, progress=lambda share: progress(what, share)
        )
        return latency, None
    what += f" beside {prepared.baseline.name}"
    baseline = LocalSubject(prepared.baseline.name, prepared.baseline.call(feed, count), count)
    comparison = compare(
        subject,
        baseline,
        seconds=seconds,
        sizes=sizes,
        batch=samples,
        progress=lambda share: progress(what, share),
    )
    return comparison.subject, comparison
