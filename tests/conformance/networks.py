"""Small networks as ONNX text, and the numbers that go into them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir

from roadworthy.backends.base import CompileOptions
from roadworthy.core.signature import Array

# One thread: most networks here are one operator on a few numbers.
OPTIONS = CompileOptions(threads=1, spinning=False)

# Opset 25 is the first whose Cast knows all the small types.
HEAD = '<ir_version: 11, opset_import: ["": 25]>\n'

RELU = "g (float[n, m] x) => (float[n, m] y) { y = Relu(x) }"
SUB = "g (float[n] a, float[n] b) => (float[n] y) { y = Sub(a, b) }"

NUMPY_DTYPES = (
    "bool", "str", "float16", "float32", "float64", "complex64",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip
SMALL_DTYPES = (
    "bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz",
    "float8_e8m0fnu", "float4_e2m1fn", "int4", "uint4", "int2", "uint2",
)  # fmt: skip
# Five of each, so that the last byte of packed types is only partly filled.
VALUES = {
    "bool": [True, False, True, True, False],
    "str": ["", "a", "straße", "道", "nul\0inside"],
    "float8_e8m0fnu": [0.5, 1, 2, 4, 8],
    "int2": [-2, -1, 0, 1, -1],
    "uint2": [0, 1, 2, 3, 1],
    "int4": [-8, -1, 0, 7, 3],
    "uint4": [15, 0, 8, 7, 1],
}


def dtype_of(name: str) -> np.dtype:
    if name == "str":
        return np.dtype(object)
    return np.dtype(getattr(ml_dtypes, name, name))


def values_of(dtype: str) -> Array:
    return np.array(VALUES.get(dtype, [0, 1, 2, 3, 6])).astype(dtype_of(dtype))


def ramp(*shape: int) -> Array:
    """Return -2, -1, 0, 1, … as float32."""
    return np.arange(-2, int(np.prod(shape)) - 2, dtype=np.float32).reshape(shape)


def identity_of(dtype: str) -> str:
    """Return a network that gives back what it takes; small types go through float."""
    onnx_type = ir.DataType.from_numpy(dtype_of(dtype)) if dtype != "str" else ir.DataType.STRING
    body = "y = Identity(x)"
    if dtype in SMALL_DTYPES:
        body = f"w = Cast <to = 1> (x) y = Cast <to = {int(onnx_type)}> (w)"
    name = onnx_type.name.lower()
    return f"g ({name}[n] x) => ({name}[n] y) {{ {body} }}"
