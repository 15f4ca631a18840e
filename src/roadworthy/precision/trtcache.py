"""A calibration cache as TensorRT 8's `IInt8EntropyCalibrator2` reads it, for those still on it.

Text: a head that names version and algorithm, then one line a tensor: its name and, as the eight
hex digits of a big-endian float32, its scale: dynamic range / 127 (as trtexec and Polygraphy write
it).

TensorRT places the INT8 itself then, and runs no layer in it that takes or gives a tensor without a
scale. So the cache holds every tensor of floats, not only those that a Q/DQ would stand at.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from roadworthy.graph.inner import subgraphs
from roadworthy.precision.calibrate import Calibration
from roadworthy.precision.methods import covered
from roadworthy.precision.plan import PrecisionPlan
from roadworthy.precision.typed import is_float, typed_copy

if TYPE_CHECKING:
    import onnx_ir as ir

HEAD = "TRT-8600-EntropyCalibration2"
_SMALLEST_SCALE = float(np.finfo(np.float32).smallest_normal)


def calibration_cache(plan: PrecisionPlan, calibration: Calibration) -> str:
    """Return the cache's text: a scale for every tensor that was seen to be something but zero.

    Args:
        plan: made by the method whose ranges are to be written.
        calibration: of the same network, of the tensors that `cached_tensors` names; names are
            those of the ONNX graph, as TensorRT's.
    """
    method = str(plan.account["method"])
    lines = [HEAD]
    for name, seen in calibration.tensors.items():
        _, high = covered(seen, method, symmetric=True, levels=254)
        scale = high / 127.0
        if scale >= _SMALLEST_SCALE:
            lines.append(f"{name}: {struct.pack('>f', scale).hex()}")
    return "\n".join(lines) + "\n"


def cached_tensors(model: ir.Model) -> list[str]:
    """Return the names of all tensors of floats that depend on the network's inputs.

    Those inside of branches and loops, which TensorRT 8 runs in float, aren't among them.
    """
    graph = typed_copy(model).graph
    found = {value: None for value in graph.inputs if not value.is_initializer()}
    for node in graph:
        # What is computed from shapes alone is none of data, even as floats.
        if node.op_type not in ("Shape", "Size") and any(value in found for value in _read(node)):
            found |= dict.fromkeys(node.outputs)
    return [value.name for value in found if value.name and is_float(value)]


def _read(node: ir.Node) -> Iterable[ir.Value | None]:
    """Yield what a node reads, in its branches and bodies too."""
    yield from node.inputs
    for graph in subgraphs(node):
        for inner in graph.all_nodes():
            yield from inner.inputs
