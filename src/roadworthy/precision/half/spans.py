"""The range of every FP32 tensor: observed, or bounded by what made it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir

from roadworthy.precision.half.quantised import dequantised_span
from roadworthy.precision.typed import float_constant, is_float

Span = tuple[float, float]

# They move, select or average: nothing comes out that is larger than what went in, or than zero.
_NO_GROWTH = frozenset(
    {
        "AveragePool", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather",
        "GatherElements", "GatherND", "GlobalAveragePool", "GlobalMaxPool", "Identity", "Max",
        "MaxPool", "Min", "Pad", "ReduceMax", "ReduceMean", "ReduceMin", "Relu", "Reshape",
        "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Trilu", "Unsqueeze",
        "Where",
    }
)  # fmt: skip
_WITHIN_ONE = frozenset(
    {"Cos", "Erf", "HardSigmoid", "Hardmax", "Sigmoid", "Sin", "Softmax", "Softsign", "Tanh"}
)
_OF_INTEGERS: dict[ir.DataType | None, Span] = {
    ir.DataType.BOOL: (0.0, 1.0),
    ir.DataType.UINT8: (0.0, 255.0),
    ir.DataType.INT8: (-128.0, 127.0),
}


def spans(
    nodes: Iterable[ir.Node], observed: Mapping[str, tuple[float, float]]
) -> dict[ir.Value, Span]:
    """Return (low, high) of every FP32 value that is known; nodes must be in order.

    1. Observed on samples.
    2. Not observed, but its node can't make anything larger than its inputs are, or than one; or
       its scale and its integers bound it.
    """
    listed = list(nodes)
    known: dict[ir.Value, Span] = {}
    for value in [*_inputs(listed), *(value for node in listed for value in node.outputs)]:
        if is_float(value) and value.name and value.name in observed:
            low, high = observed[value.name]
            # An empty tensor has been seen to hold nothing: (inf, -inf).
            if not low > high:
                known[value] = (float(low), float(high))  # case 1
    for node in listed:
        for value in node.outputs:
            if is_float(value) and value not in known:
                bound = _bound(node, known)
                if bound is not None:
                    known[value] = bound  # case 2
    return known


def _inputs(nodes: list[ir.Node]) -> set[ir.Value]:
    return {
        value
        for node in nodes
        for value in node.inputs
        if value is not None and value.producer() is None
    }


def _bound(node: ir.Node, known: Mapping[ir.Value, Span]) -> Span | None:
    if node.op_type in _WITHIN_ONE:
        return (-1.0, 1.0)
    if node.op_type == "DequantizeLinear":
        return dequantised_span(node)
    if node.op_type == "Cast" and node.inputs[0] is not None:
        return _OF_INTEGERS.get(node.inputs[0].dtype)
    if node.op_type not in _NO_GROWTH:
        return None
    low = high = 0.0
    for value in node.inputs:
        if not is_float(value) or value is None:
            continue
        span = known.get(value) or _constant_span(value)
        if span is None:
            return None
        low, high = min(low, span[0]), max(high, span[1])
    return (low, high)


def _constant_span(value: ir.Value) -> Span | None:
    values = float_constant(value)
    if values is None:
        return None
    return (float(np.min(values)), float(np.max(values))) if values.size else (0.0, 0.0)
