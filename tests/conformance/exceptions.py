"""The tests that a backend doesn't pass, by name, each with its reason: `<backend>_*.json`.

`<backend>_refused.json` is a list of groups: `reason`, `says` (text that must be in the error, so
that a test can't be refused for another reason than the one given), `tests`, and where it hangs on
the machine `unless_locale` (the group counts only where that locale isn't installed).

`<backend>_wrong.json` is a list of groups: `kind`, `reason`, `caught` (whether verification against
the expected answers must fail; false only where the difference is rounding), `tests`, and where
other processors get it right `unless_cpu` (the group counts only where that instruction set is
missing).
"""

from __future__ import annotations

import json
import locale
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from roadworthy.core.cpus import cpu_features

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Refusal:
    """Why a group of tests isn't run, and words of the error that says so."""

    reason: str
    says: str
    tests: tuple[str, ...]
    unless_locale: str | None = None


@dataclass(frozen=True)
class Wrong:
    """Why a group of tests gets another answer than the standard's."""

    kind: str
    reason: str
    caught: bool
    tests: tuple[str, ...]
    unless_cpu: str | None = None


@cache
def refusals(backend: str) -> dict[str, Refusal]:
    """Return the refused tests of a backend, as far as they hold on this machine."""
    groups = [_group(Refusal, data) for data in _read(f"{backend}_refused.json")]
    held = [group for group in groups if not _has_locale(group.unless_locale)]
    return {test: group for group in held for test in group.tests}


@cache
def wrongs(backend: str) -> dict[str, Wrong]:
    """Return the tests that a backend answers otherwise than the standard on this machine."""
    groups = [_group(Wrong, data) for data in _read(f"{backend}_wrong.json")]
    here = cpu_features() or frozenset()
    held = [group for group in groups if group.unless_cpu not in here]
    return {test: group for group in held for test in group.tests}


def listed(backend: str) -> list[str]:
    """Return every listed name, repeated if it is listed twice, whatever the machine."""
    groups = [*_read(f"{backend}_refused.json"), *_read(f"{backend}_wrong.json")]
    return [test for group in groups for test in group["tests"]]


def _read(name: str):
    return json.loads((HERE / name).read_text())


def _group(kind, data):
    return kind(**{**data, "tests": tuple(data["tests"])})


def _has_locale(name: str | None) -> bool:
    if name is None:
        return False
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_CTYPE, before)
    return True
