"""Time one subject, or two of them in alternating blocks of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from roadworthy.core.certificate import Comparison, Latency
from roadworthy.core.errors import UnavailableError, UsageError
from roadworthy.measure.statistics import bootstrap_ratio, is_steady, percentile, summarise
from roadworthy.measure.subject import Subject

BLOCK_NS = 50_000_000
"""A block lasts this long or three runs, whichever is longer, as far as the time allows."""
BLOCK_RUNS = 3
FEWEST_PAIRS = 8
WARM_UP_SECONDS = 10.0
LONGEST_SECONDS = 600.0
"""A comparison that can't be done in this time is refused before it starts."""

_WINDOW_NS = 100_000_000
_MOST_RUNS = 20_000  # in one block: their times travel as one message
_SWITCH_NS = 40_000_000  # until a side rests: see `timing.settle`
_WARM_UP_SHARE = 0.1  # of the progress, each side

Progress = Callable[[float], None]
"""Called with the share that is done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What was thrown away: how many runs, whether they became steady, the last median."""

    runs: int
    steady: bool
    median_ns: int


@dataclass(frozen=True, slots=True)
class Block:
    """How a side is timed each time it has its turn: unwatched runs, then timed runs."""

    lead: int
    runs: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Two blocks and how many pairs of them; `pairs` is even."""

    subject: Block
    baseline: Block
    pairs: int


def warm_up(subject: Subject, limit_seconds: float = WARM_UP_SECONDS) -> WarmUp:
    """Run until three consecutive windows agree (`statistics.is_steady`) or the time is up.

    A window lasts about 100 ms, at least one run. One that came out shorter than half of that (the
    network got faster since the last) doesn't count: it may be a handful of runs.
    """
    times = subject.block(1)
    runs, spent = 1, times[0]
    medians: list[float] = []
    while spent < limit_seconds * 1e9 and not is_steady(medians):
        count = min(max(1, _WINDOW_NS // max(1, percentile(times, 50))), _MOST_RUNS)
        times = subject.block(count)
        runs, spent = runs + count, spent + sum(times)
        if 2 * sum(times) >= _WINDOW_NS or count == _MOST_RUNS:
            medians.append(percentile(times, 50))
    return WarmUp(runs, is_steady(medians), max(1, percentile(times, 50)))


def plan_pairs(subject_ns: int, baseline_ns: int, seconds: float) -> Plan:
    """Return the blocks and pairs that fit into `seconds`, given each side's time of one run.

    A network of 100 µs gets 500 runs a block, one of 20 ms gets three, and as many pairs as fit.
    Where eight pairs don't fit, blocks shrink, down to one run: eight pairs there must be, for
    the interval's sake, even if that takes longer than was asked.

    Raises:
        UnavailableError: eight pairs of single runs would take more than ten minutes.
    """
    least = FEWEST_PAIRS * (subject_ns + baseline_ns) / 1e9
    if least > max(LONGEST_SECONDS, seconds):
        raise UnavailableError(
            f"{FEWEST_PAIRS} pairs of single runs would take {least:.0f} s",
            remedy=f"compare on a smaller input, or allow more than {least:.0f} s",
        )
    budget = max(0.0, seconds * 1e9 - 2 * _SWITCH_NS * FEWEST_PAIRS)
    wish = [max(BLOCK_RUNS, -(-BLOCK_NS // one)) for one in (subject_ns, baseline_ns)]
    pair = wish[0] * subject_ns + wish[1] * baseline_ns
    share = min(1.0, budget / (FEWEST_PAIRS * pair))
    runs = [min(max(1, int(count * share)), _MOST_RUNS) for count in wish]
    pair = runs[0] * subject_ns + runs[1] * baseline_ns + 2 * _SWITCH_NS
    pairs = max(FEWEST_PAIRS, int(seconds * 1e9 // pair))
    return Plan(_block(runs[0], subject_ns), _block(runs[1], baseline_ns), pairs - pairs % 2)


def _block(runs: int, one_ns: int) -> Block:
    """A tenth of the runs leads in; none where one run is so long that cold caches don't show."""
    return Block(max(1, runs // 10) if one_ns < BLOCK_NS else 0, runs)


def measure(
    subject: Subject,
    *,
    seconds: float = 5.0,
    batch: int = 1,
    progress: Progress | None = None,
) -> Latency:
    """Warm up, then time single runs for about `seconds`, three at least.

    Args:
        subject: entered and left here.
        seconds: of timed runs; warm-up takes up to 10 s more.
        batch: samples in one run.
        progress: told the share that is done.
    """
    tell = progress or _silent
    with subject:
        warm = warm_up(subject)
        tell(_WARM_UP_SHARE)
        size = min(max(1, BLOCK_NS // warm.median_ns), _MOST_RUNS)
        times: list[int] = []
        spent = 0.0
        while len(times) < BLOCK_RUNS or spent < seconds:
            times += (block := subject.block(size))
            spent += sum(block) / 1e9
            tell(min(1.0, _WARM_UP_SHARE + (1 - _WARM_UP_SHARE) * spent / max(seconds, spent)))
    return _latency(subject, times, warm, batch)


def compare(
    subject: Subject,
    baseline: Subject,
    *,
    seconds: float = 10.0,
    sizes: Mapping[str, int] | None = None,
    batch: int = 1,
    progress: Progress | None = None,
) -> Comparison:
    """Warm both up, then time them in alternating blocks, each at rest while the other runs.

    Blocks go subject, baseline, baseline, subject, and again: in two neighbouring pairs each side
    comes first once, so that a machine which steadily warms up or slows down favours neither.
    Each pair gives one ratio of block medians; what disturbs a whole pair cancels in it.

    Args:
        subject: entered and left here.
        baseline: entered and left here; must state the same number of threads.
        seconds: of the alternation; both warm-ups take up to 10 s more each, and 8 pairs of
            single runs are done however long they take (up to 10 minutes; else refused).
        sizes: the symbolic axes' sizes of the input, for the account.
        batch: samples in one run.
        progress: told the share that is done.

    Raises:
        RunError: a side failed, or this process doesn't come to rest.
        UsageError: the two don't use the same number of threads.
        UnavailableError: see `plan_pairs`.
    """
    if subject.threads != baseline.threads:
        raise UsageError(
            f"{subject.name} has {_threads(subject)}, {baseline.name} has "
            f"{_threads(baseline)}: that compares thread counts, not engines",
            remedy="give both the same number of threads: --threads",
        )
    tell = progress or _silent
    with subject, baseline:
        warms = []
        for side in (subject, baseline):
            warms.append(warm_up(side))
            side.rest()
            tell(_WARM_UP_SHARE * len(warms))
        plan = plan_pairs(warms[0].median_ns, warms[1].median_ns, seconds)
        ours, theirs, pairs = _alternate(subject, baseline, plan, tell)
    ratio, low, high = bootstrap_ratio(pairs)
    return Comparison(
        subject=_latency(subject, ours, warms[0], batch),
        baseline=_latency(baseline, theirs, warms[1], batch),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        pairs=len(pairs),
        sizes=dict(sizes or {}),
    )


def _alternate(
    subject: Subject, baseline: Subject, plan: Plan, tell: Progress
) -> tuple[list[int], list[int], list[tuple[float, float]]]:
    """Return both sides' times and the pairs of block medians, (baseline, subject)."""
    sides = ((subject, plan.subject), (baseline, plan.baseline))
    times: tuple[list[int], list[int]] = ([], [])
    pairs: list[tuple[float, float]] = []
    for index in range(plan.pairs):
        medians = [0.0, 0.0]
        for which in (0, 1) if index % 2 == 0 else (1, 0):
            side, block = sides[which]
            taken = side.block(block.runs, block.lead)
            side.rest()
            times[which].extend(taken)
            medians[which] = max(1, percentile(taken, 50))
        pairs.append((medians[1], medians[0]))
        tell(2 * _WARM_UP_SHARE + (1 - 2 * _WARM_UP_SHARE) * (index + 1) / plan.pairs)
    return times[0], times[1], pairs


def _latency(subject: Subject, times: list[int], warm: WarmUp, batch: int) -> Latency:
    return summarise(
        subject.name,
        times,
        batch=batch,
        threads=subject.threads,
        warmup_runs=warm.runs,
        steady=warm.steady,
    )


def _threads(subject: Subject) -> str:
    if subject.threads is None:
        return "as many threads as its host takes"
    return f"{subject.threads} threads"


def _silent(share: float) -> None:
    """Tell nobody."""
