"""What the tests of half need: networks run as written, and the ranges that they show."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from roadworthy.core.signature import Array
from roadworthy.precision.plan import PrecisionPlan
from roadworthy.precision.typed import is_float, typed_copy


def run(model: ir.Model, feed: Mapping[str, Array]) -> dict[str, Array]:
    """Run a model in ONNX Runtime on the CPU as it is written, nothing optimised.

    Its CPU provider computes FP16 nodes in FP32 between casts: the roundings of every tensor are
    those of FP16, the sums inside a node aren't. No proof for a device, but right for the graph.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feed)), strict=True))


def ranges_of(model: ir.Model, feed: Mapping[str, Array]) -> dict[str, tuple[float, float]]:
    """Return the range of every FP32 tensor outside of bodies, inputs too, on one feed."""
    shown = typed_copy(model)
    outputs = set(shown.graph.outputs)
    for node in shown.graph:
        for value in node.outputs:
            if is_float(value) and value.name and value not in outputs:
                shown.graph.outputs.append(value)
    found = run(shown, feed) | dict(feed)
    return {
        name: (float(array.min()), float(array.max()))
        for name, array in found.items()
        if isinstance(array, np.ndarray) and array.dtype == np.float32 and array.size
    }


def relative(ours: Array, truth: Array) -> float:
    """Return the relative L2 error, in FP64."""
    exact = truth.astype(np.float64)
    norm = float(np.linalg.norm(exact))
    error = float(np.linalg.norm(ours.astype(np.float64) - exact))
    return error / norm if norm else error


def dtypes(plan: PrecisionPlan) -> dict[str, str]:
    """Return each decided node's dtype by name."""
    return {item.node: item.dtype for item in plan.decisions}


def reason(plan: PrecisionPlan, node: str) -> str:
    """Return the reason of the one decision about this node."""
    [found] = [item.reason for item in plan.decisions if item.node == node]
    return found
