"""Nodes in the place of one that TensorRT's parser can't read, named after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir


def prefix_values(function: ir.Function, prefix: str) -> None:
    """Name a function's values so that they can stand in the place of a call of it.

    A plain name could be one that the graph, or a branch further on, uses for a value of its own.
    """
    for node in function.all_nodes():
        for value in node.outputs:
            value.name = f"{prefix}/{value.name}" if value.name else value.name


class Adder:
    """Adds nodes before a node that they stand in for, named after it."""

    def __init__(self, node: ir.Node) -> None:
        assert node.graph is not None  # it was found in one
        self._node, self._graph = node, node.graph
        # Its first outputs may be left out.
        self._stem = next((value.name for value in node.outputs if value.name), node.name)
        self._count = 0

    def __call__(self, kind: str, *inputs: ir.Value | None, dtype: str, **more: Any) -> ir.Value:
        """Add a node; return its output, of that ONNX element type."""
        import onnx_ir as ir

        node = ir.node(kind, inputs, more, name=self._name(), version=self._node.version)
        (output,) = node.outputs
        output.name, output.dtype = node.name, ir.DataType[dtype]
        self._graph.insert_before(self._node, node)
        return output

    def constant(self, values: Any) -> ir.Value:
        """Add an initialiser; whole numbers are INT64."""
        import onnx_ir as ir

        array = np.asarray(values)
        name = self._name()
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        self._graph.register_initializer(value)
        return value

    def take_over(self, value: ir.Value) -> None:
        """Put a value in the place of the node's output, under its name, and remove the node."""
        import onnx_ir as ir

        ir.convenience.replace_nodes_and_values(
            self._graph,
            self._node,
            [self._node],
            [],
            list(self._node.outputs),
            [value],
        )

    def _name(self) -> str:
        self._count += 1
        return f"{self._stem}_said_otherwise_{self._count}"


def schema(kind: str, opset: int) -> Any:
    """Return ONNX's definition of an operator as of an opset, None where it has none."""
    from onnx import defs

    try:
        return defs.get_schema(kind, opset)
    except defs.SchemaError:
        return None
