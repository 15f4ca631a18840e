"""A certificate's JSON back into its dataclasses: who reads one relies on checked types."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, Union

from roadworthy.core.certificate import SCHEMA, Certificate
from roadworthy.core.errors import BundleError, UsageError
from roadworthy.core.lowered import LoweringAccount
from roadworthy.core.signature import Signature

_NOT_FINITE = ("inf", "-inf", "nan")


def read_certificate(data: Mapping[str, Any], where: str) -> Certificate:
    """Return the certificate that `core.jsonable.dumps` wrote; keys that are unknown are left out.

    Args:
        data: the JSON object. Floats may be "inf", "-inf" or "nan"; optional fields may be absent.
        where: names the certificate in errors.

    Raises:
        BundleError: another schema, a field that is missing or of another type.
    """
    if data.get("schema") != SCHEMA:
        raise BundleError(
            f"the certificate has schema {data.get('schema')!r:.60}, this version reads {SCHEMA!r}",
            where=where,
            remedy="use the roadworthy version that wrote it, or deploy again",
        )
    read = _read(Certificate, data, "", where)
    assert isinstance(read, Certificate)
    try:
        Signature.from_json(read.model.signature)
    except (KeyError, TypeError, AttributeError, UsageError) as error:
        raise _wrong("model.signature isn't a signature", where) from error
    if read.lowering is not None:
        read_lowering(read.lowering, where)
    return read


def read_lowering(data: Mapping[str, Any], where: str) -> LoweringAccount:
    """Return a certificate's `lowering`, checked.

    Raises:
        BundleError: a field that is missing or of another type.
    """
    read = _read(LoweringAccount, data, "lowering", where)
    assert isinstance(read, LoweringAccount)
    return read


def _read(kind: Any, value: Any, path: str, where: str) -> Any:
    """Return the value as this type; `path` is the field's place in the certificate."""
    if kind is Any or kind is object:
        return value
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return _read(next(one for one in inner if one is not type(None)), value, path, where)
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return _read_fields(kind, value, path, where)
    if (
        origin is tuple
        and isinstance(value, list | tuple)
        and (inner[-1] is Ellipsis or len(inner) == len(value))
    ):
        return tuple(_read(inner[0], one, f"{path}[{i}]", where) for i, one in enumerate(value))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        if isinstance(value, Mapping):
            return {
                str(key): _read(inner[1], one, f"{path}.{key}", where) for key, one in value.items()
            }
    elif _fits(kind, origin, inner, value):
        return float(value) if kind is float else value
    raise _wrong(
        f"{path or 'the certificate'} is {value!r:.80}, which isn't what stands there", where
    )


def _read_fields(kind: Any, value: Mapping[str, Any], path: str, where: str) -> Any:
    found = {}
    hints = _hints(kind)
    for item in dataclasses.fields(kind):
        place = f"{path}.{item.name}" if path else item.name
        if item.name in value:
            found[item.name] = _read(hints[item.name], value[item.name], place, where)
        elif type(None) in typing.get_args(hints[item.name]):
            found[item.name] = None
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise _wrong(f"{place} is missing", where)
    return kind(**found)


def _fits(kind: Any, origin: Any, inner: tuple[Any, ...], value: Any) -> bool:
    if origin is typing.Literal:
        return value in inner
    if kind is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return isinstance(value, float) or abs(value) <= sys.float_info.max
        return value in _NOT_FINITE
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return kind in (bool, str) and isinstance(value, kind)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _wrong(what: str, where: str) -> BundleError:
    return BundleError(
        f"the certificate can't be read: {what}",
        where=where,
        remedy="the file was changed or is damaged; deploy again",
    )
