"""Arrays, lent to a request and copied out of it."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Tuple

import numpy as np

from .library import ov
from .ports import Ports

# Element types that NumPy lacks, and the unsigned integers that they travel as.
_RAW = {
    ov.Type.bf16: np.uint16,
    ov.Type.f8e4m3: np.uint8,
    ov.Type.f8e5m2: np.uint8,
    ov.Type.f8e8m0: np.uint8,
}


def lend(request: Any, inputs: Ports, feed: Mapping[str, np.ndarray]) -> List[np.ndarray]:
    """Have the next run read the arrays where they are.

    Returns what must be kept until it has: a tensor doesn't keep the memory alive that it shows.
    """
    kept = []
    for name, index, kind in inputs:
        array = feed[name]
        if _is_packed(kind):
            array = _pack(array, kind.bitwidth)
        elif not array.flags.writeable or not array.flags.aligned:
            array = array.copy()
        if kind in _RAW or _is_packed(kind):
            tensor = ov.Tensor(array, ov.Shape(feed[name].shape), kind)
        else:
            tensor = ov.Tensor(array, shared_memory=True)
        request.set_input_tensor(index, tensor)
        kept.append(array)
    return kept


def answers_of(request: Any, outputs: Ports) -> Dict[str, np.ndarray]:
    """Return copies of a request's results by name."""
    return {name: _take(request, index, kind) for name, index, kind in outputs}


def _take(request: Any, index: int, kind: Any) -> np.ndarray:
    tensor = request.get_output_tensor(index)
    if _is_packed(kind):
        return _unpack(tensor.data, kind.bitwidth, tuple(tensor.shape))
    array = np.array(tensor.data)
    if kind in _RAW:
        # The binding shows bfloat16 as float16, of which NumPy would read other numbers.
        array = array.view(_RAW[kind])
    return array


def _is_packed(kind: Any) -> bool:
    """Tell whether several values of this element type share a byte."""
    return bool(kind.bitwidth < 8 and kind != ov.Type.boolean)


def _pack(array: np.ndarray, bits: int) -> np.ndarray:
    """Put values of less than a byte together, the first in a byte's lowest bits (ONNX's order)."""
    each = 8 // bits
    padded = np.zeros(-(-array.size // each) * each, np.uint8)
    padded[: array.size] = array.reshape(-1) & (2**bits - 1)
    shifts = np.arange(each, dtype=np.uint8) * np.uint8(bits)
    packed: np.ndarray = np.bitwise_or.reduce(padded.reshape(-1, each) << shifts, axis=1)
    return packed


def _unpack(content: np.ndarray, bits: int, shape: Tuple[int, ...]) -> np.ndarray:
    """Take bytes apart into values of less than a byte; inverse of `_pack`."""
    shifts = np.arange(8 // bits, dtype=np.uint8) * np.uint8(bits)
    flat = np.ascontiguousarray(content).view(np.uint8).reshape(-1)
    values: np.ndarray = (flat[:, np.newaxis] >> shifts) & np.uint8(2**bits - 1)
    return values.reshape(-1)[: int(np.prod(shape, dtype=np.int64))].reshape(shape)
