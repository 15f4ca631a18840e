"""What every section shares: its form, tables, ratios, and which machine a record comes from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chart import table

Json = Mapping[str, Any]
Render = Callable[[Json], str]
"""Takes a record, returns Markdown; an empty text where the record has no rows for it."""

# A heading of the record's own text must not become one of the page.
_SPECIAL = re.compile(r"([|<>*_`\[\]])")


@dataclass(frozen=True)
class Section:
    """One benchmark's place in README.md and RESULTS.md.

    Attributes:
        name: the record is `results/NAME.json`; README.md has a marker of this name.
        title: its heading.
        about: what is measured and how, without figures.
        command: what repeats it, from the repository's root.
        packages: those whose versions matter.
        headline: for README.md; None: it is in RESULTS.md only.
        full: for RESULTS.md.
    """

    name: str
    title: str
    about: str
    command: str
    packages: tuple[str, ...]
    headline: Render | None
    full: Render


@dataclass(frozen=True)
class Ratio:
    """Another side's time over ours, with its interval: above 1 ours is quicker."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, found: Json) -> Ratio:
        """Read the form {"ratio", "low", "high"}."""
        return cls(found["ratio"], found["low"], found["high"])

    def __str__(self) -> str:
        return f"{self.value:.2f}× [{self.low:.2f}, {self.high:.2f}]"

    @property
    def is_slower(self) -> bool:
        """Ours is slower, the whole interval says so."""
        return self.high < 1.0

    @property
    def is_open(self) -> bool:
        """The interval doesn't tell which is quicker."""
        return self.low <= 1.0 <= self.high


def grid(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; nothing where there are no rows.

    Raises:
        ValueError: a row of another length.
    """
    lines = [list(row) for row in rows]
    if any(len(line) != len(head) for line in lines):
        raise ValueError(f"a row hasn't the {len(head)} cells of {list(head)}")
    return table(list(head), lines) if lines else ""


def cell(text: object) -> str:
    """Return a record's own text for a table: nothing in it is Markdown."""
    return _SPECIAL.sub(r"\\\1", str(text))


def joined(*parts: str) -> str:
    """Join paragraphs and tables, without the empty ones."""
    return "\n\n".join(part.strip() for part in parts if part.strip())


def in_words(ratios: Iterable[tuple[str, Ratio]]) -> str:
    """Say plainly what ours is slower than, and where the interval can't tell."""
    found = list(ratios)
    slower = [f"{what} {ratio}" for what, ratio in found if ratio.is_slower]
    unclear = [f"{what} {ratio}" for what, ratio in found if ratio.is_open]
    said = []
    if slower:
        said.append(f"**Ours is slower than** {'; '.join(slower)}.")
    if unclear:
        said.append(f"The interval doesn't tell which is quicker: {'; '.join(unclear)}.")
    return " ".join(said)


def machine(record: Json, packages: Iterable[str]) -> str:
    """Return what a record says of its machine and of these packages."""
    found: Json = record.get("environment") or record.get("machine") or {}
    versions = found.get("packages", {})
    said = [str(found[key]) for key in ("gpu", "cpu") if found.get(key)]
    if found.get("cpus_usable") and not found.get("gpu"):
        said.append(f"{found['cpus_usable']} cores")
    said += [f"{name} {versions[name]}" for name in packages if name in versions]
    prints = [step.get("fingerprint", {}) for step in record.get("steps", {}).values()]
    said += dict.fromkeys(f"{one['runtime']} {one['version']}" for one in prints if one)
    return ", ".join(said)


def origin(section: Section, record: Json, link: str) -> str:
    """Return a section's last line: machine, date, the command that repeats it, the record."""
    told = [machine(record, section.packages)]
    if record.get("recorded"):
        told.append(f"recorded {record['recorded']}")
    told += [f"repeat: `{section.command}`", f"[{section.name}.json]({link})"]
    return f"<sub>{' · '.join(part for part in told if part)}</sub>"
