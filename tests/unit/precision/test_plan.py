"""A plan as plain data: what it says, and what it refuses to be read from."""

from __future__ import annotations

import copy
import json

import pytest

from roadworthy.core.errors import InputError
from roadworthy.precision.plan import Decision, PrecisionPlan, Quantized

PLAN = PrecisionPlan(
    "int8",
    "tensorrt",
    (
        Decision("a", "Conv", "fp32", "first layer"),
        Decision("b", "Conv", "int8"),
        Decision("c", "MatMul", "fp32", "first layer"),
    ),
    (Quantized("x", "uint8", (0.5,), (7,)), Quantized("w", "int8", (0.5, 0.1), (0, 0), 1, True)),
    {"samples": "sha256:0"},
)


def test_its_exceptions_come_with_reasons() -> None:
    assert [item.node for item in PLAN.exceptions] == ["a", "c"]
    assert PLAN.dtype_of("b") == "int8"
    assert PLAN.dtype_of("nobody") is None
    assert str(PLAN) == (
        "int8 plan for tensorrt: 2 nodes in fp32, 1 nodes in int8\n  2 × first layer"
    )


def changed(*path, to):
    data = copy.deepcopy(PLAN.to_json())
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return data


JUNK = {
    "nothing": None,
    "a list": [],
    "a number": 3,
    "an empty object": {},
    "another schema": changed("schema", to="roadworthy/precision-plan/0"),
    "decisions of another shape": changed("decisions", 0, to=["a"]),
    "decisions that are a number": changed("decisions", to=4),
    "a tensor without a scale": changed("tensors", 0, to={"tensor": "x"}),
    "a scale that is text": changed("tensors", 0, "scale", to=["a"]),
    "a scale of zero": changed("tensors", 0, "scale", to=[0.0]),
    "a negative scale": changed("tensors", 0, "scale", to=[-1.0]),
    "a scale of NaN": changed("tensors", 0, "scale", to=[float("nan")]),
    "an infinite scale": changed("tensors", 0, "scale", to=[float("inf")]),
    "an infinite zero-point": changed("tensors", 0, "zero_point", to=[float("inf")]),
    "more zero-points than scales": changed("tensors", 0, "zero_point", to=[1, 2]),
    "scales without an axis": changed("tensors", 1, "axis", to=None),
    "an account that is a number": changed("account", to=5),
}


@pytest.mark.parametrize("name", JUNK)
def test_junk_is_refused(name) -> None:
    with pytest.raises(InputError, match="no precision plan") as refused:
        PrecisionPlan.from_json(JUNK[name], "plan.json")
    assert refused.value.where == "plan.json"
    assert refused.value.remedy


def test_what_was_written_is_read() -> None:
    assert PrecisionPlan.from_json(json.loads(json.dumps(PLAN.to_json())), "here") == PLAN
