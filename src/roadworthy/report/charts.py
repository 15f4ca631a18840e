"""Charts as inline SVG: errors against their tolerance, a ratio with its interval, durations.

Positions along x are percentages of the width and y is in pixels, so the same drawing fits a page
and a phone and its letters keep their size. Colours come from the style sheet by class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from roadworthy.report import format as fmt
from roadworthy.report.markup import EMPTY, Html, el, join, text, visible

_ROW = 38.0
_BAND = 14.0
_AXIS = 26.0
_SHARES = 18.0
_LONGEST_NAME = 28
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
        join([_vertical(x, bottom, bottom + 5, "axis"), _label(x, bottom + 18, name, "tick")])
        for x, name in scale.ticks()
    ]
    line = el("line", x1="0%", x2="100%", y1=_px(bottom), y2=_px(bottom), class_="axis")
    said = "; ".join(f"{bar.name}: {_said(bar)}" for bar in bars)
    return _drawing([*rows, line, *ticks], bottom + _AXIS, f"{what} by case. {said}")


def _error_row(bar: ErrorBar, scale: _LogScale, top: float) -> Html:
    band = top + 16
    limit, error = scale.at(bar.limit), scale.at(bar.error)
    state = "good" if bar.passed else "bad"
    parts = [
        _label(0, top + 11, _shortened(bar.name), "name"),
        _label(100, top + 11, _said(bar), f"said {state}"),
        _box(0, limit, band, "allowed"),
        _box(limit, 100, band, "beyond"),
        _box(0, error, band + 4, state, _BAND - 8),
        el("circle", cx=_pc(error), cy=_px(band + _BAND / 2), r="4.5", class_=f"dot {state}"),
        _vertical(limit, band - 2, band + _BAND + 2, "limit"),
    ]
    if bar.noise is not None and bar.noise > 0:
        parts.append(_vertical(scale.at(bar.noise), band - 2, band + _BAND + 2, "noise"))
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
        _box(0, one, 0, "slower", bottom),
        _vertical(one, 0, bottom, "limit"),
        _label(one, 12, "1.0 same speed", "name after" if one < 50 else "name before"),
        el("line", x1="0%", x2="100%", y1=_px(bottom), y2=_px(bottom), class_="axis"),
        el(
            "line",
            x1=_pc(100 * low / top),
            x2=_pc(100 * high / top),
            y1=_px(middle),
            y2=_px(middle),
            class_="interval",
        ),
        _vertical(100 * low / top, middle - 7, middle + 7, "interval end"),
        _vertical(100 * high / top, middle - 7, middle + 7, "interval end"),
        el("circle", cx=_pc(100 * ratio / top), cy=_px(middle), r="5.5", class_="dot plain"),
    ]
    for index in range(round(top / step) + 1):
        place = 100 * index * step / top
        parts.append(_vertical(place, bottom, bottom + 5, "axis"))
        parts.append(_label(place, bottom + 18, f"{index * step:g}×", "tick"))
    said = f"{fmt.ratio(ratio)}, 95 % interval {fmt.ratio(low)} to {fmt.ratio(high)}; 1 marked"
    return _drawing(parts, bottom + _AXIS, said)


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
        rows.append(_label(0, top + 11, _shortened(name, 60), "name"))
        rows.append(_label(100, top + 11, fmt.seconds(value), "said"))
        rows.append(_box(0, 100, top + 16, "allowed", 6))
        rows.append(_box(0, end, top + 16, "plain", 6))
    said = "; ".join(f"{name}: {fmt.seconds(value)}" for name, value in spent)
    return _drawing(rows, len(spent) * 30.0, said)


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
        boxes.append(_box(left, right, 0, f"share {class_}", _SHARES))
        left = right
    said = ", ".join(f"{name} {fmt.percent(share)}" for name, _, share in shares)
    return _drawing(boxes, _SHARES, f"{of}: {said}")


def key(kind: str) -> Html:
    """Return the small picture of one sign for a legend: "error", "noise", "limit", "share …"."""
    if kind == "error":
        drawn = el("circle", cx="8", cy="8", r="4.5", class_="dot good")
    elif kind.startswith("share "):
        drawn = el("rect", x="2", y="2", width="12", height="12", class_=kind)
    else:
        drawn = el("line", x1="8", x2="8", y1="0", y2="16", class_=kind)
    return el("svg", drawn, class_="key", width="16", height="16", aria_hidden="true")


def _drawing(parts: Sequence[Html], height: float, said: str) -> Html:
    # The letters are drawn for the eye; those who hear the page get one sentence instead.
    return el(
        "svg", *parts, class_="chart", width="100%", height=_px(height), role="img", aria_label=said
    )


def _box(left: float, right: float, top: float, class_: str, height: float = _BAND) -> Html:
    width = max(0.0, right - left)
    return el("rect", x=_pc(left), y=_px(top), width=_pc(width), height=_px(height), class_=class_)


def _vertical(x: float, top: float, bottom: float, class_: str) -> Html:
    return el("line", x1=_pc(x), x2=_pc(x), y1=_px(top), y2=_px(bottom), class_=class_)


def _label(x: float, y: float, value: str, class_: str) -> Html:
    """Return letters at a place; at the ends of the axis they stay inside."""
    anchor = "start" if x <= 1 else "end" if x >= 99 else "middle"
    shift = None
    if "after" in class_:
        anchor, shift = "start", "6"
    if "before" in class_:
        anchor, shift = "end", "-6"
    return el("text", text(value), x=_pc(x), y=_px(y), dx=shift, text_anchor=anchor, class_=class_)


def _shortened(name: str, longest: int = _LONGEST_NAME) -> str:
    """Return a name that fits: the table below has it whole."""
    shown = visible(name)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def _pc(value: float) -> str:
    return f"{value:.2f}%"


def _px(value: float) -> str:
    return f"{value:g}"
