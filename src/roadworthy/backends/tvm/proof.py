"""What TVM's functions compute in, by ONNX node, as far as that can be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from roadworthy.backends.proof import CONVERSIONS
from roadworthy.graph.costs import label

if TYPE_CHECKING:
    import onnx_ir as ir


def proof_of(told: Mapping[str, Any], model: ir.Model) -> dict[str, Any]:
    """Return the runtime's proof with "nodes".

    TVM fuses nodes into functions and keeps no account of which. Where all its functions compute in
    one dtype, every node that gives floats does; otherwise nothing is known of any node.
    """
    from onnx_ir.passes.common import ShapeInferencePass

    layers = told["layers"]
    if len(layers) != 1 or "other" in layers:
        return {**told, "nodes": {}}
    copy = model.clone()
    ShapeInferencePass(check_type=False, strict_mode=False)(copy)
    return {
        **told,
        "nodes": {
            label(node): next(iter(layers))
            for node in copy.graph
            if node.op_type not in CONVERSIONS and _gives_floats(node)
        },
    }


def _gives_floats(node: ir.Node) -> bool:
    return any(
        value.dtype is not None and value.dtype.is_floating_point() for value in node.outputs
    )
