"""What a network's `forward` returns, as plain data, and put together again from tensors.

The data is JSON, so that it can ship: no class is ever imported or unpickled to rebuild a result.

    {"kind": "tensor", "name": "logits"}                       that output
    {"kind": "none"}                                           an optional result, left out
    {"kind": "list" | "tuple", "items": […]}
    {"kind": "dict", "keys": […], "items": […]}                keys: text, integers, bools, None
    {"kind": "namedtuple" | "dataclass" | "record", "type": "Boxes", "keys": […], "items": […]}

A named tuple or a dataclass comes back as one of the same name and fields, but of a class made
here; a mapping whose items are attributes too (`transformers`' `ModelOutput`) as a `Record`.
"""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from keyword import iskeyword
from typing import Any

import torch

from roadworthy.core.errors import BundleError, UsageError
from roadworthy.source.torch.outputs import flatten

_NAMED = ("namedtuple", "dataclass", "record")
_FIELDS: dict[str, set[str]] = {
    "tensor": {"name"},
    "none": set(),
    "list": {"items"},
    "tuple": {"items"},
    "dict": {"keys", "items"},
    **{kind: {"type", "keys", "items"} for kind in _NAMED},
}
_DEEPEST = 64
"""Levels; far deeper than any network's result, far from Python's own limit."""


class Record(dict[str, Any]):
    """A mapping whose items are attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this result has no {name!r}, only {list(self)}") from None


def describe(value: Any, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the structure of what `forward` returned.

    Args:
        value: tensors, in any nesting that `outputs.flatten` takes.
        names: the outputs' names, None for their own.

    Raises:
        UsageError: something that can't be put together again, e.g. a dict keyed by tuples.
    """
    return _describe(value, iter([name for name, _ in flatten(value, names)]), 0)


def _describe(value: Any, names: Iterator[str], depth: int) -> dict[str, Any]:
    """Walk in the order of `outputs.flatten`, which also says what is what."""
    if depth > _DEEPEST:
        raise UsageError(f"the network's result is nested deeper than {_DEEPEST} levels")
    if isinstance(value, torch.Tensor):
        return {"kind": "tensor", "name": next(names)}
    if value is None:
        return {"kind": "none"}
    keys, items, kind = _parts(value)
    found: dict[str, Any] = {"kind": kind}
    if kind in _NAMED:
        found["type"] = type(value).__name__
    if keys is not None:
        found["keys"] = keys
    found["items"] = [_describe(item, names, depth + 1) for item in items]
    complaint = _complaint(found)
    if complaint:
        raise UsageError(
            f"a result of this form can't be put together again: {complaint}",
            where=f"a {type(value).__name__} that forward() returns",
            remedy="return a dict keyed by text, or wrap the network in a module that does",
        )
    return found


def _parts(value: Any) -> tuple[list[Any] | None, list[Any], str]:
    if isinstance(value, Mapping):
        kind = "record" if dataclasses.is_dataclass(value) else "dict"
        return list(value), list(value.values()), kind
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(value._fields), list(value), "namedtuple"
    if isinstance(value, list | tuple):
        return None, list(value), "list" if isinstance(value, list) else "tuple"
    keys = [field.name for field in dataclasses.fields(value)]
    return keys, [getattr(value, key) for key in keys], "dataclass"


def rebuild(structure: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Any:
    """Put tensors together as `structure`, which was checked, says."""
    kind = structure["kind"]
    if kind == "tensor":
        return tensors[structure["name"]]
    if kind == "none":
        return None
    items = [rebuild(item, tensors) for item in structure["items"]]
    if kind == "list":
        return items
    if kind == "tuple":
        return tuple(items)
    keys = structure["keys"]
    if kind == "dict":
        return dict(zip(keys, items, strict=True))
    if kind == "record":
        return Record(zip(keys, items, strict=True))
    return _made(kind, structure["type"], tuple(keys))(*items)


@cache
def _made(kind: str, name: str, keys: tuple[str, ...]) -> Any:
    """Return a class for these fields, always the same one."""
    if kind == "namedtuple":
        return namedtuple(name, keys)
    return dataclasses.make_dataclass(name, keys)


def check_structure(value: Any, outputs: Sequence[str], where: str) -> dict[str, Any]:
    """Check a structure that was read from a file.

    Args:
        value: the data.
        outputs: the outputs' names; each stands in it exactly once.
        where: names the file in errors.

    Raises:
        BundleError: it isn't of the form above.
    """
    found: list[str] = []
    complaint = _checked(value, found, 0)
    if not complaint and sorted(found) != sorted(outputs):
        complaint = f"it names the outputs {found}, the network has {list(outputs)}"
    if complaint:
        raise BundleError(
            f"how the results are put together can't be read: {complaint}",
            where=where,
            remedy="the bundle was changed; deploy again",
        )
    assert isinstance(value, dict)
    return value


def _checked(value: Any, found: list[str], depth: int) -> str:
    complaint = _complaint(value) if depth <= _DEEPEST else "it is nested too deep"
    if complaint:
        return complaint
    if value["kind"] == "tensor":
        found.append(value["name"])
    return next(filter(None, (_checked(i, found, depth + 1) for i in value.get("items", ()))), "")


def _complaint(value: Any) -> str:
    """Say what is wrong with one level, "" when nothing is."""
    if not isinstance(value, dict):
        return "a level isn't an object"
    kind = value.get("kind")
    fields = _FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None or value.keys() - {"kind"} != fields:
        return f"there is no {kind!r} with {sorted(value.keys() - {'kind'})}"
    if not isinstance(value.get("items", []), list) or not isinstance(value.get("keys", []), list):
        return "keys or items aren't a list"
    if not isinstance(value.get("name", ""), str):
        return "a tensor's name isn't text"
    keys = value.get("keys")
    if keys is not None and len(keys) != len(value["items"]):
        return f"{len(keys)} keys for {len(value['items'])} items"
    return _bad_keys(keys or [], kind, value.get("type", "Any"))


def _bad_keys(keys: list[Any], kind: Any, name: Any) -> str:
    if not all(key is None or type(key) in (str, int, bool) for key in keys):
        return "a key is neither text nor an integer"
    if len(set(keys)) != len(keys):
        return "a key stands there twice"
    if kind not in _NAMED:
        return ""
    texts = [name, *keys]
    if kind == "record":
        return "" if all(isinstance(text, str) for text in texts) else "a field's name isn't text"
    fine = all(
        isinstance(text, str) and text.isidentifier() and not iskeyword(text) for text in texts
    ) and not any(key.startswith("_") for key in keys)
    return "" if fine else "a name isn't that of a field"
