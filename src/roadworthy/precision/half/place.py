"""`plan_half`: which nodes run in FP16 or BF16, with a reason for each one that doesn't."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import onnx_ir as ir

from roadworthy.core.errors import UnavailableError
from roadworthy.precision.half.formats import Format, format_of
from roadworthy.precision.half.islands import ISLAND, islands
from roadworthy.precision.half.operators import INDIFFERENT, SELECTS
from roadworthy.precision.half.quantised import clashes
from roadworthy.precision.half.rules import Rules
from roadworthy.precision.half.schema import Slots
from roadworthy.precision.plan import Decision, PrecisionPlan
from roadworthy.precision.typed import (
    inner_nodes,
    is_float,
    node_names,
    opset_of,
    typed_copy,
)


def plan_half(
    model: ir.Model,
    precision: Literal["fp16", "bf16"],
    ranges: Mapping[str, tuple[float, float]],
    *,
    keep_islands: bool = False,
    quantised: bool = False,
) -> PrecisionPlan:
    """Decide the dtype of every node that computes with FP32.

    Args:
        model: stays as it is.
        precision: "fp16" or "bf16".
        ranges: (smallest, largest) value of each FP32 tensor on real samples, inputs too, by name.
            A tensor without one keeps its node in FP32, unless what made it bounds it.
        keep_islands: leave cheap nodes in half even where the casts cost more than they save.
        quantised: half may go into the regions between QuantizeLinear and DequantizeLinear, where
            the scales allow it; False leaves these as they are.

    Returns:
        A plan for `to_half`. Its account names the near-ties: nodes that choose by comparing
        numbers which were rounded, so that close candidates may change places.

    Raises:
        UnavailableError: the model's opset has no such type for a convolution or a product.
        InputError: the model states no opset.
        UsageError: `precision` is another word.
    """
    form = format_of(precision)
    typed = typed_copy(model)
    _check_opset(opset_of(typed), form)
    rules = Rules(typed, form, ranges, quantised=quantised)
    reasons = {node: rules.reason(node) for node in typed.graph if computes(node)}
    half = {node: rules.slots(node) for node, reason in reasons.items() if not reason}
    if quantised:
        _agree(half, reasons)
    if not keep_islands:
        for node in islands(typed.graph, half):
            reasons[node] = ISLAND
            del half[node]
    if quantised:
        _agree(half, reasons)
    names = node_names(typed)
    return PrecisionPlan(
        precision,
        "",
        tuple(_decisions(typed.graph, reasons, names, form)),
        account={"near_ties": [names[node] for node in _near_ties(typed.graph, set(half))]},
    )


def computes(node: ir.Node) -> bool:
    """Return whether a node works on FP32 numbers, itself or inside: no Constant, no Shape."""
    if not node.domain and (node.op_type == "Constant" or node.op_type in INDIFFERENT):
        return False
    if any(is_float(value) for value in (*node.inputs, *node.outputs)):
        return True
    return any(map(computes, inner_nodes(node)))


def _agree(half: dict[ir.Node, Slots], reasons: dict[ir.Node, str]) -> None:
    """Take out of half what an INT8 operator or a Q/DQ beside it can't follow into half."""
    while found := clashes(half):
        reasons |= found
        for node in found:
            del half[node]


def _check_opset(opset: int, form: Format) -> None:
    if opset < form.cast_opset:
        raise UnavailableError(
            f"{form.name} isn't to be had: Cast takes {form.dtype.name} "
            f"from opset {form.cast_opset} on, the model has opset {opset}",
            where="opset_import",
            remedy=f"export at opset {form.cast_opset} or later",
        )


def _decisions(
    graph: ir.Graph,
    reasons: Mapping[ir.Node, str],
    names: Mapping[ir.Node, str],
    form: Format,
) -> Iterator[Decision]:
    for node in graph:
        if node not in reasons:
            continue
        reason = reasons[node]
        yield Decision(names[node], node.op_type, "fp32" if reason else form.name, reason)
        for inner in filter(computes, inner_nodes(node)):
            yield Decision(names[inner], inner.op_type, "fp32", f"inside {node.op_type}")


def _near_ties(graph: ir.Graph, half: set[ir.Node]) -> list[ir.Node]:
    """Return the nodes that choose among values which come, somewhere above, from half."""
    touched: set[ir.Node] = set()
    for node in graph:
        before = (value.producer() for value in node.inputs if value is not None)
        if node in half or any(item in touched for item in before):
            touched.add(node)
    return [node for node in graph if node in touched and node.op_type in SELECTS]
