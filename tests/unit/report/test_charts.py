"""A chart puts every sign where its number belongs, and never draws what isn't a number."""

from __future__ import annotations

import math

import pytest

from roadworthy.report.charts import ErrorBar, error_chart, ratio_chart, seconds_chart
from tests.unit.report.made import Seen


def places(drawn: str, tag: str, class_: str, key: str) -> list[float]:
    """Return where along x the signs of one class stand, in percent."""
    return [
        float(str(found[key]).rstrip("%"))
        for found in Seen(drawn).named(tag)
        if found.get("class") == class_
    ]


def bar(error: float, limit: float = 1e-5, noise: float | None = None) -> ErrorBar:
    return ErrorBar("samples", error, limit, noise, error <= limit)


def test_noise_error_and_tolerance_stand_in_order() -> None:
    drawn = error_chart([bar(1e-6, noise=1e-7)], "relative L2")
    (noise,) = places(drawn, "line", "noise", "x1")
    (error,) = places(drawn, "circle", "dot good", "cx")
    (limit,) = places(drawn, "line", "limit", "x1")
    assert 0 < noise < error < limit < 100
    # A decade each: the scale is logarithmic. Places are written with two decimals.
    assert error - noise == pytest.approx(limit - error, abs=0.02)


def test_an_error_beyond_the_tolerance_is_drawn_beyond_it() -> None:
    drawn = error_chart([bar(1e-6), bar(0.5)], "relative L2")
    (beyond,) = places(drawn, "circle", "dot bad", "cx")
    assert beyond > places(drawn, "line", "limit", "x1")[1]
    assert "50,000 times the tolerance" in drawn


@pytest.mark.parametrize(("error", "place"), [(0.0, 0.0), (math.inf, 100.0), (math.nan, 100.0)])
def test_errors_that_a_logarithm_cannot_hold_stand_at_the_ends(error: float, place: float) -> None:
    drawn = error_chart([bar(error)], "relative L2")
    dot = "dot good" if error == 0 else "dot bad"
    assert places(drawn, "circle", dot, "cx") == [place]


def test_nothing_to_draw_is_no_chart() -> None:
    assert error_chart([], "relative L2") == ""
    assert error_chart([bar(0.0, limit=0.0)], "relative L2") == ""
    assert seconds_chart([("engine", 0.0)]) == ""


def test_the_ratio_stands_in_its_interval_and_one_is_marked() -> None:
    drawn = ratio_chart(2.0, 1.5, 2.5)
    (middle,) = places(drawn, "circle", "dot plain", "cx")
    low, high = places(drawn, "line", "interval end", "x1")
    (one,) = places(drawn, "line", "limit", "x1")
    assert low < middle < high
    # The axis is linear and begins at 0.
    assert middle == pytest.approx(2 * one, abs=0.02)
    assert high == pytest.approx(2.5 * one, abs=0.02)
    assert high < 100


@pytest.mark.parametrize("ratio", [0.02, 1.0, 7.3, 850.0])
def test_one_is_on_the_axis_whatever_the_ratio(ratio: float) -> None:
    drawn = ratio_chart(ratio, ratio * 0.9, ratio * 1.1)
    (one,) = places(drawn, "line", "limit", "x1")
    assert 0 < one < 100


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 0.0])
def test_a_ratio_that_is_none_is_not_drawn(wrong: float) -> None:
    assert ratio_chart(wrong, 1.0, 2.0) == ""
    assert ratio_chart(1.0, 1.0, wrong) == ""


def test_durations_are_in_proportion() -> None:
    drawn = seconds_chart([("engine", 2.0), ("compare", 0.5)])
    assert places(drawn, "rect", "plain", "width") == [100.0, 25.0]


def test_a_long_name_is_cut_and_escaped() -> None:
    drawn = error_chart([ErrorBar("<b>" * 100, 1e-6, 1e-5, None, True)], "relative L2")
    assert "<b>" not in drawn
    assert "…" in drawn
