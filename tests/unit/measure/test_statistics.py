"""What is said about times is defined to the last digit, and refused where it can't be known."""

import numpy as np
import pytest

from roadworthy.core.errors import UsageError
from roadworthy.measure.statistics import (
    bootstrap_ratio,
    fewest_pairs,
    is_steady,
    percentile,
    summarise,
)


@pytest.mark.parametrize(
    ("times", "q", "expected"),
    [
        ([7], 50, 7),
        ([1, 2], 50, 1),
        ([3, 1, 2], 50, 2),
        (range(1, 11), 50, 5),
        (range(1, 11), 90, 9),
        (range(1, 12), 90, 10),
        (range(1, 101), 99, 99),
        (range(1, 101), 100, 100),
    ],
)
def test_a_percentile_is_the_smallest_time_that_q_percent_reach(times, q, expected):
    assert percentile(list(times), q) == expected


@pytest.mark.parametrize(("times", "q"), [([], 50), ([1], 0), ([1], 101)])
def test_a_percentile_of_nothing_is_refused(times, q):
    with pytest.raises(UsageError, match="percentile"):
        percentile(times, q)


@pytest.mark.parametrize(
    ("medians", "steady"),
    [
        ([], False),
        ([100.0, 100.0], False),
        ([100.0, 105.0, 110.0], True),
        ([100.0, 105.0, 111.0], False),
        ([111.0, 105.0, 100.0], False),
        ([900.0, 300.0, 101.0, 100.0, 102.0], True),
        ([100.0, 100.0, 100.0, 300.0], False),
    ],
)
def test_warm_means_that_the_last_three_windows_lie_within_ten_percent(medians, steady):
    assert is_steady(medians) is steady


def test_a_95_percent_interval_of_a_median_needs_six_pairs():
    # Both tails together: 2 · (1/2)^5 = 6.25 % for five, 3.1 % for six.
    assert fewest_pairs(0.95) == 6
    with pytest.raises(UsageError, match="5 pairs can't give a 95% interval") as caught:
        bootstrap_ratio([(2.0, 1.0)] * 5)
    assert "at least 6 pairs" in str(caught.value)


def test_a_ratio_above_one_says_that_the_subject_is_faster():
    assert bootstrap_ratio([(30.0, 10.0)] * 8) == (3.0, 3.0, 3.0)


def test_one_disturbed_pair_moves_neither_the_ratio_nor_both_ends():
    ratio, low, high = bootstrap_ratio([(20.0, 10.0)] * 15 + [(900.0, 10.0)])
    assert (ratio, low, high) == (2.0, 2.0, 2.0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    # 400 measurements of 10 pairs, 20 % noise on each side, true ratio 1.5.
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        noise = np.exp(rng.normal(0.0, 0.2, size=(10, 2)))
        pairs = [(1.5 * a, b) for a, b in noise]
        _, low, high = bootstrap_ratio(pairs, resamples=400)
        hits += low <= 1.5 <= high
    assert 0.90 <= hits / 400 <= 0.99


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_times_that_are_none_are_refused(bad):
    with pytest.raises(UsageError, match="above zero"):
        bootstrap_ratio([(1.0, 1.0)] * 7 + [(1.0, bad)])


def test_the_99th_percentile_is_told_from_1000_runs_on():
    def p99(runs: int) -> float | None:
        return summarise(
            "s", list(range(1, runs + 1)), batch=1, threads=1, warmup_runs=0, steady=True
        ).p99_ms

    assert p99(999) is None
    assert p99(1_000) == 990 / 1e6


def test_a_summary_is_in_milliseconds_and_samples_per_second():
    times = [2_000_000, 1_000_000, 2_000_000, 5_000_000]
    latency = summarise("unet", times, batch=4, threads=2, warmup_runs=9, steady=False)
    assert (latency.subject, latency.runs) == ("unet", 4)
    assert (latency.p50_ms, latency.p90_ms, latency.mean_ms) == (2.0, 5.0, 2.5)
    assert latency.throughput == 4 / 2.5e-3
    assert (latency.batch, latency.threads, latency.warmup_runs) == (4, 2, 9)
    assert latency.steady is False
