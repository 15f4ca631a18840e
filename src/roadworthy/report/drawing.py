"""What charts are drawn with: boxes, lines and letters of an inline SVG.

Positions along x are percentages of the width and y is in pixels, so the same drawing fits a page
and a phone and its letters keep their size. Colours come from the style sheet by class.
"""

from __future__ import annotations

from collections.abc import Sequence

from roadworthy.report.markup import Html, el, text, visible

BAND = 14.0
"""How high a bar is, in pixels."""
_LONGEST_NAME = 28


def drawing(parts: Sequence[Html], height: float, said: str) -> Html:
    """Return the picture; `said` is what it shows, in a sentence."""
    # The letters are drawn for the eye; those who hear the page get one sentence instead.
    return el(
        "svg", *parts, class_="chart", width="100%", height=px(height), role="img", aria_label=said
    )


def box(left: float, right: float, top: float, class_: str, height: float = BAND) -> Html:
    """Return a box from one place along x to another, in percent."""
    width = max(0.0, right - left)
    return el("rect", x=pc(left), y=px(top), width=pc(width), height=px(height), class_=class_)


def vertical(x: float, top: float, bottom: float, class_: str) -> Html:
    """Return a line from top to bottom at one place along x."""
    return el("line", x1=pc(x), x2=pc(x), y1=px(top), y2=px(bottom), class_=class_)


def label(x: float, y: float, value: str, class_: str) -> Html:
    """Return letters at a place; at the ends of the axis they stay inside."""
    anchor = "start" if x <= 1 else "end" if x >= 99 else "middle"
    shift = None
    if "after" in class_:
        anchor, shift = "start", "6"
    if "before" in class_:
        anchor, shift = "end", "-6"
    return el("text", text(value), x=pc(x), y=px(y), dx=shift, text_anchor=anchor, class_=class_)


def shortened(name: str, longest: int = _LONGEST_NAME) -> str:
    """Return a name that fits: the table below has it whole."""
    shown = visible(name)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def pc(value: float) -> str:
    """Return a percentage of the width."""
    return f"{value:.2f}%"


def px(value: float) -> str:
    """Return pixels."""
    return f"{value:g}"
