"""Read JSON that nobody vouches for: one object, field by field, nothing missing, extra or bent."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from roadworthy.core.errors import BundleError

DAMAGED = "fetch the bundle again from where it was made, or deploy again"

_DEEPEST = 64

_NAMES = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}


def refuse(what: str, where: str, remedy: str = DAMAGED) -> NoReturn:
    """Raise the one error that this folder knows."""
    raise BundleError(what, where=where, remedy=remedy)


def loads(data: bytes, where: str) -> Any:
    """Parse strict JSON: UTF-8, no key twice, no NaN or infinity, no broken characters.

    Raises:
        BundleError: anything else, however deep or long.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_distinct,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        # A lone surrogate (written as \ud800) can't be encoded, so it could not even be printed.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
        _check_depth(value)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BundleError(
            f"a file of the bundle isn't strict JSON: {reason}", where=where, remedy=DAMAGED
        ) from error
    return value


def load_object(data: bytes, where: str) -> dict[str, Any]:
    """Parse strict JSON that must be one object; raises `BundleError`."""
    value = loads(data, where)
    if not isinstance(value, dict):
        refuse(f"a file of the bundle holds {_kind(value)}, not an object", where)
    return value


def _check_depth(value: Any) -> None:
    """Refuse what other code, which may walk it recursively, could not walk."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(_DEEPEST):
        lists = (item.values() if isinstance(item, dict) else item for item in level)
        level = [inner for items in lists for inner in items if isinstance(inner, dict | list)]
        if not level:
            return
    raise RecursionError


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the field {name!r} stands there twice")
        found[name] = value
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} isn't JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text} is out of range")
    return value


class Fields:
    """One JSON object; each field is taken once, `done()` refuses what was not asked for.

    Args:
        value: the parsed JSON.
        at: its place within the document, for messages; "" is the document itself.
        where: the file.
    """

    def __init__(self, value: object, at: str, where: str) -> None:
        self._at = at
        self._where = where
        self._taken: set[str] = set()
        self._value: Mapping[str, Any] = value if isinstance(value, dict) else {}
        if not isinstance(value, dict):
            refuse(f"{at or 'the document'} is {_kind(value)}, not an object", where)

    def refuse(self, key: str, what: str) -> NoReturn:
        """Raise a `BundleError` about one field."""
        refuse(f"{self._path(key)} {what}", self._where)

    def take(self, key: str) -> Any:
        """Return a field of any type."""
        if key not in self._value:
            refuse(f"{self._path(key)} is missing", self._where)
        self._taken.add(key)
        return self._value[key]

    def has(self, key: str) -> bool:
        """Tell whether there is such a field; for those that came later than the schema."""
        return key in self._value

    def text(self, key: str) -> str:
        """Return a string."""
        value = self.take(key)
        if not isinstance(value, str):
            self.refuse(key, f"is {_kind(value)}, not text")
        return value

    def optional_text(self, key: str) -> str | None:
        """Return a string, or None for null."""
        return None if self.take(key) is None else self.text(key)

    def integer(self, key: str, low: int = 0) -> int:
        """Return a whole number of at least `low`."""
        value = self.take(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            self.refuse(key, f"is {_kind(value)}, not a whole number of at least {low}")
        return value

    def optional_integer(self, key: str, low: int = 0) -> int | None:
        """Return a whole number of at least `low`, or None for null."""
        return None if self.take(key) is None else self.integer(key, low)

    def flag(self, key: str) -> bool:
        """Return true or false."""
        value = self.take(key)
        if not isinstance(value, bool):
            self.refuse(key, f"is {_kind(value)}, not true or false")
        return value

    def items(self, key: str) -> list[Any]:
        """Return a list of anything."""
        value = self.take(key)
        if not isinstance(value, list):
            self.refuse(key, f"is {_kind(value)}, not a list")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings."""
        values = self.items(key)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                self.refuse(key, f"holds {_kind(value)} at {index}, not text")
        return tuple(values)

    def child(self, key: str) -> Fields:
        """Return an object."""
        return Fields(self.take(key), self._path(key), self._where)

    def children(self, key: str) -> list[Fields]:
        """Return a list of objects."""
        values = self.items(key)
        path = self._path(key)
        return [Fields(value, f"{path}[{i}]", self._where) for i, value in enumerate(values)]

    def within(self, key: str, value: object) -> Fields:
        """Return an object that was found in the list `key`."""
        return Fields(value, f"{self._path(key)}[]", self._where)

    def named_children(self, key: str) -> list[tuple[str, Fields]]:
        """Return an object of objects: every name with its object."""
        values = Fields(self.take(key), self._path(key), self._where)
        return [(name, values.child(name)) for name in values._value]

    def texts_by_name(self, key: str) -> dict[str, str]:
        """Return an object of strings."""
        values = self.child(key)
        return {name: values.text(name) for name in values._value}

    def integers_by_name(self, key: str) -> dict[str, int]:
        """Return an object of whole numbers, none negative."""
        values = self.child(key)
        return {name: values.integer(name) for name in values._value}

    def done(self) -> None:
        """Refuse fields that nobody asked for."""
        extra = [name for name in self._value if name not in self._taken]
        if extra:
            refuse(f"{self._path(extra[0])} is no field of this schema", self._where)

    def _path(self, key: str) -> str:
        return f"{self._at}.{key}" if self._at else key


def _kind(value: object) -> str:
    return _NAMES.get(type(value)) or f"the number {value!r:.40}"
