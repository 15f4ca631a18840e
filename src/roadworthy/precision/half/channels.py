"""The output channels of constant weights: each one is judged by itself."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from roadworthy.core.signature import Array
from roadworthy.precision.dialect import COMPUTE
from roadworthy.precision.half.formats import Format, lost_channels
from roadworthy.precision.operands import operator
from roadworthy.precision.typed import float_constant


def weight_reason(node: ir.Node, form: Format) -> str:
    """Return why a node's weights can't be stored in this format; empty when they can.

    Beside others a channel of tiny weights is nothing, but what follows may scale it up again.
    """
    if operator(node) not in COMPUTE:
        return ""
    for index in (0, 1) if node.op_type in ("Gemm", "MatMul") else (1,):
        values = float_constant(node.inputs[index])
        if values is None or values.ndim < 2 or values.size == 0:
            continue
        rows = _by_channel(node, index, values)
        lost, worst = lost_channels(rows, form)
        if lost:
            return (
                f"{lost} of {len(rows)} channels of its weights "
                f"{'is' if lost == 1 else 'are'} too small for {form.name}: "
                f"rounding changes {'it' if lost == 1 else 'them'} by up to {worst:.1g} "
                "in relative L2"
            )
    return ""


def _by_channel(node: ir.Node, index: int, values: Array) -> Array:
    """Return weights as one row for each output channel."""
    if node.op_type == "ConvTranspose":
        # [in, out / group, …]: each group has its own part of the inputs.
        group = node.attributes.get_int("group", 1)
        values = values.reshape(group, values.shape[0] // group, *values.shape[1:])
        values = np.moveaxis(values, 1, 2)
        return values.reshape(values.shape[0] * values.shape[1], -1)
    rows = np.moveaxis(values, _channel_axis(node, index, values.ndim), 0)
    return rows.reshape(len(rows), -1)


def _channel_axis(node: ir.Node, index: int, rank: int) -> int:
    if node.op_type == "Conv":
        return 0
    # A constant on the left has its channels on the rows, unless that side is transposed.
    last = index == 1
    transposed = 0
    if node.op_type == "Gemm":
        transposed = node.attributes.get_int("transB" if last else "transA", 0)
    return rank - 1 if last != bool(transposed) else rank - 2
