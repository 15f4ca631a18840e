"""Colours of classes: read, and chosen where the contract names none.

The first seven are Okabe and Ito's ("Color Universal Design", 2008), made to be told apart by the
colour-blind; the next seven are from Paul Tol's "muted" scheme (2021). Beyond those, hues go
around the circle by the golden angle, which keeps neighbours apart but can't keep that promise.
"""

from __future__ import annotations

import colorsys
import re

from roadworthy.core.errors import InputError

Rgba = tuple[int, int, int, int]

CLEAR = "#00000000"

CHOSEN = (
    *("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"),
    *("#332288", "#44aa99", "#999933", "#cc6677", "#882255", "#117733", "#aa4499"),
)

# A first class of such a name is not drawn.
BACKGROUNDS = frozenset({"background", "bg", "void", "unlabelled", "unlabeled", "none"})

_FORM = re.compile(r"#(?:[0-9a-fA-F]{2}){3,4}")


def rgba(colour: str) -> Rgba:
    """Read `#rrggbb` or `#rrggbbaa`.

    Raises:
        InputError: another form.
    """
    if not isinstance(colour, str) or not _FORM.fullmatch(colour):
        raise InputError(
            f"{colour!r} isn't a colour", remedy='write it as "#rrggbb", or "#rrggbbaa"'
        )
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue, int(colour[7:9] or "ff", 16)


def palette(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Choose a colour for each class; a first class named like a background stays clear."""
    clear = classes[:1] if classes and classes[0].casefold() in BACKGROUNDS else ()
    drawn = len(classes) - len(clear)
    return (*(CLEAR for _ in clear), *(_chosen(index) for index in range(drawn)))


def _chosen(index: int) -> str:
    if index < len(CHOSEN):
        return CHOSEN[index]
    step = index - len(CHOSEN)
    hue, light = (0.08 + step * 0.6180339887498949) % 1.0, (0.45, 0.62, 0.32)[step % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, light, 0.65)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
