"""Every tolerance of roadworthy, each with its origin. None is stated anywhere else.

FP32 (DESIGN.md): relative L2 ≤ max(8 × the worst sample's FP32-against-FP64 relative L2,
32 · eps · √depth). The first term is the network's own noise, measured; the second is the growth
of rounding errors along a path of `depth` arithmetic nodes if they are independent (a random walk,
Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., §2.8), with a factor for the
different summation orders of two runtimes.
"""

from __future__ import annotations

import math

from roadworthy.core.verdict import Tolerance

FP32_EPS = 2.0**-23
NOISE_FACTOR = 8.0
DEPTH_FACTOR = 32.0
# Above this even the source framework's FP32 answers carry too little to judge an engine by: the
# limit is never widened beyond it, whatever the noise. Clean FP32 engines stay below 1e-4.
FP32_CEILING = 1e-2
# Labels and masks: two right FP32 engines may break near-ties differently. On 16 scenes of the
# example UNet (1,048,576 pixels) ONNX Runtime and PyTorch differ in none; 1 in 10,000 is allowed.
MISMATCH_FLOOR = 1e-4
# Two oracles that compute the same network in FP32 and FP64 differ by rounding. Ten times the
# largest difference seen between right ones is 1e-3; more means that one of them is wrong.
ORACLES_AGREE = 1e-3


def fp32_tolerance(noise: float | None, depth: int) -> Tolerance:
    """Return the FP32 tolerance of one floating output.

    Args:
        noise: the worst sample's FP32-against-FP64 relative L2; None where FP64 can't be had.
        depth: arithmetic nodes on the longest path of the graph.
    """
    floor = min(DEPTH_FACTOR * FP32_EPS * math.sqrt(max(depth, 1)), FP32_CEILING)
    rounding = f"32·eps·√depth = {floor:.2g} at depth {depth}"
    if noise is None:
        return Tolerance("relative_l2", floor, f"assumed: {rounding}; FP64 couldn't be had")
    measured = NOISE_FACTOR * noise
    if measured > FP32_CEILING:
        return Tolerance(
            "relative_l2",
            FP32_CEILING,
            f"ceiling {FP32_CEILING:.0e}: the network's own FP32 noise is {noise:.2g}",
        )
    if measured > floor:
        return Tolerance("relative_l2", measured, f"8 × the measured FP32 noise {noise:.2g}")
    return Tolerance("relative_l2", floor, f"{rounding}; measured FP32 noise {noise:.2g}")


def discrete_tolerance(noise: float | None) -> Tolerance:
    """Return the tolerance of one integer, boolean or text output, as a share of elements.

    Args:
        noise: the worst sample's share of elements that differ between FP32 and FP64, or None.
    """
    measured = NOISE_FACTOR * (noise or 0.0)
    if measured > MISMATCH_FLOOR:
        limit = min(measured, FP32_CEILING)
        return Tolerance("mismatch_share", limit, f"8 × the share {noise:.2g} that FP64 changes")
    known = "FP64 couldn't be had" if noise is None else f"FP64 changes {noise:.2g}"
    return Tolerance("mismatch_share", MISMATCH_FLOOR, f"near-ties: 1 element in 10,000; {known}")


def tolerance_for(dtype: str, noise: float | None, depth: int) -> Tolerance:
    """Return the FP32 tolerance of an output of this dtype name."""
    if is_floating(dtype):
        return fp32_tolerance(noise, depth)
    return discrete_tolerance(noise)


def is_floating(dtype: str) -> bool:
    """Tell whether an output of this dtype name is judged by its relative error."""
    return dtype.startswith(("float", "bfloat", "complex"))
