"""Checks of single values read from a contract. Each names the field and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from roadworthy.core.errors import InputError

LARGEST_SIDE = 32768
LARGEST_NUMBER = 3.4e38


def choice(field: str, value: Any, allowed: Sequence[Any]) -> None:
    """Refuse a value that isn't one of the allowed ones."""
    # 8.0 == 8 and True == 1 in Python, but they are other JSON values.
    if not any(type(value) is type(item) and value == item for item in allowed):
        raise InputError(
            f"{field!r} is {_show(value)}",
            remedy=f"write one of {', '.join(_show(item) for item in allowed)}",
        )


def number(field: str, value: Any) -> None:
    """Refuse anything but a finite number."""
    if not _is_number(value):
        raise InputError(f"{field!r} is {_show(value)}", remedy="write a finite number")


def numbers(field: str, value: Any) -> None:
    """Refuse anything but a finite number or a non-empty list of them (one per channel)."""
    items = value if isinstance(value, tuple) else (value,)
    if not items or not all(_is_number(item) for item in items):
        raise InputError(
            f"{field!r} is {_show(value)}",
            remedy="write a finite number, or a list of one per channel",
        )


def sides(field: str, value: Any, *, one: bool) -> None:
    """Refuse anything but [height, width] of at least 1, or, with `one`, a single such number."""
    items: tuple[Any, ...] = value if isinstance(value, tuple) and len(value) == 2 else ()
    if one and not isinstance(value, tuple):
        items = (value,)
    if not items or not all(_is_side(item) for item in items):
        form = "a number of pixels, or [height, width]" if one else "[height, width]"
        raise InputError(
            f"{field!r} is {_show(value)}",
            remedy=f"write {form}, in whole pixels from 1 to {LARGEST_SIDE}",
        )


def text(field: str, value: Any) -> None:
    """Refuse anything but a non-empty string."""
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{field!r} is {_show(value)}", remedy="write a name")


def fields(data: Any, allowed: Sequence[str], required: Sequence[str], what: str) -> None:
    """Refuse anything but an object with all required and no unknown fields."""
    if not isinstance(data, Mapping):
        raise InputError(
            f"{what} is {_show(data)}, not an object",
            remedy=f"write an object with the fields {', '.join(allowed)}",
        )
    for name in data:
        if name not in allowed:
            raise InputError(
                f"{what} has no field {name!r}", remedy=f"its fields are {', '.join(allowed)}"
            )
    for name in required:
        if name not in data:
            raise InputError(
                f"{what} lacks the field {name!r}", remedy=f"its fields are {', '.join(allowed)}"
            )


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # Whole numbers of JSON have no limit, those of float32 do; NaN compares false.
    return abs(value) <= LARGEST_NUMBER


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_SIDE


def _show(value: Any) -> str:
    shown = repr(list(value) if isinstance(value, tuple) else value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
