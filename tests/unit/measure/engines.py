"""Small real engines for the tests here, from ONNX text."""

from __future__ import annotations

import numpy as np
import onnx

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.registry import find
from roadworthy.core.signature import Array, Signature, TensorSpec
from roadworthy.core.target import Target

DOUBLE = """
<ir_version: 10, opset_import: ["" : 20]>
double (float[2,3] x) => (float[2,3] y) { y = Add(x, x) }
"""

# 2^40 turns: longer than anybody waits.
ENDLESS = """
<ir_version: 10, opset_import: ["" : 20]>
endless (float[2,3] x) => (float[2,3] y)
<int64 turns = {1099511627776}, bool go = {1}>
{
  y = Loop (turns, go, x) <body = turn (int64 i, bool c, float[2,3] v) =>
                                       (bool d, float[2,3] w) { d = Identity(c) w = Sin(v) }>
}
"""

FEED = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}


def engine(
    text: str = DOUBLE, content: bytes | None = None, backend: str = "onnxruntime"
) -> Engine:
    """An engine of x[2,3] -> y[2,3]; `content` replaces the model's bytes."""
    model = onnx.parser.parse_model(text)
    target = Target.parse("onnxruntime")
    return Engine(
        target=Target.parse(backend),
        signature=Signature(
            (TensorSpec("x", "float32", (2, 3)),), (TensorSpec("y", "float32", (2, 3)),)
        ),
        files={"model.onnx": model.SerializeToString() if content is None else content},
        options=CompileOptions(),
        fingerprint=find("onnxruntime").fingerprint(target),
    )


def feed(**arrays: Array) -> dict[str, Array]:
    return {**FEED, **arrays}
