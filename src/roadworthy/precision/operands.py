"""The operands of INT8 operators: constant weights and the axis of their channels, biases, data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from roadworthy.precision.dialect import COMPUTE, Dialect
from roadworthy.precision.typed import is_float

if TYPE_CHECKING:
    import onnx_ir as ir

# Activations, which leave every channel where it is.
ACTIVATIONS = frozenset({"Clip", "Relu", "LeakyRelu", "Sigmoid"})
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


def data_axis(value: ir.Value) -> int | None:
    """Return the axis that a tensor has its channels on: 1 or the last one, -1.

    It is told by what reads it and what gives it, an activation in between or not: Conv has them on
    axis 1, Gemm and MatMul have them last. None where that tells nothing, or two things.
    """
    found = {_axis_of(*user) for user in _readers(value)}
    producer = value.producer()
    while producer is not None and operator(producer) in ACTIVATIONS:
        before = producer.inputs[0]
        producer = before.producer() if before is not None else None
    if producer is not None:
        found.add(_axis_of(producer, None))
    found.discard(None)
    return found.pop() if len(found) == 1 else None


def _readers(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """Yield what reads a tensor, behind activations, and as which input."""
    for user in value.uses():
        if operator(user.node) in ACTIVATIONS and user.idx == 0:
            yield from _readers(user.node.outputs[0])
        else:
            yield user.node, user.idx


def _axis_of(node: ir.Node, index: int | None) -> int | None:
    """Return the axis of the channels in an input of a node, or in what it gives."""
    if operator(node) not in COMPUTE or index not in (None, 0):
        return None
    if node.op_type in ("Conv", "ConvTranspose"):
        return 1
    if not is_weight(node.inputs[1]):
        return None
    transposed = node.attributes.get("transA")
    return None if index == 0 and transposed is not None and transposed.value else -1


def data_axis_of(node: ir.Node) -> int | None:
    """Return the axis, 1 or -1, that a node of `COMPUTE` has its channels on in what it reads."""
    return _axis_of(node, 0)


def has_own_bias(node: ir.Node) -> bool:
    """Tell a node whose bias is a constant with one number for each output channel."""
    weight, bias = node.inputs[1], node.inputs[2]
    if weight is None or bias is None:
        return False
    return _is_bias(bias, weight, channel_axis(node, weight))


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
