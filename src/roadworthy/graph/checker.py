"""ONNX's checker, for models of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roadworthy.graph.serial import is_large

if TYPE_CHECKING:
    import onnx_ir as ir


def check_model(model: ir.Model, *, full: bool = False) -> None:
    """Have ONNX's checker look at a model: at all of it, but not at the weights of a large one.

    Args:
        model: left as it is.
        full: infer types and shapes too.

    Raises:
        onnx.checker.ValidationError: it isn't valid.
        onnx.shape_inference.InferenceError: its types or shapes contradict each other.
    """
    import onnx
    import onnx_ir as ir
    from onnx_ir.passes import common

    if is_large(model):
        # The same without the weights, which protobuf can't hold.
        common.CheckerPass(full_check=full)(model)
    else:
        onnx.checker.check_model(ir.to_proto(model), full_check=full)
