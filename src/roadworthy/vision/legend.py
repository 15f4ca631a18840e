"""The legend of classes: a panel beside or below a picture, legible whatever is in the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from roadworthy.vision.palette import Rgba
from roadworthy.vision.pillow import Image, ImageDraw, ImageFont

PAPER = (252, 252, 250)
INK = (28, 28, 30)
FAINT = (136, 136, 142)
RULE = (208, 208, 212)

# Text is this share of the picture's shorter side, within limits that stay legible.
TEXT_SHARE = 1 / 30
SMALLEST_TEXT, LARGEST_TEXT = 15, 110
# Longer names are shortened; in ems, at the right of a picture and below one.
WIDEST_RIGHT, WIDEST_BELOW = 15.0, 9.0
MOST_ROWS = 6  # of a panel below a picture


@dataclass(frozen=True)
class Entry:
    """One line: a class, its colour (None: no swatch), its share of the pixels (None: unsaid)."""

    name: str
    colour: Rgba | None
    share: float | None = None


def beside(picture: Image.Image, entries: Sequence[Entry]) -> Image.Image:
    """Return the picture with a legend at its right, or below it where it is wide."""
    width, height = picture.size
    style = Style.for_picture(width, height)
    if width > 1.3 * height:
        panel = below(width, entries, style)
        joined = Image.new("RGB", (width, height + panel.height), PAPER)
        joined.paste(panel, (0, height))
    else:
        panel = _right(height, entries, style)
        joined = Image.new("RGB", (width + panel.width, height), PAPER)
        joined.paste(panel, (width, 0))
    joined.paste(picture, (0, 0))
    return joined


class Style:
    """Sizes in pixels, all from the size of the text."""

    def __init__(self, text: int) -> None:
        self.text = text
        self.font = ImageFont.load_default(size=text)
        self.pad = round(text * 0.9)
        self.row = round(text * 1.75)
        self.swatch = round(text * 1.05)
        self.gap = round(text * 0.6)

    @classmethod
    def for_picture(cls, width: int, height: int) -> Style:
        """Choose the text size for a picture."""
        wanted = round(min(width, height) * TEXT_SHARE)
        return cls(min(max(wanted, SMALLEST_TEXT), LARGEST_TEXT))

    def width(self, text: str) -> int:
        """Return how wide a text is."""
        return round(self.font.getlength(text))

    def shortened(self, text: str, widest: float) -> str:
        """Return the text, its end replaced by dots where it is too wide."""
        if self.font.getlength(text) <= widest:
            return text
        while text and self.font.getlength(text + "...") > widest:
            text = text[:-1]
        return text.rstrip() + "..."


def percent(share: float) -> str:
    """Return a share as text that never calls something nothing, nor a part the whole."""
    if share == 0.0:
        return "0 %"
    if share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1.0:
        return "> 99.9 %"
    return f"{share * 100:.1f} %" if share < 1.0 else "100 %"


def below(width: int, entries: Sequence[Entry], style: Style) -> Image.Image:
    """Return a panel of this width, the entries in as many columns as fit."""
    cell = _cell_width(entries, style, WIDEST_BELOW) + 2 * style.gap
    columns = max(1, min((width - 2 * style.pad + 2 * style.gap) // cell, len(entries)))
    shown = _fitting(entries, columns * MOST_ROWS)
    rows = -(-len(shown) // columns)
    panel = Image.new("RGB", (width, rows * style.row + style.pad), PAPER)
    draw = ImageDraw.Draw(panel)
    for index, entry in enumerate(shown):
        left = style.pad + (index % columns) * cell
        top = style.pad // 2 + (index // columns) * style.row
        right = min(left + cell - 2 * style.gap, width - style.pad)
        _line(draw, entry, style, (left, top, right))
    return panel


def _right(height: int, entries: Sequence[Entry], style: Style) -> Image.Image:
    """Return a panel of this height, one entry below the other."""
    shown = _fitting(entries, max(1, (height - style.pad) // style.row))
    width = _cell_width(shown, style, WIDEST_RIGHT) + 2 * style.pad
    panel = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(panel)
    for index, entry in enumerate(shown):
        top = style.pad // 2 + index * style.row
        _line(draw, entry, style, (style.pad, top, width - style.pad))
    return panel


def _fitting(entries: Sequence[Entry], room: int) -> list[Entry]:
    """Return the entries; where there are too many the largest, in order, and the rest as one."""
    if len(entries) <= room:
        return list(entries)
    ranked = sorted(range(len(entries)), key=lambda i: (-(entries[i].share or 0.0), i))
    kept = sorted(ranked[: room - 1])
    rest = [entries[i].share for i in ranked[room - 1 :]]
    share = None if None in rest else sum(value or 0.0 for value in rest)
    return [*(entries[i] for i in kept), Entry(f"{len(rest)} more", None, share)]


def _cell_width(entries: Sequence[Entry], style: Style, widest_name: float) -> int:
    widest = style.text * widest_name
    names = max(min(style.width(entry.name), widest) for entry in entries)
    shares = max(style.width(percent(e.share)) if e.share is not None else 0 for e in entries)
    return round(style.swatch + style.gap + names + (style.gap * 2 + shares if shares else 0)) + 2


def _line(draw: ImageDraw.ImageDraw, entry: Entry, style: Style, box: tuple[int, int, int]) -> None:
    """Draw one entry: swatch, name, and the share at the right."""
    left, top, right = box
    middle = top + style.row / 2
    ink = FAINT if entry.share == 0.0 else INK
    if entry.colour is not None:
        _swatch(draw, entry.colour, style, left, middle)
    end = right
    if entry.share is not None:
        text = percent(entry.share)
        draw.text((right, middle), text, fill=ink, font=style.font, anchor="rm")
        end = right - style.width(text) - style.gap
    start = left + style.swatch + style.gap
    name = style.shortened(entry.name, end - start + 1)
    draw.text((start, middle), name, fill=ink, font=style.font, anchor="lm")


def _swatch(
    draw: ImageDraw.ImageDraw, colour: Rgba, style: Style, left: int, middle: float
) -> None:
    """Draw a patch of the class's colour; a clear class gets an empty frame."""
    top = round(middle - style.swatch / 2)
    box = (left, top, left + style.swatch, top + style.swatch)
    radius = style.swatch // 5
    line = max(1, style.text // 14)
    if colour[3] == 0:
        draw.rounded_rectangle(box, radius, fill=PAPER, outline=RULE, width=line)
        return
    share = colour[3] / 255
    solid = tuple(round(c * share + p * (1 - share)) for c, p in zip(colour, PAPER, strict=False))
    edge = tuple(round(c * 0.72) for c in solid)
    draw.rounded_rectangle(box, radius, fill=solid, outline=edge, width=line)
