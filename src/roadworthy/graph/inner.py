"""The graphs inside a node: branches of an If, bodies of loops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir


def inner_graphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Return the graphs that a node's attributes hold, in their order."""
    return [
        graph
        for attribute in node.attribute
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else []))
    ]


def every_node(model: ir.Model) -> Iterator[ir.Node]:
    """Give all nodes of a model: of its graph and what is inside them, then of its functions."""
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """Give the graphs that an `onnx_ir` node holds itself, not those inside them."""
    import onnx_ir as ir

    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()
