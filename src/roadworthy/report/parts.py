"""The parts that every section is made of: headings, facts, tables, marks, notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roadworthy.report import format as fmt
from roadworthy.report.markup import EMPTY, Html, el, foreign, text

# Paths in a 16 × 16 box; the word stands beside each, no meaning is in colour or shape alone.
_MARKS = {
    "good": "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm-1.1 10.2L3.7 8l1.2-1.2 2 2 4.2-4.3 1.2 1.2Z",
    "bad": "M5.1 1h5.8L15 5.1v5.8L10.9 15H5.1L1 10.9V5.1Zm.4 3.3L4.3 5.5 6.8 8l-2.5 2.5 1.2 1.2L8 "
    "9.2l2.5 2.5 1.2-1.2L9.2 8l2.5-2.5-1.2-1.2L8 6.8Z",
    "care": "M8 1.2 15.4 14.5H.6ZM7.2 6v4.2h1.6V6Zm0 5.2v1.6h1.6v-1.6Z",
}
_MOST_SHOWN = 5


def mark(kind: str) -> Html:
    """Return a small picture: "good" (a tick), "bad" (a cross) or "care" (a triangle)."""
    path = el("path", d=_MARKS[kind], fill_rule="evenodd")
    return el("svg", path, class_=f"mark {kind}", viewBox="0 0 16 16", aria_hidden="true")


def outcome(passed: bool, good: str = "passed", bad: str = "FAILED") -> Html:
    """Return the mark and the word for one judgement."""
    kind = "good" if passed else "bad"
    return el("span", mark(kind), text(good if passed else bad), class_=f"outcome {kind}")


def caution(value: str) -> Html:
    """Return a finding that must not be missed."""
    return el("span", mark("care"), foreign(value), class_="outcome care")


def section(title: str, *children: Html, class_: str | None = None) -> Html:
    """Return a part of one certificate, with its heading."""
    return el("section", el("h3", text(title)), *children, class_=class_)


def paragraph(value: str, class_: str | None = None) -> Html:
    """Return a paragraph of plain text."""
    return el("p", text(value), class_=class_)


def bullets(items: Iterable[Html], class_: str | None = None) -> Html:
    """Return a list, nothing when it is empty."""
    lines = [el("li", item) for item in items]
    return el("ul", *lines, class_=class_) if lines else EMPTY


def folded(title: str, *children: Html) -> Html:
    """Return what the reader unfolds: no script is needed for it."""
    return el("details", el("summary", foreign(title)), *children)


def several(items: Sequence[Html], none: str = "none") -> Html:
    """Return one item as it is, more as a list, and a word for none."""
    if len(items) == 1:
        return items[0]
    return bullets(items) or text(none)


def short(items: Sequence[Html], noun: str) -> Html:
    """Return some items as `several` does, many as a list that the reader unfolds."""
    if len(items) <= _MOST_SHOWN:
        return several(items)
    return folded(fmt.counted(len(items), noun), bullets(items))


def facts(pairs: Iterable[tuple[str, Html]], class_: str = "facts") -> Html:
    """Return labels with their values."""
    rows = [el("div", el("dt", foreign(label)), el("dd", value)) for label, value in pairs]
    return el("dl", *rows, class_=class_) if rows else EMPTY


@dataclass(frozen=True)
class Column:
    """A column's heading; `number` aligns it to the right and keeps it on one line."""

    title: str
    number: bool = False


def table(
    columns: Sequence[Column], rows: Iterable[Sequence[Html]], class_: str | None = None
) -> Html:
    """Return a table. The first column names the row.

    On a narrow screen each row is a card; of the class "compact", a long list of little, a line.
    """
    head = el("tr", *(el("th", text(c.title), scope="col", class_=_class(c)) for c in columns))
    body = [el("tr", *_cells(columns, row)) for row in rows]
    return el("table", el("thead", head), el("tbody", *body), class_=class_)


def _cells(columns: Sequence[Column], row: Sequence[Html]) -> Iterable[Html]:
    for index, (column, value) in enumerate(zip(columns, row, strict=True)):
        if index == 0:
            yield el("th", value, scope="row")
        else:
            # The cell's content is one box, so that a card can put its label beside it.
            yield el("td", el("span", value), data_label=column.title, class_=_class(column))


def _class(column: Column) -> str | None:
    return "number" if column.number else None


def value(anything: Any, key: str = "") -> Html:
    """Return any JSON value; a key that ends in "bytes" makes a number a size."""
    if isinstance(anything, Mapping):
        pairs = [(str(name), value(item, str(name))) for name, item in anything.items()]
        return facts(pairs, "facts inner") or text("none")
    if isinstance(anything, list | tuple):
        return several([value(item, key) for item in anything])
    if anything is None:
        return text(fmt.NONE)
    if isinstance(anything, bool):
        return text("yes" if anything else "no")
    if isinstance(anything, int):
        return text(fmt.size(anything) if key.endswith("bytes") else fmt.count(anything))
    if isinstance(anything, float):
        return text(fmt.number(anything))
    return foreign(str(anything))
