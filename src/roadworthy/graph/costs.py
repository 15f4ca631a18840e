"""How much arithmetic each node of a graph costs, in multiply-accumulates, at given sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roadworthy.graph.shapes import infer_shapes

if TYPE_CHECKING:
    import onnx_ir as ir

Shape = tuple[int, ...]

# These multiply matrices in ways that aren't counted here: their cost is unknown, not nothing.
_UNCOUNTED = frozenset({"Attention", "Einsum", "GRU", "LSTM", "RNN"})


@dataclass(frozen=True)
class Costs:
    """Multiply-accumulates by node.

    Attributes:
        macs: by the node's name (without one it goes by its first output), in the graph's order;
            0 for nodes that multiply no matrices. Nodes of one name are added up.
        unknown: nodes whose cost can't be told, with the reason: a shape that isn't known, an
            operator that isn't counted, a node in a branch or a loop.
    """

    macs: Mapping[str, int]
    unknown: Mapping[str, str]

    @property
    def total(self) -> int:
        """All that is known."""
        return sum(self.macs.values())


def costs(model: ir.Model, sizes: Mapping[str, int]) -> Costs:
    """Count the multiply-accumulates of every node of a model.

    Convolutions as out·(channels / group)·kernel, transposed ones as in·(filters / group)·kernel,
    Gemm and MatMul as rows·columns·depth for every matrix of the batch; a bias is not counted.

    Args:
        model: stays as it is.
        sizes: of the symbolic axes, by name.
    """
    bound = _with_sizes(model, sizes)
    functions = {(function.domain, function.name) for function in model.functions.values()}
    macs: dict[str, int] = {}
    unknown: dict[str, str] = {}
    for node in bound.graph:
        name = label(node)
        inside = [label(one) for one in _nested(node) if one.op_type in _COUNTS]
        unknown |= dict.fromkeys(inside, f"inside {node.op_type} {name}, which may run it or not")
        found = None
        if (node.domain, node.op_type) in functions:
            unknown[name] = "a function of the model's own"
        elif node.op_type in _UNCOUNTED:
            unknown[name] = f"{node.op_type} isn't counted"
        elif (found := _macs(node)) is None:
            unknown[name] = "the shapes aren't known"
        if found is not None and name not in unknown:
            macs[name] = macs.get(name, 0) + found
    return Costs({name: n for name, n in macs.items() if name not in unknown}, unknown)


def label(node: ir.Node) -> str:
    """Return a node's name; without one it goes by its first output."""
    return node.name or next((value.name or "" for value in node.outputs if value.name), "")


def _with_sizes(model: ir.Model, sizes: Mapping[str, int]) -> ir.Model:
    """Return a copy in which every shape is stated that follows from these sizes."""
    import onnx_ir as ir

    copy = model.clone()
    for value in ir.convenience.create_value_mapping(copy.graph).values():
        if value.shape is not None:
            value.shape = ir.Shape([_bound(axis, sizes) for axis in value.shape])
    infer_shapes(copy)
    return copy


def _bound(axis: int | ir.SymbolicDim, sizes: Mapping[str, int]) -> int | ir.SymbolicDim:
    if isinstance(axis, int):
        return axis
    return sizes.get(axis.value or "", axis)


def _nested(node: ir.Node) -> Iterable[ir.Node]:
    """Yield the nodes of the graphs within a node, at any depth."""
    import onnx_ir as ir

    for attribute in node.attributes.values():
        graphs: list[ir.Graph] = []
        if attribute.type == ir.AttributeType.GRAPH:
            graphs = [attribute.as_graph()]
        elif attribute.type == ir.AttributeType.GRAPHS:
            graphs = list(attribute.as_graphs())
        for graph in graphs:
            yield from graph.all_nodes()


def _macs(node: ir.Node) -> int | None:
    """Return what a node costs, None where its shapes aren't known."""
    if node.op_type not in _COUNTS:
        return 0
    left, right, count = _COUNTS[node.op_type]
    shapes = [_shape(node.inputs[left]), _shape(node.inputs[right]), _shape(node.outputs[0])]
    first, second, out = shapes
    if first is None or second is None or out is None:
        return None
    return count(node, first, second, out)


def _shape(value: ir.Value | None) -> Shape | None:
    if value is None or value.shape is None:
        return None
    axes = tuple(value.shape)
    return axes if all(isinstance(axis, int) for axis in axes) else None  # type: ignore[return-value]


def _convolution(_node: ir.Node, _data: Shape, weight: Shape, out: Shape) -> int:
    # weight: [filters, channels / group, *kernel]
    return math.prod(out) * math.prod(weight[1:])


def _transposed(_node: ir.Node, data: Shape, weight: Shape, _out: Shape) -> int:
    # weight: [channels, filters / group, *kernel]
    return math.prod(data) * math.prod(weight[1:])


def _gemm(node: ir.Node, left: Shape, _right: Shape, out: Shape) -> int:
    transposed = node.attributes.get("transA")
    return math.prod(out) * left[0 if transposed is not None and transposed.value else 1]


def _matmul(_node: ir.Node, left: Shape, _right: Shape, out: Shape) -> int:
    return math.prod(out) * left[-1]


Count = Callable[["ir.Node", Shape, Shape, Shape], int]

# Operator: which inputs are multiplied, and how.
_COUNTS: Mapping[str, tuple[int, int, Count]] = {
    "Conv": (0, 1, _convolution),
    "ConvInteger": (0, 1, _convolution),
    "ConvTranspose": (0, 1, _transposed),
    "DeformConv": (0, 1, _convolution),
    "Gemm": (0, 1, _gemm),
    "MatMul": (0, 1, _matmul),
    "MatMulInteger": (0, 1, _matmul),
    "QLinearConv": (0, 3, _convolution),
    "QLinearMatMul": (0, 3, _matmul),
}
