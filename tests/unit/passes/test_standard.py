"""Each standard pass: ONNX text in, expected operators out."""

from __future__ import annotations

import importlib.util

import numpy as np
import onnx_ir as ir
import pytest

from roadworthy.passes.base import Pass, PassRefused
from roadworthy.passes.catalogue import standard_passes
from roadworthy.passes.simplify import Simplify
from roadworthy.passes.slim import Slim
from roadworthy.passes.tidy import Tidy
from tests.models import network, normal


def operators(item: Pass, body: str, **weights: np.ndarray) -> list[str]:
    """Apply a pass to a graph of one input and output; return its operators."""
    model = network(f"g (float[n, 2] x) => (float[n, 2] y) {{ {body} }}", weights)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    result = item(model)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    return [node.op_type for node in result.model.graph]


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("c = Constant<value_floats = [1.0, 2.0]>() y = Add(x, c)", ["Add"]),  # case 1
        ("a = Exp(x) b = Identity(a) y = Neg(b)", ["Exp", "Neg"]),  # case 2
        ("a = Exp(x) b = Exp(x) y = Add(a, b)", ["Exp", "Add"]),  # case 3
        ("a = Exp(x) b = Log(a) y = Neg(a)", ["Exp", "Neg"]),  # case 5
        ("a = Exp(x) b = Log(x) y = Add(a, b)", ["Exp", "Log", "Add"]),  # nothing to do
    ],
)
def test_tidy_removes_what_computes_nothing(body: str, left: list[str]) -> None:
    assert operators(Tidy(), body) == left


def test_tidy_stores_equal_weights_once() -> None:  # case 4
    w = normal(2)
    model = network(
        "g (float[n, 2] x) => (float[n, 2] y) { a = Add(x, w1) y = Mul(a, w2) }",
        {"w1": w, "w2": w.copy(), "unused": w},
    )
    after = Tidy()(model).model
    assert len(after.graph.initializers) == 1
    assert len(model.graph.initializers) == 3


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (
            "a = Constant<value_float = 2.0>() b = Constant<value_float = 3.0>() "
            "c = Mul(a, b) y = Add(x, c)",
            ["Add"],
        ),
        ("p = Transpose<perm = [1, 0]>(x) q = Transpose<perm = [1, 0]>(p) y = Neg(q)", ["Neg"]),
    ],
)
def test_simplify_folds_and_fuses(body: str, left: list[str]) -> None:
    found = operators(Simplify(), body)
    assert [name for name in found if name != "Constant"] == left


def test_simplify_fuses_a_batch_normalisation() -> None:
    model = network(
        """g (float[n, 1, 4, 4] x) => (float[n, 2, h, w] y) {
            c = Conv(x, k) y = BatchNormalization(c, scale, bias, mean, var)
        }""",
        {
            "k": normal(2, 1, 3, 3),
            "scale": normal(2),
            "bias": normal(2),
            "mean": normal(2),
            "var": np.abs(normal(2)) + 1,
        },
    )
    assert [node.op_type for node in Simplify()(model).model.graph] == ["Conv"]


def test_a_simplifier_that_raises_is_a_refusal_with_its_first_line() -> None:
    """A graph whose wires lead nowhere: no simplifier can read it."""
    model = network("g (float[n, 2] x) => (float[n, 2] y) { a = Exp(x) y = Neg(a) }")
    model.graph[1].replace_input_with(0, ir.Value(name="nowhere"))
    with pytest.raises(PassRefused) as caught:
        Simplify()(model)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_slim_without_its_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PassRefused, match=r"roadworthy\[slim\]"):
        Slim()(network("g (float[n] x) => (float[n] y) { y = Exp(x) }"))


def test_every_standard_pass_has_a_name_of_its_own_and_leaves_its_input_alone() -> None:
    passes = standard_passes()
    assert len({item.name for item in passes}) == len(passes)
    assert not any(item.in_place for item in passes)
