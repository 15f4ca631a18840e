"""One way to write JSON, strict and stable."""

from __future__ import annotations

import enum
import json
import math
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import ml_dtypes
import numpy as np
import pytest

from roadworthy.core.jsonable import dumps, number, plain
from roadworthy.core.signature import Dim, TensorSpec
from roadworthy.core.verdict import Tolerance


class Colour(enum.Enum):
    RED = 1


@dataclass(frozen=True)
class Point:
    x: float
    tags: tuple[str, ...]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (7, 7),
        ("text", "text"),
        (1.5, 1.5),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
        (np.float32(0.5), 0.5),
        (np.float64("nan"), "nan"),
        (np.float16("inf"), "inf"),
        (ml_dtypes.bfloat16(2), 2.0),
        (np.int64(3), 3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (np.str_("t"), "t"),
        (Path("a/b"), "a/b"),
        (Colour.RED, "Colour.RED"),
        ((1, [2, (3,)]), [1, [2, [3]]]),
        ({1: {"a": math.inf}}, {"1": {"a": "inf"}}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"c", "a", "b"}), ["a", "b", "c"]),
        (Point(np.float32(2), ("a",)), {"x": 2.0, "tags": ["a"]}),
        (Tolerance("relative_l2", math.inf, "o"),
         {"metric": "relative_l2", "limit": "inf", "origin": "o", "parts": True}),
        (TensorSpec("x", "float32", (Dim("n"), 3)),
         {"name": "x", "dtype": "float32",
          "shape": [{"name": "n", "low": 1, "high": None, "step": 1}, 3]}),
    ],
)  # fmt: skip
def test_what_has_a_json_form(value: object, expected: object) -> None:
    found = plain(value)
    assert found == expected
    assert json.loads(dumps(value)) == expected


@pytest.mark.parametrize(
    "value",
    [b"bytes", 1j, np.complex64(1), np.longdouble(1), np.zeros(2), object(), Point, {1: {2: b""}}],
)
def test_what_has_none_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no JSON form"):
        plain(value)


def test_the_document_is_strict_indented_readable_and_ends_with_a_line() -> None:
    text = dumps({"a": [math.nan], "b": "straße"})
    assert text == '{\n  "a": [\n    "nan"\n  ],\n  "b": "straße"\n}\n'


def test_file_names_of_any_bytes_can_be_written() -> None:
    name = Path("caf\udce9.png")  # Latin-1 on a UTF-8 system
    document = dumps({"file": name, str(name): str(name)})
    assert json.loads(document.encode("utf-8")) == {
        "file": "caf\\udce9.png",
        "caf\\udce9.png": "caf\\udce9.png",
    }


def test_numbers_come_back() -> None:
    for value in (1.5, math.inf, -math.inf):
        assert number(plain(value)) == value
    assert math.isnan(number(plain(math.nan)))
