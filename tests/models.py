"""Small real networks, written as ONNX text, and their engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.registry import find
from roadworthy.core.inputspec import parse_inputs
from roadworthy.core.signature import Answers, Array, Feed, Signature
from roadworthy.core.target import Target
from roadworthy.graph.signature import signature_of
from roadworthy.source.onnx.load import apply_input_specs

HEAD = '<ir_version: 10, opset_import: ["": 21]>\n'
PLAIN = CompileOptions(threads=1, spinning=False)

# Rows of three numbers to rows of two, any number of rows; the last layer's weights are `w2`.
PERCEPTRON = """g (float[batch, 3] x) => (float[batch, 2] y, int64[batch] label) {
    h = MatMul(x, w1)  r = Relu(h)  y = MatMul(r, w2)  label = ArgMax<axis = 1, keepdims = 0>(y)
}"""
# An image of any size to two maps of that size.
CONVNET = """g (float[batch, 1, h, w] image) => (float[batch, 2, h, w] y) {
    c = Conv<pads = [1, 1, 1, 1]>(image, k1)  r = Relu(c)  y = Conv(r, k2)
}"""


def proto(graph: str, weights: Mapping[str, Array] | None = None) -> onnx.ModelProto:
    """Return the model of an ONNX text graph with these initialisers."""
    model = onnx.parser.parse_model(HEAD + graph)
    for name, value in (weights or {}).items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return model


def network(graph: str, weights: Mapping[str, Array] | None = None) -> ir.Model:
    """Return the same as an `onnx_ir` model."""
    return ir.from_proto(proto(graph, weights))


def normal(*shape: int, seed: int = 0) -> Array:
    """Return repeatable FP32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def perceptron_weights() -> dict[str, Array]:
    """Return the weights of PERCEPTRON."""
    return {"w1": normal(3, 8, seed=1), "w2": normal(8, 2, seed=2)}


def convnet_weights() -> dict[str, Array]:
    """Return the weights of CONVNET."""
    return {"k1": normal(4, 1, 3, 3, seed=1), "k2": normal(2, 4, 1, 1, seed=2)}


def perceptron() -> ir.Model:
    """Return a network of two layers with two outputs."""
    return network(PERCEPTRON, perceptron_weights())


def convnet() -> ir.Model:
    """Return a network of two convolutions."""
    return network(CONVNET, convnet_weights())


def ranged(model: ir.Model, *inputs: str) -> Signature:
    """Return a model's signature with the ranges of these `--inputs`."""
    return apply_input_specs(signature_of(model), parse_inputs(inputs))


def engine(model: ir.Model, signature: Signature | None = None) -> Engine:
    """Compile for ONNX Runtime, one thread."""
    target = Target("onnxruntime")
    return find(target.backend).compile(model, signature or signature_of(model), target, PLAIN)


class NumpyOracle:
    """A network written in NumPy: what it is asked, it computes in one dtype."""

    def __init__(self, function: Callable[[Feed], Answers], dtype: str = "float32") -> None:
        self.name = f"NumPy, {dtype}"
        self._function = function
        self._dtype = dtype

    def run(self, feed: Feed) -> Answers:
        """Return the answers."""
        return self._function({name: array.astype(self._dtype) for name, array in feed.items()})


def perceptron_in_numpy(feed: Feed) -> Answers:
    """Return what PERCEPTRON means, in the dtype of its input."""
    x = feed["x"]
    w1, w2 = (w.astype(x.dtype) for w in perceptron_weights().values())
    y = np.maximum(x @ w1, 0) @ w2
    return {"y": y, "label": np.argmax(y, axis=1)}
