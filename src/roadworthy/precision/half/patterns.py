"""Groups of nodes that stay FP32 together: a norm written out, counting, quantised regions."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from roadworthy.precision.half.formats import Format
from roadworthy.precision.half.operators import HEAVY
from roadworthy.precision.typed import float_constant, is_float

_QUANTISES = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})
_QUANTISED = _QUANTISES | {"DequantizeLinear"}
# Between the mean of squares and its use: + ε, √, 1/x, ^-½, and a lower limit instead of ε.
_TO_DEVIATION = frozenset({"Add", "Sqrt", "Reciprocal", "Pow", "Max", "Clip"})
_SMALL_INTEGERS = {
    ir.DataType.BOOL: 1, ir.DataType.UINT8: 255, ir.DataType.INT8: 128,
}  # fmt: skip
# Their result is a position or a count, whatever they are given.
_COUNTS = frozenset({"CumSum", "Range"})

NORM = "part of a normalisation written out: squares overflow half, the variance underflows"
COUNT = "counts, sizes or positions: half is exact up to {limit} only"
REGION = "inside a quantised region, which an INT8 plan has placed"


def pattern_reasons(
    nodes: Iterable[ir.Node], form: Format, *, quantised: bool = False
) -> dict[ir.Node, str]:
    """Return why nodes stay FP32 for what they are part of; nodes must be in order.

    With `quantised` a quantised region is no reason.
    """
    listed = list(nodes)
    found = dict.fromkeys(_norms(listed), NORM)
    found |= dict.fromkeys(_counting(listed, form), COUNT.format(limit=form.exact_integer))
    return found if quantised else found | dict.fromkeys(_quantised(listed), REGION)


def _norms(nodes: list[ir.Node]) -> set[ir.Node]:
    """Find (x - mean(x)) / √(mean((x - mean(x))²) + ε), and the same without the mean."""
    found: set[ir.Node] = set()
    for node in nodes:
        square = _producer(node, 0) if node.op_type == "ReduceMean" else None
        if square is None or not _squares(square):
            continue
        found |= {node, square}
        centred = _producer(square, 0)
        if centred is not None and centred.op_type == "Sub":
            mean = _producer(centred, 1)
            found |= {centred} | ({mean} if mean and mean.op_type == "ReduceMean" else set())
        found |= _up_to_the_quotient(node)
    return found


def _up_to_the_quotient(variance: ir.Node) -> set[ir.Node]:
    """Return the nodes from the variance to the division or multiplication by the deviation."""
    found: set[ir.Node] = set()
    front = [variance]
    while front:
        for user in _users(front.pop()):
            if user in found:
                continue
            if user.op_type in _TO_DEVIATION:
                found.add(user)
                front.append(user)
            elif user.op_type in ("Div", "Mul"):
                found.add(user)
                # 1 / √… is divided first and multiplied later.
                if user.op_type == "Div" and float_constant(user.inputs[0]) is not None:
                    front.append(user)
    return found


def _squares(node: ir.Node) -> bool:
    return node.op_type == "Pow" or (node.op_type == "Mul" and node.inputs[0] is node.inputs[1])


def _counting(nodes: list[ir.Node], form: Format) -> set[ir.Node]:
    """Find what is computed from integers alone, up to the first product with weights."""
    found: set[ir.Node] = set()
    for node in nodes:
        if node.op_type == "Cast":
            source = node.inputs[0]
            if source is None or source.dtype is None or not is_float(node.outputs[0]):
                continue
            if source.dtype.is_integer() and not fits_integers(source.dtype, form):
                found.add(node)
        elif node.op_type in _COUNTS and any(is_float(value) for value in node.outputs):
            found.add(node)
        elif node.op_type not in HEAVY:
            varying = [
                value.producer()
                for value in node.inputs
                if value is not None and is_float(value) and float_constant(value) is None
            ]
            if varying and all(producer in found for producer in varying):
                found.add(node)
    return found


def fits_integers(dtype: ir.DataType, form: Format) -> bool:
    """Return whether every number of an integer dtype is exact in this format."""
    return _SMALL_INTEGERS.get(dtype, form.exact_integer + 1) <= form.exact_integer


def _quantised(nodes: list[ir.Node]) -> set[ir.Node]:
    """Find Q and DQ, their neighbours, and what lies between a DQ and a Q."""
    quantisers = [node for node in nodes if node.op_type in _QUANTISED]
    if not quantisers:
        return set()
    after: set[ir.Node] = set()
    for node in nodes:
        before = [value.producer() for value in node.inputs if value is not None]
        if any(
            item is not None
            and (item.op_type == "DequantizeLinear" or (item in after and not _ends(item)))
            for item in before
        ):
            after.add(node)
    ahead: set[ir.Node] = set()
    for node in reversed(nodes):
        if any(
            _ends(user) or (user in ahead and user.op_type != "DequantizeLinear")
            for user in _users(node)
        ):
            ahead.add(node)
    beside = {user for node in quantisers for user in _users(node)}
    beside |= {item for node in quantisers if (item := _producer(node, 0)) is not None}
    return (after & ahead) | beside | set(quantisers)


def _ends(node: ir.Node) -> bool:
    return node.op_type in _QUANTISES


def _users(node: ir.Node) -> list[ir.Node]:
    return [use.node for value in node.outputs for use in value.uses()]


def _producer(node: ir.Node, index: int) -> ir.Node | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    return value.producer() if value is not None else None
