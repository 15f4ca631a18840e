"""What is said about times: percentiles, steadiness, a ratio with its interval. No clock here."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from roadworthy.core.certificate import Latency
from roadworthy.core.errors import UsageError

P99_FROM_RUNS = 1_000
"""Below this the 99th percentile rests on fewer than ten runs, and isn't reported."""

STEADY_WINDOWS = 3
STEADY_SPREAD = 1.10
"""Triton Model Navigator's defaults: three windows within 10 % (`stabilization_windows`,
`stability_percentage` of its profiler)."""


def percentile(times: Sequence[int], q: int) -> int:
    """Return the q-th percentile by nearest rank, q in 1..100.

    That is the smallest time such that at least q % of the runs took no longer: always a time
    that occurred, nothing interpolated (definition 1 of Hyndman and Fan, "Sample Quantiles in
    Statistical Packages", 1996).

    Raises:
        UsageError: no times, or q out of range.
    """
    if not times or not 1 <= q <= 100:
        raise UsageError(f"there is no percentile {q} of {len(times)} times")
    rank = -(-len(times) * q // 100)
    return sorted(times)[rank - 1]


def is_steady(medians: Sequence[float]) -> bool:
    """Tell whether warm-up is over: the last three windows' medians lie within 10 % of each other.

    Medians, where Model Navigator takes means: one interrupted run must not keep a warm network
    waiting. The spread is largest over smallest, so a slow drift over the three counts too.
    """
    last = medians[-STEADY_WINDOWS:]
    return len(last) == STEADY_WINDOWS and max(last) <= STEADY_SPREAD * min(last)


def fewest_pairs(confidence: float) -> int:
    """Return how many pairs an interval of this confidence needs at least.

    The widest interval that n values give for their median runs from the smallest to the largest.
    It misses when all n fall on one side: with probability 2 · (1/2)^n.
    """
    return math.ceil(1 - math.log2(1 - confidence))


def bootstrap_ratio(
    pairs: Sequence[tuple[float, float]],
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return (ratio, low, high): the median over pairs of baseline time over subject time.

    The interval is the percentile bootstrap over pairs (Efron and Tibshirani, "An Introduction to
    the Bootstrap", 1993, ch. 13). Pairs are resampled whole: what slows both sides of a pair (the
    clock, a neighbour) cancels in its ratio. Seeded: the same pairs give the same interval.

    Args:
        pairs: (baseline, subject) times of neighbouring blocks, in any one unit.
        confidence: of the interval, between 0 and 1.
        resamples: how often the pairs are drawn anew.
        seed: of the draws.

    Raises:
        UsageError: times that aren't positive, or too few pairs for that confidence.
    """
    if not 0 < confidence < 1 or resamples < 1:
        raise UsageError(f"no interval of confidence {confidence} from {resamples} resamples")
    if len(pairs) < fewest_pairs(confidence):
        raise UsageError(
            f"{len(pairs)} pairs can't give a {confidence:.0%} interval",
            remedy=f"time at least {fewest_pairs(confidence)} pairs of blocks",
        )
    times = np.asarray(pairs, dtype=np.float64)
    if not (np.isfinite(times).all() and (times > 0).all()):
        raise UsageError("a ratio needs times above zero")
    ratios = times[:, 0] / times[:, 1]
    draws = np.random.default_rng(seed).integers(len(ratios), size=(resamples, len(ratios)))
    medians = np.median(ratios[draws], axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return float(np.median(ratios)), float(low), float(high)


def summarise(
    subject: str,
    times: Sequence[int],
    *,
    batch: int,
    threads: int | None,
    warmup_runs: int,
    steady: bool,
) -> Latency:
    """Return the account of single runs' times.

    Args:
        subject: whose times.
        times: of single runs, in nanoseconds.
        batch: samples in one run.
        threads: of one run; None where nobody here set or knows them.
        warmup_runs: thrown away before.
        steady: see `Latency`.
    """
    mean = sum(times) / len(times) if times else 0.0
    return Latency(
        subject=subject,
        runs=len(times),
        p50_ms=percentile(times, 50) / 1e6,
        p90_ms=percentile(times, 90) / 1e6,
        p99_ms=percentile(times, 99) / 1e6 if len(times) >= P99_FROM_RUNS else None,
        mean_ms=mean / 1e6,
        throughput=batch * 1e9 / mean,
        batch=batch,
        threads=threads,
        warmup_runs=warmup_runs,
        steady=steady,
    )
