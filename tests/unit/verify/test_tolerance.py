"""Tolerances: each number has an origin, and none exceeds the ceiling."""

from __future__ import annotations

import math

import numpy as np
import pytest

from roadworthy.verify.tolerance import (
    FP32_CEILING,
    FP32_EPS,
    MISMATCH_FLOOR,
    QUANTISED_CEILING,
    QUANTISED_MISMATCH,
    UNSEEN_SHARE,
    discrete_tolerance,
    fp32_tolerance,
    is_floating,
    quantised_ceiling,
    quantised_tolerance,
    tolerance_for,
)


def test_eps_is_fp32s() -> None:
    assert np.finfo(np.float32).eps == FP32_EPS


def test_the_floor_grows_with_the_root_of_the_depth() -> None:
    floor = fp32_tolerance(0.0, 1).limit
    assert floor == 32 * FP32_EPS
    assert fp32_tolerance(0.0, 100).limit == pytest.approx(10 * floor)
    assert fp32_tolerance(0.0, 0).limit == floor


@pytest.mark.parametrize(
    ("noise", "limit", "origin"),
    [
        (None, 32 * FP32_EPS * 2, "assumed: 32·eps·√depth = 7.6e-06 at depth 4; FP64 couldn't"),
        (0.0, 32 * FP32_EPS * 2, "32·eps·√depth = 7.6e-06 at depth 4; measured FP32 noise 0"),
        (1e-7, 32 * FP32_EPS * 2, "32·eps·√depth"),
        (1e-5, 8e-5, "8 × the measured FP32 noise 1e-05"),
        (0.5, 1e-2, "ceiling 1e-02: the network's own FP32 noise is 0.5"),
        (math.inf, 1e-2, "ceiling"),
    ],
)
def test_fp32_limits_and_where_they_come_from(
    noise: float | None, limit: float, origin: str
) -> None:
    tolerance = fp32_tolerance(noise, 4)
    assert tolerance.metric == "relative_l2"
    assert tolerance.limit == pytest.approx(limit)
    assert tolerance.origin.startswith(origin)


@pytest.mark.parametrize(
    ("noise", "limit", "says"),
    [
        (None, MISMATCH_FLOOR, "FP64 couldn't be had"),
        (0.0, MISMATCH_FLOOR, "FP64 changes 0"),
        (1e-4, 8e-4, "8 × the share 0.0001"),
        (0.5, FP32_CEILING, "8 × the share 0.5"),
    ],
)
def test_limits_of_labels_and_masks(noise: float | None, limit: float, says: str) -> None:
    tolerance = discrete_tolerance(noise)
    assert tolerance.metric == "mismatch_share"
    assert tolerance.limit == pytest.approx(limit)
    assert says in tolerance.origin


@pytest.mark.parametrize(
    ("dtype", "floating"),
    [
        ("float16", True), ("bfloat16", True), ("float64", True), ("float8_e4m3fn", True),
        ("complex64", True), ("int64", False), ("bool", False), ("str", False), ("uint4", False),
    ],
)  # fmt: skip
def test_which_outputs_are_judged_by_relative_error(dtype: str, floating: bool) -> None:
    assert is_floating(dtype) is floating
    assert tolerance_for(dtype, None, 1).metric == ("relative_l2" if floating else "mismatch_share")


@pytest.mark.parametrize(
    ("literal", "limit"),
    [(0.01, 0.02), (0.1, 0.2), (0.125, 0.25), (0.2, QUANTISED_CEILING)],
)
def test_a_quantised_engine_may_err_twice_as_much_as_its_graph(
    literal: float, limit: float
) -> None:
    tolerance = quantised_tolerance(literal, fp32_tolerance(0.0, 4))
    assert tolerance.metric == "relative_l2"
    assert tolerance.limit == pytest.approx(limit)
    assert f"2 × {literal:.2g}, the error of its Q/DQ graph computed literally" in tolerance.origin


@pytest.mark.parametrize("exact", [fp32_tolerance(1e-4, 9), discrete_tolerance(None)])
def test_no_quantised_engine_needs_to_be_better_than_fp32(exact) -> None:
    """And then the tolerance says where it comes from: not from the graph's error."""
    assert quantised_tolerance(0.0, exact) == exact
    assert quantised_tolerance(exact.limit / 2, exact) == exact
    assert quantised_tolerance(exact.limit, exact).limit == 2 * exact.limit


@pytest.mark.parametrize(
    ("literal", "elements", "limit"),
    [
        (0.0, 4096, 3 / 4096),  # none seen in 64x64 pixels: three more can't be told
        (1 / 4096, 4096, 3 / 4096),
        (2 / 4096, 4096, 4 / 4096),  # from two seen on twice the literal share is more
        (0.0, 1 << 20, MISMATCH_FLOOR),  # large samples: FP32's own floor is more
        (0.0, 30, QUANTISED_MISMATCH),
        (0.0, 1, QUANTISED_MISMATCH),  # one label a sample: never above the ceiling
        (0.04, 30, QUANTISED_MISMATCH),
    ],
)
def test_labels_are_not_judged_finer_than_a_sample_tells(literal, elements, limit) -> None:
    """Rule of three (Hanley and Lippman-Hand, JAMA 1983): none in n leaves up to 3/n."""
    tolerance = quantised_tolerance(literal, discrete_tolerance(0.0), elements)
    assert tolerance.metric == "mismatch_share"
    assert tolerance.limit == pytest.approx(limit)


def test_three_labels_a_sample_come_from_the_rule_of_three() -> None:
    """95 % upper bound of a rate after n trials without an event: 1 - 0.05^(1/n)."""
    for elements in (100, 4096, 65536):
        exact_bound = 1 - 0.05 ** (1 / elements)
        assert UNSEEN_SHARE / elements == pytest.approx(exact_bound, rel=0.02)


def test_the_origin_of_what_a_sample_is_too_small_for() -> None:
    exact = discrete_tolerance(0.0)
    assert quantised_tolerance(0.0, exact, 1000).origin == (
        "3/n, n = 1000: what the smallest sample is too small to tell, where its Q/DQ graph "
        "computed literally has 0; at most 0.1"
    )
    assert "2 × 0.01, the error of" in quantised_tolerance(0.01, exact, 1000).origin
    assert quantised_tolerance(0.0, exact, 1 << 20) == exact


def test_how_many_elements_there_are_is_nothing_to_floating_outputs() -> None:
    exact = fp32_tolerance(0.0, 4)
    assert quantised_tolerance(0.0, exact, 4) == exact
    assert quantised_tolerance(0.01, exact, 4) == quantised_tolerance(0.01, exact)


def test_quantisation_may_not_cost_everything() -> None:
    """0.25 of the signal is 12 dB; of labels one in ten may change."""
    assert -20 * math.log10(QUANTISED_CEILING) == pytest.approx(12.0, abs=0.1)
    for exact, limit in (
        (fp32_tolerance(0.0, 4), QUANTISED_CEILING),
        (discrete_tolerance(0.0), QUANTISED_MISMATCH),
    ):
        ceiling = quantised_ceiling(exact)
        assert (ceiling.metric, ceiling.limit) == (exact.metric, limit)
        assert quantised_tolerance(1.0, exact).limit == limit
