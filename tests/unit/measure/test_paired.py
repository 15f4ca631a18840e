"""Warm-up, plan, order of the blocks, and real measurements of real engines."""

from __future__ import annotations

import pytest

from roadworthy.core.errors import UnavailableError, UsageError
from roadworthy.measure.paired import Block, compare, measure, plan_pairs, warm_up
from roadworthy.measure.subject import EngineSubject, LocalSubject
from tests.unit.measure.engines import FEED, engine

US, MS, S = 1_000, 1_000_000, 1_000_000_000


class Scripted:
    """A subject whose n-th run takes what the script says; it notes what it was asked."""

    def __init__(self, name, script, threads=1, diary=None):
        self.name, self.threads = name, threads
        self.script, self.done = script, 0
        self.diary = [] if diary is None else diary

    def block(self, runs, lead=0):
        self.diary.append((self.name, "block"))
        self.done += lead
        times = [self.script(self.done + i) for i in range(runs)]
        self.done += runs
        return times

    def rest(self):
        self.diary.append((self.name, "rest"))

    def __enter__(self):
        self.diary.append((self.name, "enter"))
        return self

    def __exit__(self, kind, error, trace):
        self.diary.append((self.name, "exit"))


def test_warm_up_throws_the_slow_first_runs_away():
    subject = Scripted("s", lambda n: max(MS, int(80 * MS * 0.8**n)))  # 1 ms from run 20 on
    warm = warm_up(subject)
    assert warm.steady
    assert warm.median_ns == MS
    assert warm.runs > 20


def test_a_window_that_came_out_too_short_does_not_count():
    # After a first run of 100 ms the next "window" is one run of 1 ms: no evidence of anything.
    subject = Scripted("s", lambda n: 100 * MS if n == 0 else MS)
    assert warm_up(subject).runs == 1 + 1 + 3 * 100


def test_a_network_that_never_gets_steady_is_said_to_be_unsteady():
    subject = Scripted("s", lambda n: (n + 1) * MS)
    warm = warm_up(subject, limit_seconds=2.0)
    assert not warm.steady


def test_one_run_longer_than_the_limit_ends_the_warm_up():
    warm = warm_up(Scripted("s", lambda n: 30 * S), limit_seconds=10.0)
    assert (warm.runs, warm.steady, warm.median_ns) == (1, False, 30 * S)


def test_a_network_of_100_microseconds_gets_many_runs_a_block():
    plan = plan_pairs(100 * US, 200 * US, 10.0)
    assert plan.subject == Block(lead=50, runs=500)
    assert plan.baseline == Block(lead=25, runs=250)
    assert plan.pairs > 40
    assert plan.pairs % 2 == 0


def test_a_network_of_20_milliseconds_gets_three_runs_a_block():
    assert plan_pairs(20 * MS, 20 * MS, 10.0).subject == Block(lead=1, runs=3)


def test_a_network_of_one_second_gets_eight_single_runs_though_that_takes_longer():
    plan = plan_pairs(S, S, 10.0)
    assert (plan.subject, plan.baseline, plan.pairs) == (Block(0, 1), Block(0, 1), 8)


def test_a_comparison_of_hours_is_refused_before_it_starts():
    with pytest.raises(UnavailableError, match="8 pairs of single runs would take 1600 s"):
        plan_pairs(100 * S, 100 * S, 10.0)
    assert plan_pairs(100 * S, 100 * S, 1_700.0).pairs == 8


def test_blocks_alternate_in_abba_order_and_each_side_rests_after_its_block():
    diary: list[tuple[str, str]] = []
    result = compare(
        Scripted("A", lambda n: 20 * MS, diary=diary),
        Scripted("B", lambda n: 40 * MS, diary=diary),
        seconds=1.0,
    )
    last = diary[-2 * 2 * result.pairs - 2 : -2]
    expected = [(name, what) for name in "ABBA" for what in ("block", "rest")]
    assert last == expected * (result.pairs // 2)
    assert diary[-2:] == [("B", "exit"), ("A", "exit")]


def test_a_steady_drift_of_the_machine_favours_neither_side():
    # Every run of either side takes 0.1 % longer than the run before it.
    count = iter(range(10**6))

    def drifting(base):
        return lambda n: int(base * 1.001 ** next(count))

    result = compare(
        Scripted("A", drifting(20 * MS)), Scripted("B", drifting(40 * MS)), seconds=2.0
    )
    # Alone, an AB pair says 2 · 1.001^4 and a BA pair 2 / 1.001^4.
    assert result.ratio == pytest.approx(2.0, rel=1e-4)
    assert result.ratio_low < 2.0 < result.ratio_high


def test_a_comparison_keeps_both_accounts_and_the_sizes():
    told: list[float] = []
    result = compare(
        Scripted("A", lambda n: 20 * MS, threads=3),
        Scripted("B", lambda n: 60 * MS, threads=3),
        seconds=1.0,
        sizes={"h": 64},
        batch=2,
        progress=told.append,
    )
    assert (result.ratio, result.ratio_low, result.ratio_high) == (3.0, 3.0, 3.0)
    assert (result.subject.subject, result.baseline.subject) == ("A", "B")
    assert (result.subject.p50_ms, result.baseline.p50_ms) == (20.0, 60.0)
    assert result.subject.throughput == pytest.approx(100.0)
    assert (result.subject.threads, result.subject.batch, result.sizes) == (3, 2, {"h": 64})
    assert result.pairs >= 8
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)


def test_different_thread_counts_are_not_compared():
    with pytest.raises(UsageError, match="compares thread counts"):
        compare(Scripted("A", lambda n: MS), Scripted("B", lambda n: MS, threads=2))


def test_both_sides_are_left_when_one_fails():
    diary: list[tuple[str, str]] = []
    with pytest.raises(ZeroDivisionError):
        compare(
            Scripted("A", lambda n: MS, diary=diary),
            Scripted("B", lambda n: 1 // 0, diary=diary),
        )
    assert diary[-2:] == [("B", "exit"), ("A", "exit")]


def test_an_engine_in_its_own_process_is_compared_with_a_call_in_this_one():
    small = engine()
    with small.open() as session:
        result = compare(
            EngineSubject("engine", small, FEED, threads=1),
            LocalSubject("here", lambda: session.run(FEED), threads=1),
            seconds=0.5,
        )
    assert result.pairs >= 8
    assert result.subject.runs >= 8
    assert result.ratio_low <= result.ratio <= result.ratio_high


def test_one_engine_is_measured_alone():
    told: list[float] = []
    latency = measure(
        EngineSubject("engine", engine(), FEED, threads=1),
        seconds=0.1,
        batch=2,
        progress=told.append,
    )
    assert latency.subject == "engine"
    assert latency.warmup_runs > 0
    assert 0 < latency.p50_ms <= latency.p90_ms
    assert told[-1] == pytest.approx(1.0)


def test_a_measurement_has_three_runs_at_least():
    assert measure(Scripted("s", lambda n: 30 * S), seconds=1.0).runs == 3
