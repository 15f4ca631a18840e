"""How long the longest chain of arithmetic in a graph is: rounding errors grow along it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roadworthy.graph.inner import subgraphs

if TYPE_CHECKING:
    import onnx_ir as ir

# Nodes that only move, select or describe values round nothing.
_EXACT = frozenset(
    {
        "Cast", "CastLike", "Compress", "Concat", "Constant", "ConstantOfShape", "DepthToSpace",
        "Dropout", "Expand", "EyeLike", "Flatten", "Gather", "GatherElements", "GatherND",
        "Identity", "MaxPool", "NonZero", "OneHot", "Pad", "Range", "Relu", "Reshape",
        "ReverseSequence", "ScatterElements", "ScatterND", "Shape", "Size", "Slice",
        "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip


def arithmetic_depth(model: ir.Model) -> int:
    """Return the number of rounding nodes on the longest path from an input to an output.

    A node with sub-graphs (If, Loop, Scan) counts the longest path inside it once: how often a
    loop turns isn't known from the graph.
    """
    functions = {
        (function.domain, function.name): function for function in model.functions.values()
    }
    return _depth(model.graph, functions, frozenset(), {})


def _depth(
    graph: ir.Graph | ir.Function,
    functions: dict[tuple[str, str], ir.Function],
    active: frozenset[tuple[str, str]],
    depths: dict[int, int],
) -> int:
    """Return the depth of the deepest node; `depths` knows the values that come from outside."""
    deepest = 0
    for node in graph:
        before = max((depths.get(id(value), 0) for value in node.inputs if value), default=0)
        after = before + (0 if node.op_type in _EXACT else 1)
        key = (node.domain, node.op_type)
        if key in functions and key not in active:
            body = functions[key]
            inside = {id(value): before for value in body.inputs}
            after = max(before, _depth(body, functions, active | {key}, inside))
        for inner in subgraphs(node):
            # A sub-graph also sees the values around it, which may be deep already.
            inside = depths | {id(value): before for value in inner.inputs}
            after = max(after, _depth(inner, functions, active, inside))
        for value in node.outputs:
            depths[id(value)] = after
        deepest = max(deepest, after)
    return deepest
