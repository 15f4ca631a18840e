"""No tolerance exceeds the ceiling or lacks an origin."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from roadworthy.verify.tolerance import (
    FP32_CEILING,
    QUANTISED_MISMATCH,
    discrete_tolerance,
    fp32_tolerance,
    quantised_tolerance,
)

NOISE = st.one_of(st.none(), st.floats(0), st.just(math.nan), st.floats(0, 1e-2))
DEPTH = st.integers(0, 10**12)


@given(NOISE, DEPTH)
def test_never_above_the_ceiling_and_never_nothing(noise: float | None, depth: int) -> None:
    for tolerance in (fp32_tolerance(noise, depth), discrete_tolerance(noise)):
        assert 0 < tolerance.limit <= FP32_CEILING
        assert not math.isnan(tolerance.limit)
        assert tolerance.origin


@given(DEPTH)
def test_without_fp64_it_says_assumed(depth: int) -> None:
    assert "assumed" in fp32_tolerance(None, depth).origin


@given(st.floats(0, 1), st.floats(0, 1), DEPTH)
def test_more_noise_never_narrows_it(one: float, other: float, depth: int) -> None:
    less, more = sorted((one, other))
    assert fp32_tolerance(less, depth).limit <= fp32_tolerance(more, depth).limit
    assert discrete_tolerance(less).limit <= discrete_tolerance(more).limit


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 10**9), NOISE)
def test_labels_of_a_quantised_engine(
    one: float, other: float, elements: int, noise: float | None
) -> None:
    """Within FP32's limit and the ceiling; a worse graph or a smaller sample never narrows it."""
    exact = discrete_tolerance(noise)
    less, more = sorted((one, other))
    tolerance = quantised_tolerance(less, exact, elements)
    assert exact.limit <= tolerance.limit <= QUANTISED_MISMATCH
    assert tolerance.limit <= quantised_tolerance(more, exact, elements).limit
    assert tolerance.limit >= quantised_tolerance(less, exact, elements + 1).limit
    assert tolerance.limit >= quantised_tolerance(less, exact).limit
    assert tolerance.origin
