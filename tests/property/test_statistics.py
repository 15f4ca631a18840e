"""Laws that percentiles and ratios obey whatever the times are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadworthy.measure.statistics import bootstrap_ratio, percentile

times = st.lists(st.integers(1, 10**12), min_size=1, max_size=60)
sides = st.floats(1e-3, 1e9)
pairs = st.lists(st.tuples(sides, sides), min_size=6, max_size=20)


@given(times, st.integers(1, 100))
def test_a_percentile_splits_the_times_as_defined(values, q):
    found = percentile(values, q)
    assert found in values
    assert 100 * sum(value <= found for value in values) >= q * len(values)
    assert 100 * sum(value < found for value in values) < q * len(values)


@given(times, st.integers(1, 99))
def test_percentiles_never_fall_as_q_rises(values, q):
    assert percentile(values, q) <= percentile(values, q + 1)


@given(pairs, st.integers(0, 2**32))
def test_the_same_pairs_and_seed_give_the_same_interval(values, seed):
    assert bootstrap_ratio(values, resamples=50, seed=seed) == bootstrap_ratio(
        values, resamples=50, seed=seed
    )


@given(pairs)
def test_the_interval_stays_within_the_ratios_that_were_seen(values):
    ratio, low, high = bootstrap_ratio(values, resamples=50)
    ratios = [baseline / subject for baseline, subject in values]
    slack = 1e-9 * max(ratios)
    assert min(ratios) - slack <= low <= high <= max(ratios) + slack
    assert min(ratios) - slack <= ratio <= max(ratios) + slack


@given(pairs, st.floats(0.01, 100.0))
def test_a_ratio_has_no_unit(values, unit):
    scaled = [(unit * baseline, unit * subject) for baseline, subject in values]
    expected = bootstrap_ratio(values, resamples=50)
    assert bootstrap_ratio(scaled, resamples=50) == pytest.approx(expected, rel=1e-9)


@given(pairs)
def test_a_subject_twice_as_fast_has_twice_the_ratio(values):
    faster = [(baseline, subject / 2) for baseline, subject in values]
    ratio, low, high = bootstrap_ratio(values, resamples=50)
    assert bootstrap_ratio(faster, resamples=50) == (2 * ratio, 2 * low, 2 * high)
