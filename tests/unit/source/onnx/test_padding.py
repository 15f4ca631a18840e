"""Padding that ONNX's own reference evaluator gets wrong: both oracles must agree on each."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx.reference import ReferenceEvaluator

from roadworthy.core.signature import Array
from roadworthy.source.onnx.oracles import EvaluatorOracle
from roadworthy.source.onnx.padding import Conv, MaxPool
from tests.models import network, normal

PADS = ("VALID", "SAME_UPPER", "SAME_LOWER")


def onnxruntime(model: ir.Model, x: Array) -> Array:
    content = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    found: Array = session.run(None, {"x": x})[0]
    return found


def evaluated(model: ir.Model, x: Array) -> Array:
    found: Array = ReferenceEvaluator(ir.to_proto(model), new_ops=[Conv, MaxPool]).run(
        None, {"x": x}
    )[0]
    return found


@pytest.mark.parametrize("how", PADS)
def test_conv(how: str) -> None:
    for size, kernel, stride, group in itertools.product(
        (6, 7, 9), (1, 2, 3, 4), (1, 2, 3), (1, 2)
    ):
        stated = f'auto_pad = "{how}", strides = [{stride}, {stride}], group = {group}'
        model = network(
            f"g (float[1, 4, {size}, {size}] x) => (float[1, 4, h, w] y)"
            f" {{ y = Conv<{stated}>(x, w) }}",
            {"w": normal(4, 4 // group, kernel, kernel, seed=1)},
        )
        x = normal(1, 4, size, size)
        wanted = onnxruntime(model, x)
        np.testing.assert_allclose(evaluated(model, x), wanted, atol=1e-4, err_msg=stated)


@pytest.mark.parametrize("how", PADS)
@pytest.mark.parametrize("axes", [1, 3])
def test_conv_of_other_ranks(how: str, axes: int) -> None:
    sizes = ", ".join("7" * axes)
    model = network(
        f"g (float[1, 2, {sizes}] x) => (float[1, 3, {', '.join('hwd'[:axes])}] y)"
        f' {{ y = Conv<auto_pad = "{how}", strides = [{", ".join("2" * axes)}]>(x, w) }}',
        {"w": normal(3, 2, *[3] * axes, seed=1)},
    )
    x = normal(1, 2, *[7] * axes)
    np.testing.assert_allclose(evaluated(model, x), onnxruntime(model, x), atol=1e-4)


def test_conv_with_dilations_and_no_padding() -> None:
    model = network(
        "g (float[1, 2, 9, 9] x) => (float[1, 3, h, w] y)"
        ' { y = Conv<auto_pad = "VALID", dilations = [2, 3]>(x, w) }',
        {"w": normal(3, 2, 3, 3, seed=1)},
    )
    x = normal(1, 2, 9, 9)
    np.testing.assert_allclose(evaluated(model, x), onnxruntime(model, x), atol=1e-4)


@pytest.mark.parametrize(
    "how", [*(f'auto_pad = "{one}"' for one in PADS), "pads = [0, 0, 1, 1]", "pads = [1, 0, 0, 1]"]
)
def test_max_pool(how: str) -> None:
    for size, kernel, stride in itertools.product((6, 7, 9), (2, 3, 4), (1, 2)):
        stated = f"{how}, strides = [{stride}, {stride}], kernel_shape = [{kernel}, {kernel}]"
        model = network(
            f"g (float[1, 4, {size}, {size}] x) => (float[1, 4, h, w] y)"
            f" {{ y = MaxPool<{stated}>(x) }}"
        )
        x = normal(1, 4, size, size)
        wanted = onnxruntime(model, x)
        np.testing.assert_array_equal(evaluated(model, x), wanted, err_msg=stated)


def test_max_pool_gives_places_too() -> None:
    model = network(
        "g (float[1, 2, 6, 6] x) => (float[1, 2, 6, 6] y, int64[1, 2, 6, 6] at)"
        ' { y, at = MaxPool<auto_pad = "SAME_UPPER", kernel_shape = [2, 2]>(x) }'
    )
    x = normal(1, 2, 6, 6)
    content = ir.to_proto(model)
    wanted = ort.InferenceSession(
        content.SerializeToString(), providers=["CPUExecutionProvider"]
    ).run(None, {"x": x})
    found = ReferenceEvaluator(content, new_ops=[Conv, MaxPool]).run(None, {"x": x})
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_oracle_computes_so() -> None:
    """As some exporters write it: such a network was refused, the oracles disagreed."""
    model = network(
        "g (float[1, 1, 8, 8] x) => (float[1, 2, 3, 3] y) {"
        ' c = Conv<auto_pad = "VALID">(x, w)'
        ' y = MaxPool<auto_pad = "SAME_LOWER", kernel_shape = [3, 3], strides = [2, 2]>(c) }',
        {"w": normal(2, 1, 3, 3, seed=1)},
    )
    x = normal(1, 1, 8, 8)
    found = EvaluatorOracle(model).run({"x": x})["y"]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, onnxruntime(model, x), atol=1e-5)
