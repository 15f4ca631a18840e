"""Tensors of element types that NumPy lacks, in and out of ONNX Runtime bit by bit."""

from __future__ import annotations

import ctypes
from typing import Any, Dict, List, Tuple

import numpy as np

from .library import ort

# What NumPy lacks: ONNX Runtime's word for it, ONNX's number of it (TensorProto.DataType), bits.
FOREIGN_TYPES: Dict[str, Tuple[int, int]] = {
    "tensor(bfloat16)": (16, 16),
    "tensor(float8e4m3fn)": (17, 8),
    "tensor(float8e4m3fnuz)": (18, 8),
    "tensor(float8e5m2)": (19, 8),
    "tensor(float8e5m2fnuz)": (20, 8),
    "tensor(uint4)": (21, 4),
    "tensor(int4)": (22, 4),
    "tensor(float4e2m1)": (23, 4),
    "tensor(float8e8m0)": (24, 8),
    "tensor(uint2)": (25, 2),
    "tensor(int2)": (26, 2),
}


def foreign_types(arguments: List[Any]) -> Dict[str, Tuple[int, int]]:
    """Return number and bits of those inputs or outputs whose element type NumPy lacks."""
    return {
        argument.name: FOREIGN_TYPES[argument.type]
        for argument in arguments
        if argument.type in FOREIGN_TYPES
    }


def ort_value(array: np.ndarray, number: int, bits: int) -> ort.OrtValue:
    """Copy raw values into an ONNX Runtime tensor of this element type."""
    value = ort.OrtValue.ortvalue_from_shape_and_type(list(array.shape), number, "cpu", 0)
    content = np.ascontiguousarray(_pack(array, bits) if bits < 8 else array)
    _check_size(value, content.nbytes)
    ctypes.memmove(value.data_ptr(), content.ctypes.data, content.nbytes)
    return value


def raw_array(value: ort.OrtValue, bits: int) -> np.ndarray:
    """Copy a tensor's raw values out of ONNX Runtime."""
    shape = tuple(value.shape())
    count = int(np.prod(shape, dtype=np.int64))
    content = np.empty(-(-count * bits // 8), np.uint8)
    _check_size(value, content.nbytes)
    ctypes.memmove(content.ctypes.data, value.data_ptr(), content.nbytes)
    if bits < 8:
        return _unpack(content, bits)[:count].reshape(shape)
    return content.view(np.uint16 if bits == 16 else np.uint8).reshape(shape)


def _check_size(value: ort.OrtValue, size: int) -> None:
    """Copying another number of bytes would read or write what isn't ours."""
    if value.tensor_size_in_bytes() != size:
        raise RuntimeError(
            "a %s of shape %s takes %d bytes in ONNX Runtime, not %d"
            % (value.data_type(), value.shape(), value.tensor_size_in_bytes(), size)
        )


def _pack(array: np.ndarray, bits: int) -> np.ndarray:
    """Put values of 2 or 4 bits together, the first in a byte's lowest bits (ONNX's order)."""
    each = 8 // bits
    padded = np.zeros(-(-array.size // each) * each, np.uint8)
    padded[: array.size] = array.reshape(-1) & (2**bits - 1)
    shifts = np.arange(each, dtype=np.uint8) * np.uint8(bits)
    packed: np.ndarray = np.bitwise_or.reduce(padded.reshape(-1, each) << shifts, axis=1)
    return packed


def _unpack(content: np.ndarray, bits: int) -> np.ndarray:
    """Take bytes apart into values of 2 or 4 bits; inverse of `_pack`, padding included."""
    shifts = np.arange(8 // bits, dtype=np.uint8) * np.uint8(bits)
    values: np.ndarray = (content[:, np.newaxis] >> shifts) & np.uint8(2**bits - 1)
    return values.reshape(-1)
