"""A bar for every tensor stands where its numbers belong."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from roadworthy.report.profile_chart import Span, bend, profile_chart
from tests.unit.report.made import Seen


def bars(spans: list[Span]) -> list[tuple[float, float, float]]:
    """Return x in percent, top and bottom in pixels of each bar."""
    found = []
    for one in Seen(profile_chart(spans)).named("rect"):
        top = float(str(one["y"]))
        found.append((float(str(one["x"]).rstrip("%")), top, top + float(str(one["height"]))))
    return found


def zero(spans: list[Span]) -> float:
    (line,) = (e for e in Seen(profile_chart(spans)).named("line") if e["class"] == "axis")
    return float(str(line["y1"]))


def test_bars_stand_in_order_and_in_proportion() -> None:
    spans = [Span("a", 0.0, 8.0), Span("b", -4.0, 4.0), Span("c", -2.0, -1.0)]
    ground, drawn = zero(spans), bars(spans)
    assert [x for x, _, _ in drawn] == sorted({x for x, _, _ in drawn})
    heights = [(ground - top, bottom - ground) for _, top, bottom in drawn]
    unit = heights[0][0] / 8
    for (above, below), span in zip(heights, spans, strict=True):
        # Pixels are written with one decimal.
        assert above == pytest.approx(span.high * unit, abs=0.11)
        assert below == pytest.approx(-span.low * unit, abs=0.11)


def test_a_tensor_of_zeros_is_still_seen_on_the_line_of_zero() -> None:
    spans = [Span("a", 0.0, 8.0), Span("dead", 0.0, 0.0)]
    _, top, bottom = bars(spans)[1]
    assert (top + bottom) / 2 == pytest.approx(zero(spans), abs=0.06)
    assert bottom > top


def test_all_bars_are_inside_and_apart_however_many() -> None:
    for count in (1, 7, 160, 161, 2000):
        drawn = bars([Span(f"t{i}", -1.0, float(i + 1)) for i in range(count)])
        assert len(drawn) == count
        assert all(0 <= x < 100 for x, _, _ in drawn)
        assert all(left[0] <= right[0] for left, right in pairwise(drawn))


def test_one_far_larger_tensor_leaves_the_others_visible() -> None:
    spans = [*(Span(f"t{i}", 0.0, 2.0) for i in range(9)), Span("wild", -9000.0, 0.0)]
    assert bend(spans) == 2.0
    assert all(bottom - top > 5 for _, top, bottom in bars(spans))
    letters = Seen(profile_chart(spans)).text
    assert "−1,000" in letters
    # The order of sizes is kept.
    heights = [bottom - top for _, top, bottom in bars(spans)]
    assert heights[-1] == max(heights)


@pytest.mark.parametrize("wild", [(-9000.0, 55.0), (-1e9, 1e9), (0.0, 61.0), (-1e-3, 1e38)])
def test_letters_beside_the_axis_never_touch(wild: tuple[float, float]) -> None:
    spans = [*(Span(f"t{i}", -1.9, 2.0) for i in range(9)), Span("wild", *wild)]
    assert bend(spans) is not None
    places = sorted(float(str(e["y"])) for e in Seen(profile_chart(spans)).named("text"))
    assert len(places) > 1
    assert all(below - above >= 14 for above, below in pairwise(places))


def test_alike_tensors_leave_the_axis_linear() -> None:
    assert bend([Span("a", 0.0, 1.0), Span("b", 0.0, 1.0), Span("c", 0.0, 29.0)]) is None
    assert bend([]) is None
    assert bend([Span("a", 0.0, 0.0)]) is None


@pytest.mark.parametrize(
    "spans", [[], [Span("a", 0.0, 0.0)], [Span("a", math.nan, 1.0)], [Span("a", 0.0, math.inf)]]
)
def test_nothing_to_draw_is_no_chart(spans: list[Span]) -> None:
    assert profile_chart(spans) == ""


@pytest.mark.parametrize("least", [1e-45, 1e-3, 0.99, 1e23, 3.4e38])
def test_any_float32_has_an_axis(least: float) -> None:
    for spans in ([Span("a", -least, least)], [Span("a", 0.0, least), Span("b", 0.0, 1.0)]):
        drawn = bars(spans)
        assert all(0 <= top <= bottom <= 132 for _, top, bottom in drawn)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.0, 14.53, "0 to 14.5"), (3.0, 3.0, "always 3"), (-6.4, 0.25, "−6.4 to 0.25")],
)
def test_a_range_in_words(low: float, high: float, said: str) -> None:
    assert str(Span("a", low, high)) == said


def test_a_name_is_escaped() -> None:
    drawn = profile_chart([Span("<b>\"'&", 0.0, 1.0)])
    assert "<b>" not in drawn
    assert Seen(drawn).problems == []
