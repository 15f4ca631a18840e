"""Every tolerance of roadworthy, each with its origin. None is stated anywhere else.

FP32 (DESIGN.md): relative L2 ≤ max(8 × the worst sample's FP32-against-FP64 relative L2,
32 · eps · √depth). The first term is the network's own noise, measured; the second is the growth
of rounding errors along a path of `depth` arithmetic nodes if they are independent (a random walk,
Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., §2.8), with a factor for the
different summation orders of two runtimes.
"""

from __future__ import annotations

import math

from roadworthy.core.errors import UsageError
from roadworthy.core.verdict import Metric, Tolerance

FP32_EPS = 2.0**-23
NOISE_FACTOR = 8.0
DEPTH_FACTOR = 32.0
# Above this even the source framework's FP32 answers carry too little to judge an engine by: the
# limit is never widened beyond it, whatever the noise. Clean FP32 engines stay below 1e-4.
FP32_CEILING = 1e-2
# Labels and masks: two right FP32 engines may break near-ties differently. On 16 scenes of the
# example UNet (1,048,576 pixels) ONNX Runtime and PyTorch differ in none; 1 in 10,000 is allowed.
MISMATCH_FLOOR = 1e-4
# Unit roundoff: half the distance from 1 to the next number (IEEE 754; TF32 and FP16 keep 10 bits
# of fraction, BF16 keeps 7).
UNIT_ROUNDOFF = {
    "tf32": 2.0**-11,
    "fp16": 2.0**-11,
    "bf16": 2.0**-8,
    # Half a step of 8 bits over the range, for runtimes that round a Q/DQ graph at other places
    # than it says: clean ones were seen up to 2.2e-2 apart (a YOLO-like network), wrong ones 0.3.
    "int8": 2.0**-9,
}
REDUCED_FACTOR = 8.0
# More than this is no rounding any more, whatever the depth.
REDUCED_CEILING = 5e-2
REDUCED_MISMATCH = 1e-2
# A quantised engine against the same Q/DQ graph computed literally, operator by operator, in FP32:
# a runtime may fuse and round otherwise, which moves single values by a step. Clean engines stay
# within 1.2 times the literal error (UNet, DETR- and YOLO-like networks on ONNX Runtime and
# OpenVINO); the one that was wrong (OpenVINO with signed activations) had 30 times.
LITERAL_FACTOR = 2.0
# More than this (12 dB) isn't the same network any more, whatever its Q/DQ graph says.
QUANTISED_CEILING = 0.25
QUANTISED_MISMATCH = 0.1
# A part on a smaller scale than the rest of its output (confidences beside pixels) is judged by
# itself by the same measure: its error is lost in the whole's. But not where FP32 has this noise
# there: FP16's roundoff is 2^13 times as large, and would come to that by itself.
PARTS_CEILING = QUANTISED_CEILING
PARTS_NOISE = PARTS_CEILING / 2**13
# Where none of n elements differs, the share that would differ in many more may still be 3/n, at
# 95 % confidence (rule of three; Hanley and Lippman-Hand, "If nothing goes wrong, is everything
# all right?", JAMA 249(13), 1983): what a sample is too small to tell, it can't refuse for.
UNSEEN_SHARE = 3.0
# Two oracles that compute the same network in FP32 and FP64 differ by rounding. Ten times the
# largest difference seen between right ones is 1e-3; more means that one of them is wrong.
ORACLES_AGREE = 1e-3
# In a Q/DQ graph the smallest difference before a rounding becomes a whole step after it.
QUANTISED_ORACLES_AGREE = REDUCED_CEILING


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


def tolerance_for(
    dtype: str, noise: float | None, depth: int, precision: str = "fp32"
) -> Tolerance:
    """Return the tolerance of an output of this dtype name, for an engine of this precision.

    Never below the FP32 tolerance: what the network itself can't hold, no engine can.
    """
    exact = fp32_tolerance(noise, depth) if is_floating(dtype) else discrete_tolerance(noise)
    if precision == "fp32":
        return exact
    reduced = reduced_tolerance(precision, depth, floating=is_floating(dtype))
    return max(exact, reduced, key=lambda tolerance: tolerance.limit)


def reduced_tolerance(precision: str, depth: int, *, floating: bool) -> Tolerance:
    """Return the known error of a reduced precision: 8 · u · √depth, u its unit roundoff.

    Rounding errors of relative size u at every arithmetic node, independent of each other, grow as
    a random walk (see the module's text). Clean engines measured on an H200 (TensorRT 8.6,
    ResNet-50 and the UNet, depth about 50): 8e-4 in TF32, 9e-4 in FP16; their limits: 2.8e-2.

    Raises:
        UsageError: a precision whose error isn't known.
    """
    if precision not in UNIT_ROUNDOFF:
        raise UsageError(f"the error of precision {precision!r} isn't known")
    if not floating:
        origin = f"near-ties under {precision}: 1 element in 100"
        return Tolerance("mismatch_share", REDUCED_MISMATCH, origin)
    limit = REDUCED_FACTOR * UNIT_ROUNDOFF[precision] * math.sqrt(max(depth, 1))
    limit = min(limit, REDUCED_CEILING)
    origin = f"known error of {precision}: 8·u·√depth, u = {UNIT_ROUNDOFF[precision]:.2g}"
    return Tolerance("relative_l2", limit, f"{origin}, depth {depth}, at most {REDUCED_CEILING}")


def ceiling(precision: str, metric: Metric) -> float:
    """Return what no limit of this precision is ever above, whatever was measured."""
    if precision == "fp32":
        return FP32_CEILING
    floating = metric == "relative_l2"
    if precision == "int8":
        return QUANTISED_CEILING if floating else QUANTISED_MISMATCH
    return REDUCED_CEILING if floating else REDUCED_MISMATCH


def quantised_ceiling(exact: Tolerance) -> Tolerance:
    """Return how far quantisation itself may move an output, by its FP32 tolerance."""
    limit = ceiling("int8", exact.metric)
    origin = "the most that quantisation may cost"
    return Tolerance(exact.metric, limit, origin, exact.parts)


def quantised_tolerance(literal: float, exact: Tolerance, elements: int | None = None) -> Tolerance:
    """Return the tolerance of a quantised engine's output.

    1. Twice the literal error, never above the ceiling.
    2. Of labels at least 3/n (see `UNSEEN_SHARE`), never above the ceiling either.
    3. Never below the FP32 tolerance.

    Args:
        literal: the error of the same Q/DQ graph computed literally, on the same samples; in the
            metric of `exact`.
        exact: the output's FP32 tolerance, below which no engine needs to come.
        elements: of the output in its smallest sample, n of 2; None leaves that out.
    """
    limit = LITERAL_FACTOR * literal
    origin = f"{LITERAL_FACTOR:.0f} × {literal:.2g}, the error of its Q/DQ graph computed literally"
    if exact.metric == "mismatch_share" and elements and limit < UNSEEN_SHARE / elements:
        limit = UNSEEN_SHARE / elements
        origin = (
            f"3/n, n = {elements}: what the smallest sample is too small to tell, where its Q/DQ "
            f"graph computed literally has {literal:.2g}"
        )
    if limit <= exact.limit:
        return exact
    most = ceiling("int8", exact.metric)
    return Tolerance(exact.metric, min(limit, most), f"{origin}; at most {most}", exact.parts)


def is_floating(dtype: str) -> bool:
    """Tell whether an output of this dtype name is judged by its relative error."""
    return dtype.startswith(("float", "bfloat", "complex"))
