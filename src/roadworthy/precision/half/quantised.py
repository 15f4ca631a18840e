"""QuantizeLinear and DequantizeLinear in half: which scales fit, and who must agree with whom.

An INT8 operator is one between a DequantizeLinear (DQ) on each of its factors and, mostly, a
QuantizeLinear (Q) after it. A runtime fuses these, so no cast may come between them: they run in
one dtype, which is what the operator's products are scaled to.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from roadworthy.precision.half.formats import Format, rounded
from roadworthy.precision.half.operators import HEAVY
from roadworthy.precision.half.schema import Slots
from roadworthy.precision.typed import constant, float_constant

QUANTISES = "QuantizeLinear"
DEQUANTISES = "DequantizeLinear"
# Activations that become part of the operator before them.
_FUSED = frozenset({"Clip", "Relu"})
_INTEGERS: dict[str, tuple[int, int]] = {"INT8": (-128, 127), "UINT8": (0, 255)}

OTHER_FACTOR = "INT8 operator: a DequantizeLinear before it stays FP32"
OTHER_READER = "an INT8 operator that reads it stays FP32"
NO_READER = "nothing that reads it runs in half"
NO_MAKER = "what it quantises is FP32"
FUSED = "it is part of the INT8 operator before it, which stays FP32"


def scale_reason(node: ir.Node, form: Format) -> str:
    """Return why a Q or DQ stays FP32 for its scale; empty for any other node.

    Integers mean scale · (q - zero-point): a scale that were rounded now would change them all.
    """
    if node.op_type not in (QUANTISES, DEQUANTISES):
        return ""
    stated = {"precision"} | ({"output_dtype"} if node.op_type == DEQUANTISES else set())
    if any(name in node.attributes and node.attributes[name].value for name in stated):
        return "it states its dtype itself"
    scales = float_constant(node.inputs[1])
    if scales is None:
        return "its scale isn't a constant"
    smallest, largest = float(scales.min()), float(scales.max())
    if smallest < form.smallest_normal:
        return (
            f"its scale {smallest:.2g} is below {form.name}'s smallest normal number "
            f"{form.smallest_normal:.2g}"
        )
    if largest > form.largest:
        return f"its scale {largest:.2g} is above {form.name}'s largest number {form.largest:.5g}"
    if (rounded(scales, form).astype(np.float32) != scales).any():
        return f"its scale isn't exact in {form.name}: rounded, it would change what integers mean"
    return ""


def dequantised_span(node: ir.Node) -> tuple[float, float] | None:
    """Return (low, high) of what a DQ of 8 bits can give: scale times its integers."""
    whole, scales = node.inputs[0], float_constant(node.inputs[1])
    if whole is None or whole.dtype is None or scales is None or not scales.size:
        return None
    limits = _INTEGERS.get(whole.dtype.name)
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(1, np.int8)
    if limits is None or zero is None:
        return None
    steps = [scales.astype(np.float64) * (limit - zero.astype(np.float64)) for limit in limits]
    return float(steps[0].min()), float(steps[1].max())


def clashes(half: Mapping[ir.Node, Slots]) -> dict[ir.Node, str]:
    """Return the half nodes that must be FP32 because a node beside them is, with the reason.

    1. An INT8 operator with a DQ in FP32 before it.
    2. A DQ that an INT8 operator in FP32 reads, or that nothing in half reads.
    3. A Q of FP32 values: of an operator's, of an input's, or of a weight whose DQ is FP32.
    4. An activation that is part of an INT8 operator in FP32.

    Where it returns any, others may follow from these.
    """
    found: dict[ir.Node, str] = {}
    for node in half:
        if is_int8(node) and any(maker not in half for maker in _factors(node)):
            found[node] = OTHER_FACTOR  # case 1
        elif node.op_type == DEQUANTISES:
            readers = [use.node for use in node.outputs[0].uses()]
            if any(is_int8(reader) and reader not in half for reader in readers):
                found[node] = OTHER_READER  # case 2
            elif not any(reader in half for reader in readers):
                found[node] = NO_READER
        elif node.op_type == QUANTISES and not _is_of_half(node, half):
            found[node] = NO_MAKER  # case 3
        elif node.op_type in _FUSED:
            maker = _maker(node, 0)
            if maker is not None and is_int8(maker) and maker not in half:
                found[node] = FUSED  # case 4
    return found


def is_int8(node: ir.Node) -> bool:
    """Tell a product or convolution of what two DQs give."""
    return node.op_type in HEAVY and len(_factors(node)) == 2


def _factors(node: ir.Node) -> list[ir.Node]:
    """Return the DQs that give the two factors of a product."""
    makers = [_maker(node, index) for index in range(2)]
    return [maker for maker in makers if maker is not None and maker.op_type == DEQUANTISES]


def _is_of_half(node: ir.Node, half: Mapping[ir.Node, Slots]) -> bool:
    if float_constant(node.inputs[0]) is not None:
        return any(use.node in half for use in node.outputs[0].uses())
    maker = _maker(node, 0)
    return maker is not None and maker in half and bool(half[maker].outputs)


def _maker(node: ir.Node, index: int) -> ir.Node | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    return value.producer() if value is not None else None
