"""A calibration cache as TensorRT 8's `IInt8EntropyCalibrator2` reads it, for those still on it.

Text: a head that names version and algorithm, then one line a tensor: its name and, as the eight
hex digits of a big-endian float32, its scale: dynamic range / 127 (as trtexec and Polygraphy write
it).
"""

from __future__ import annotations

import struct

from roadworthy.precision.calibrate import Calibration
from roadworthy.precision.methods import covered
from roadworthy.precision.plan import PrecisionPlan

HEAD = "TRT-8600-EntropyCalibration2"


def calibration_cache(plan: PrecisionPlan, calibration: Calibration) -> str:
    """Return the cache's text: a scale for every tensor that the calibration has seen.

    Args:
        plan: made by the method whose ranges are to be written.
        calibration: of the same network; names are those of the ONNX graph, as TensorRT's.
    """
    method = str(plan.account["method"])
    lines = [HEAD]
    for name, seen in calibration.tensors.items():
        _, high = covered(seen, method, symmetric=True, levels=254)
        if high > 0.0:
            lines.append(f"{name}: {struct.pack('>f', high / 127.0).hex()}")
    return "\n".join(lines) + "\n"
