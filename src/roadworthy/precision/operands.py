"""The operands of INT8 operators: constant weights and the axis of their channels, biases, data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from roadworthy.precision.dialect import COMPUTE, Dialect
from roadworthy.precision.typed import is_float

if TYPE_CHECKING:
    import onnx_ir as ir

# Below so many channels the units for INT8 aren't filled, and little is gained.
TINY_CHANNELS = 8


@dataclass(frozen=True, slots=True)
class Weight:
    """A constant factor of a node: quantised per channel of `axis`."""

    tensor: str
    axis: int | None
    node: str


@dataclass(frozen=True, slots=True)
class Bias:
    """A constant summand of a node, quantised at the product of two scales."""

    tensor: str
    activation: str
    weight: str


def constants_of(
    nodes: Iterable[ir.Node], dialect: Dialect
) -> tuple[tuple[Weight, ...], tuple[Bias, ...]]:
    """Return the weights of INT8 operators, and the biases that the dialect wants as integers."""
    weights, biases = [], []
    for node in nodes:
        data, weight = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
        if operator(node) not in COMPUTE or data is None or weight is None:
            continue
        name = weight.name or ""
        axis = None if node.op_type in dialect.whole else channel_axis(node, weight)
        weights.append(Weight(name, axis, node.name or ""))
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if dialect.biases and bias is not None and _is_bias(bias, weight, axis):
            biases.append(Bias(bias.name or "", data.name or "", name))
    return tuple(_agreed(weights)), tuple(_unshared(biases))


def _agreed(weights: list[Weight]) -> list[Weight]:
    """Return every tensor once; without an axis where its nodes have their channels on two."""
    found: dict[str, Weight] = {}
    for item in weights:
        first = found.setdefault(item.tensor, item)
        if first.axis != item.axis:
            found[item.tensor] = replace(first, axis=None)
    return list(found.values())


def _unshared(biases: list[Bias]) -> list[Bias]:
    """Leave biases in float that two nodes read at different scales.

    ONNX Runtime's fused kernels take a bias as counted in their own scales, whatever it says.
    """
    found: dict[str, set[Bias]] = {}
    for item in biases:
        found.setdefault(item.tensor, set()).add(item)
    return [item for item in dict.fromkeys(biases) if len(found[item.tensor]) == 1]


def channel_axis(node: ir.Node, weight: ir.Value) -> int | None:
    """Return the axis of a weight that its node's output channels lie on; None: not on one."""
    rank = len(weight.shape) if weight.shape is not None else 0
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        # [in, out / group, …]: with groups one slice of axis 1 serves several output channels.
        group = node.attributes.get("group")
        return 1 if group is None or group.value == 1 else None
    if node.op_type == "Gemm":
        transposed = node.attributes.get("transB")
        return 0 if transposed is not None and transposed.value else 1
    return rank - 1 if rank >= 2 else None


def is_tiny(node: ir.Node, weight: ir.Value) -> bool:
    """Tell an operator with fewer than `TINY_CHANNELS` input or output channels."""
    if weight.shape is None or len(weight.shape) < 2:
        return False
    sizes = weight.shape.numpy()
    group = node.attributes.get("group")
    groups = 1 if group is None else int(group.value)
    if node.op_type in ("Conv", "ConvTranspose"):
        return min(sizes[0], sizes[1] * groups) < TINY_CHANNELS
    return min(sizes[-2:]) < TINY_CHANNELS


def operator(node: ir.Node) -> str:
    """Return the operator; another domain's (a function's, say) isn't ONNX's of that name."""
    return f"{node.domain}::{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type


def _is_bias(value: ir.Value, weight: ir.Value, axis: int | None) -> bool:
    """Tell a constant with one number for each output channel."""
    if not is_weight(value) or not is_float(value) or value.const_value is None:
        return False
    if axis is None or weight.shape is None:
        return False
    return (
        tuple(value.const_value.shape) == (weight.shape[axis],)
        and np.isfinite(value.const_value.numpy()).all().item()
    )


def is_weight(value: ir.Value | None) -> bool:
    """Tell a constant that the caller can't replace."""
    return value is not None and value.is_initializer() and not value.is_graph_input()
