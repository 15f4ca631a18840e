"""Charts as inline SVG: errors against their tolerance, a ratio with its interval, durations.

Positions are those of `report.drawing`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from roadworthy.report import format as fmt
from roadworthy.report.drawing import BAND, box, drawing, label, pc, px, shortened, vertical
from roadworthy.report.markup import EMPTY, Html, el, join

_ROW = 38.0
_AXIS = 26.0
_SHARES = 18.0
_MOST_TICKS = 7


@dataclass(frozen=True)
class ErrorBar:
    """One case's error (any float, NaN too), its limit, and the reference's noise if known."""

    name: str
    error: float
    limit: float
    noise: float | None
    passed: bool


def error_chart(bars: Sequence[ErrorBar], what: str) -> Html:
    """Return each case's error on a logarithmic axis with noise floor and tolerance marked.

    Args:
        bars: one for each case; nothing is drawn where no number is positive and finite.
        what: names the measure, for those who hear the page.
    """
    scale = _LogScale.over([x for bar in bars for x in (bar.error, bar.limit, bar.noise or 0.0)])
    if scale is None:
        return EMPTY
    rows = [_error_row(bar, scale, index * _ROW) for index, bar in enumerate(bars)]
    bottom = len(bars) * _ROW
    ticks = [
        join([vertical(x, bottom, bottom + 5, "axis"), label(x, bottom + 18, name, "tick")])
        for x, name in scale.ticks()
    ]
    line = el("line", x1="0%", x2="100%", y1=px(bottom), y2=px(bottom), class_="axis")
    said = "; ".join(f"{bar.name}: {_said(bar)}" for bar in bars)
    return drawing([*rows, line, *ticks], bottom + _AXIS, f"{what} by case. {said}")


def _error_row(bar: ErrorBar, scale: _LogScale, top: float) -> Html:
    band = top + 16
    limit, error = scale.at(bar.limit), scale.at(bar.error)
    state = "good" if bar.passed else "bad"
    parts = [
        label(0, top + 11, shortened(bar.name), "name"),
        label(100, top + 11, _said(bar), f"said {state}"),
        box(0, limit, band, "allowed"),
        box(limit, 100, band, "beyond"),
        box(0, error, band + 4, state, BAND - 8),
        el("circle", cx=pc(error), cy=px(band + BAND / 2), r="4.5", class_=f"dot {state}"),
        vertical(limit, band - 2, band + BAND + 2, "limit"),
    ]
    if bar.noise is not None and bar.noise > 0:
        parts.append(vertical(scale.at(bar.noise), band - 2, band + BAND + 2, "noise"))
    return join(parts)


def _said(bar: ErrorBar) -> str:
    share = bar.error / bar.limit if bar.limit > 0 else math.nan
    if not math.isfinite(share):
        return fmt.number(bar.error)
    return f"{fmt.number(bar.error)}, {fmt.against(share, 'the tolerance')}"


@dataclass(frozen=True)
class _LogScale:
    """Whole decades, from `low` to `high` as powers of ten."""

    low: int
    high: int

    @classmethod
    def over(cls, values: Sequence[float]) -> _LogScale | None:
        """Return the decades that hold the positive finite values, with room on both sides."""
        logs = [math.log10(value) for value in values if 0 < value < math.inf]
        if not logs:
            return None
        low, high = math.floor(min(logs) - 0.3), math.ceil(max(logs) + 0.3)
        return cls(low, max(high, low + 2))

    def at(self, value: float) -> float:
        """Return the place in percent; 0 stands at the left end, ∞ and NaN at the right."""
        if math.isnan(value) or value == math.inf:
            return 100.0
        if value <= 0:
            return 0.0
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return 100 * min(1.0, max(0.0, share))

    def ticks(self) -> list[tuple[float, str]]:
        """Return the inner decades, at most seven."""
        step = math.ceil((self.high - self.low) / _MOST_TICKS)
        powers = range(self.low + 1, self.high, step)
        return [(100 * (p - self.low) / (self.high - self.low), f"1e{p:+03d}") for p in powers]


def ratio_chart(ratio: float, low: float, high: float) -> Html:
    """Return a ratio with its interval on an axis from 0 that marks 1, the same speed."""
    ends = (ratio, low, high)
    if not all(math.isfinite(value) and value > 0 for value in ends):
        return EMPTY
    step = _nice_step(max(1.0, *ends) * 1.15)
    top = step * math.ceil(max(1.0, *ends) * 1.15 / step)
    middle, bottom = 34.0, 54.0
    one = 100 / top
    parts = [
        box(0, one, 0, "slower", bottom),
        vertical(one, 0, bottom, "limit"),
        label(one, 12, "1.0 same speed", "name after" if one < 50 else "name before"),
        el("line", x1="0%", x2="100%", y1=px(bottom), y2=px(bottom), class_="axis"),
        el(
            "line",
            x1=pc(100 * low / top),
            x2=pc(100 * high / top),
            y1=px(middle),
            y2=px(middle),
            class_="interval",
        ),
        vertical(100 * low / top, middle - 7, middle + 7, "interval end"),
        vertical(100 * high / top, middle - 7, middle + 7, "interval end"),
        el("circle", cx=pc(100 * ratio / top), cy=px(middle), r="5.5", class_="dot plain"),
    ]
    for index in range(round(top / step) + 1):
        place = 100 * index * step / top
        parts.append(vertical(place, bottom, bottom + 5, "axis"))
        parts.append(label(place, bottom + 18, f"{index * step:g}×", "tick"))
    said = f"{fmt.ratio(ratio)}, 95 % interval {fmt.ratio(low)} to {fmt.ratio(high)}; 1 marked"
    return drawing(parts, bottom + _AXIS, said)


def _nice_step(top: float) -> float:
    """Return 1, 2 or 5 times a power of ten that cuts the axis into six parts at most."""
    power = 10.0 ** math.floor(math.log10(top / 6))
    return next(power * part for part in (1, 2, 5, 10) if top / (power * part) <= 6)


def seconds_chart(spent: Sequence[tuple[str, float]]) -> Html:
    """Return one bar for each duration, in seconds."""
    longest = max((value for _, value in spent if math.isfinite(value)), default=0.0)
    if longest <= 0:
        return EMPTY
    rows = []
    for index, (name, value) in enumerate(spent):
        top = index * 30.0
        end = 100 * value / longest if math.isfinite(value) else 100.0
        rows.append(label(0, top + 11, shortened(name, 60), "name"))
        rows.append(label(100, top + 11, fmt.seconds(value), "said"))
        rows.append(box(0, 100, top + 16, "allowed", 6))
        rows.append(box(0, end, top + 16, "plain", 6))
    said = "; ".join(f"{name}: {fmt.seconds(value)}" for name, value in spent)
    return drawing(rows, len(spent) * 30.0, said)


def share_chart(shares: Sequence[tuple[str, str, float]], of: str) -> Html:
    """Return one bar that is cut into shares, each with its own class of the style sheet.

    Args:
        shares: (name, class, share), from left to right; shares are positive and finite.
        of: what the whole is, for those who hear the page.
    """
    total = sum(share for _, _, share in shares)
    if not 0 < total < math.inf:
        return EMPTY
    boxes, left = [], 0.0
    for _, class_, share in shares:
        right = left + 100 * share / total
        boxes.append(box(left, right, 0, f"share {class_}", _SHARES))
        left = right
    said = ", ".join(f"{name} {fmt.percent(share)}" for name, _, share in shares)
    return drawing(boxes, _SHARES, f"{of}: {said}")


def key(kind: str) -> Html:
    """Return the small picture of one sign for a legend.

    Args:
        kind: "error", "noise", "limit"; "range" or "share" with what else its class has.
    """
    if kind == "error":
        drawn = el("circle", cx="8", cy="8", r="4.5", class_="dot good")
    elif kind.startswith(("share ", "range")):
        drawn = el("rect", x="2", y="2", width="12", height="12", class_=kind)
    else:
        drawn = el("line", x1="8", x2="8", y1="0", y2="16", class_=kind)
    return el("svg", drawn, class_="key", width="16", height="16", aria_hidden="true")
