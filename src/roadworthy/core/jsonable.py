"""One way to write JSON: dataclasses, paths and NumPy scalars in; strict, stable text out."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Return the value as JSON types. Infinities and NaN become the strings "inf", "-inf", "nan".

    Text that isn't Unicode (file names may hold any bytes) is written with backslashes.

    Raises:
        TypeError: a type that has no JSON form here.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if hasattr(value, "to_json"):
        return plain(value.to_json())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [
            plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)
        ]
    if isinstance(value, Path | Enum):
        return plain(str(value))
    if isinstance(value, np.generic) and not isinstance(value.item(), np.generic):
        return plain(value.item())
    raise TypeError(f"no JSON form for {type(value).__name__}")


def dumps(value: Any) -> str:
    """Return strict JSON, indented, with a final newline."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def number(value: Any) -> float:
    """Read back a float that `plain` may have written as a string."""
    return float(value)
