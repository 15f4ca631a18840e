"""The range of every tensor of a network in one picture, from its first tensor to its last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from roadworthy.report import format as fmt
from roadworthy.report.drawing import label, pc, px
from roadworthy.report.markup import EMPTY, Html, el, text

_HEIGHT = 132.0
_MARGIN = 9.0
# A bar is never thinner, so that a tensor that is always zero is still seen.
_THINNEST = 2.0
# Few tensors don't make broad bars.
_FEWEST_PLACES = 16
# Bars of many tensors touch each other.
_MOST_APART = 160
# A tensor so much larger than the median one would leave nothing of that on a linear axis.
_BEND_FROM = 30.0
_STEPS = 5
# How far apart lines of letters are at least, in pixels.
_LINE = 14.0
# What float32 holds, which tensors are observed in; a file may say anything.
_SMALLEST, _LARGEST = 1e-45, 3.5e38


@dataclass(frozen=True, slots=True)
class Span:
    """A tensor's smallest and largest value; `marked` where the reader should look at it."""

    name: str
    low: float
    high: float
    marked: bool = False

    @property
    def largest(self) -> float:
        """The largest magnitude in it; NaN where an end is."""
        return math.nan if math.isnan(self.low) else max(abs(self.high), abs(self.low))

    @property
    def width(self) -> float:
        """How far apart its ends are; 0 where they are none."""
        width = self.high - self.low
        return 0.0 if math.isnan(width) else width

    def __str__(self) -> str:
        if self.low == self.high:
            return f"always {fmt.number(self.low)}"
        return f"{fmt.number(self.low)} to {fmt.number(self.high)}"


def profile_chart(spans: Sequence[Span]) -> Html:
    """Return a bar for every tensor, from left to right, around the line of zero.

    The axis is linear, unless `bend` says otherwise. What isn't finite isn't drawn; nothing is
    where all is zero.
    """
    whole = [span for span in spans if span.largest <= _LARGEST]
    if not any(span.largest >= _SMALLEST for span in whole):
        return EMPTY
    axis = _Axis(
        min(0.0, *(min(span.low, span.high) for span in whole)),
        max(0.0, *(max(span.low, span.high) for span in whole)),
        bend(whole),
    )
    ticks = axis.ticks()
    lines = [
        el("line", x1="0%", x2="100%", y1=px(y), y2=px(y), class_="axis" if not value else "grid")
        for value in ticks
        for y in (axis.at(value),)
    ]
    letters = [label(100, axis.at(value) + 4, fmt.number(value), "tick") for value in ticks]
    width = 100 / max(len(whole), _FEWEST_PLACES)
    bars = [_bar(span, axis, index * width, width) for index, span in enumerate(whole)]
    said = f"Ranges of {fmt.counted(len(whole), 'tensor')} in the order of the network"
    return el(
        "div",
        _picture(letters, aria_hidden="true"),
        _picture([*lines, *bars], role="img", aria_label=said),
        class_="profile",
    )


def bend(spans: Sequence[Span]) -> float | None:
    """Return the magnitude up to which the axis is linear, and about logarithmic from there.

    None where it is linear throughout. It is the median tensor's, where another is far larger.
    """
    sizes = [span.largest for span in spans if _SMALLEST <= span.largest <= _LARGEST]
    middle = median(sizes) if sizes else 0.0
    return middle if middle and max(sizes) > _BEND_FROM * middle else None


def _picture(parts: Sequence[Html], **attributes: str) -> Html:
    return el("svg", *parts, class_="chart", width="100%", height=px(_HEIGHT), **attributes)


def _bar(span: Span, axis: _Axis, left: float, width: float) -> Html:
    apart = 100 / width <= _MOST_APART
    ends = sorted((axis.at(span.low), axis.at(span.high)))
    height = max(_THINNEST, ends[1] - ends[0])
    return el(
        "rect",
        # Whoever points at it reads which one it is.
        el("title", text(f"{span.name}: {span}")),
        x=pc(left + width * 0.14 * apart),
        width=pc(width * (0.72 if apart else 1.0)),
        y=px(round((sum(ends) - height) / 2, 1)),
        height=px(round(height, 1)),
        class_="range marked" if span.marked else "range",
    )


@dataclass(frozen=True)
class _Axis:
    """From values to pixels; `knee` is what `bend` returns."""

    low: float
    high: float
    knee: float | None

    def at(self, value: float) -> float:
        low, high = self._bent(self.low), self._bent(self.high)
        share = (self._bent(value) - low) / (high - low)
        return round(_MARGIN + (1 - share) * (_HEIGHT - 2 * _MARGIN), 1)

    def _bent(self, value: float) -> float:
        # Like x below the knee, like ± log(x) far above it.
        return value if self.knee is None else math.asinh(value / self.knee)

    def ticks(self) -> list[float]:
        """Return zero and a few round values inside."""
        if self.knee is None:
            step = _round_step((self.high - self.low) / _STEPS)
            first, last = math.ceil(self.low / step), math.floor(self.high / step)
            return [index * step for index in range(first, last + 1)]
        lowest = math.ceil(math.log10(self.knee))
        highest = math.floor(math.log10(max(-self.low, self.high)))
        step = max(1, math.ceil((highest - lowest + 1) / 3))
        decades = [10.0**power for power in range(highest, lowest - 1, -step)]
        kept = [0.0]
        for value in (sign * size for size in decades for sign in (1, -1)):
            places = [self.at(one) for one in kept]
            near = min(abs(self.at(value) - place) for place in places)
            if self.low <= value <= self.high and near >= _LINE:
                kept.append(value)
        return sorted(kept)


def _round_step(least: float) -> float:
    """Return the next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next((power * part for part in (1, 2, 5) if power * part >= least), power * 10)
