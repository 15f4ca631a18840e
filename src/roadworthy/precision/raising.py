"""Take a network's ONNX opset up to the one that has FP16 scales, its answers unchanged.

QuantizeLinear and DequantizeLinear take FP16 since opset 19. From 18 to 19 sixteen operators of
ONNX's own domain changed (https://onnx.ai/onnx/operators/, "Differences with previous version"):

1. Cast, CastLike, Constant, DequantizeLinear, Equal, Identity, If, Loop, Pad, QuantizeLinear,
   Reshape, Scan, Shape, Size: further types (float8 above all), an attribute `saturate` that
   concerns casts to float8 only, Pad's new mode "wrap";
2. AveragePool: an attribute `dilations`, 1 by default, and corrected formulas of shapes;
3. Resize: a new coordinate transformation, "half_pixel_symmetric", and axes in any order;
4. DeformConv is new.

So a valid model of opset 18 means the same in 19, and only the number changes. Below 18 ONNX's own
version converter rewrites what changed (axes of reductions, Split).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roadworthy.core.samples import Samples
from roadworthy.core.signature import Signature
from roadworthy.graph.serial import too_large_for
from roadworthy.precision.scoring import literal_answers
from roadworthy.precision.typed import check, opset_of, value_names

if TYPE_CHECKING:
    import onnx_ir as ir

HALF_SCALES = 19
"""The first opset whose QuantizeLinear and DequantizeLinear take FP16."""
# From here on to HALF_SCALES nothing is rewritten.
_ADDITIVE = 18
# ONNX's versioning table names this one with opset 19.
_IR_VERSION = 9


def raised(model: ir.Model) -> tuple[ir.Model, str]:
    """Return a copy at `HALF_SCALES`, or the model itself with the reason why it can't be had.

    A model that is there already, or higher, is returned without a reason.
    """
    if opset_of(model) >= HALF_SCALES:
        return model, ""
    copy, reason = (model.clone(), "") if opset_of(model) == _ADDITIVE else _converted(model)
    if reason:
        return model, reason
    for graph in copy.graphs():
        graph.opset_imports.pop("ai.onnx", None)
        graph.opset_imports[""] = HALF_SCALES
    for node in copy.graph.all_nodes():
        if not node.domain:
            node.version = None
    copy.ir_version = max(copy.ir_version, _IR_VERSION)
    complaint = check(copy)
    if complaint:
        return model, f"ONNX's checker refuses it at opset {HALF_SCALES}: {complaint}"
    return copy, ""


def _converted(model: ir.Model) -> tuple[ir.Model, str]:
    """Return the model at `_ADDITIVE` by ONNX's converter, or why it has none."""
    import onnx_ir as ir
    from google.protobuf.message import EncodeError
    from onnx import version_converter

    if model.functions:
        return model, "ONNX's version converter knows no functions"
    if why := too_large_for("ONNX's version converter", model):
        return model, why
    try:
        proto = version_converter.convert_version(ir.to_proto(model), _ADDITIVE)
    except (
        version_converter.ConvertError,
        EncodeError,
        # An operator that ONNX hasn't had is looked up in a map, and not found there.
        IndexError,
        RuntimeError,
        ValueError,
    ) as error:
        return model, "ONNX's version converter can't: " + " ".join(str(error).split())
    found = ir.from_proto(proto)
    lost = value_names(model) - value_names(found)
    if lost:
        return model, f"ONNX's version converter renamed tensor {min(lost)!r}"
    return found, ""


def same_answers(one: ir.Model, other: ir.Model, signature: Signature, samples: Samples) -> bool:
    """Tell whether two networks give the same bits, computed literally, on all samples."""
    pairs = zip(
        literal_answers(one, signature, samples),
        literal_answers(other, signature, samples),
        strict=True,
    )
    return all(
        first.keys() == second.keys()
        and all(
            (first[name].dtype, first[name].shape) == (second[name].dtype, second[name].shape)
            and first[name].tobytes() == second[name].tobytes()
            for name in first
        )
        for first, second in pairs
    )


def adds_otherwise(model: ir.Model) -> bool:
    """Tell a network of which ONNX Runtime gives other bits at `HALF_SCALES`, and rightly so.

    From opset 19 on its AveragePool adds up in another order (seen with version 1.31 on a CPU).
    """
    return any(node.op_type == "AveragePool" for node in model.graph.all_nodes())
