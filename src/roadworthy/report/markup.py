"""HTML from small typed functions: foreign text can't enter a page but through `text`.

`Html` is a type of its own, so the type checker refuses a plain string where markup is expected;
every element is written by `el`, so every element is closed.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import NewType

Html = NewType("Html", str)
"""Markup that is safe to place in a page."""

EMPTY = Html("")

_LONG_WORD = 18
_VOID = frozenset({"meta", "img", "br", "link"})
# What HTML can't hold or a reader can't see: control characters, halves of surrogate pairs (file
# names that aren't UTF-8), and characters that reorder or hide their neighbours.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff"
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


def visible(value: str) -> str:
    """Return the text with unseen characters spelled out, as ⟨U+202E⟩; tabs and newlines stay."""
    return _UNSEEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", value.replace("\r\n", "\n"))


def text(value: str) -> Html:
    """Return text of ours or anyone's as markup: escaped, unseen characters spelled out."""
    return Html(html.escape(visible(value), quote=True))


def foreign(value: str) -> Html:
    """Return text that came from a file: like `text`, and its direction is kept to itself.

    A word longer than a column may break anywhere; others stay whole.
    """
    long = max(map(len, value.split()), default=0) > _LONG_WORD
    return el("bdi", text(value), class_="long" if long else None)


def code(value: str) -> Html:
    """Return a name, digest or path from a file, in the fixed-width face."""
    return el("code", foreign(value))


def el(name: str, *children: Html, **attributes: str | None) -> Html:
    """Return one element.

    Args:
        name: the element.
        children: what is inside, in order.
        attributes: escaped here; `class_` becomes class, underscores become hyphens, None is left
            out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{''.join(children)}</{name}>")


def join(parts: Iterable[Html], between: str = "") -> Html:
    """Return the parts one after another, with this text between them."""
    return Html(text(between).join(parts))
