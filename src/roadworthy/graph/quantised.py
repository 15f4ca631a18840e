"""Whether a graph states INT8 or the like itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


def is_quantised(model: ir.Model) -> bool:
    """Tell whether a graph has Q/DQ in it, whoever put it there."""
    return any(node.op_type == "DequantizeLinear" for node in model.graph.all_nodes())
