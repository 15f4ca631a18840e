"""The two half formats: what fits, what is lost."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_ir as ir

from roadworthy.core.errors import UsageError
from roadworthy.core.signature import Array

# A tensor that reaches more than a quarter of the largest number stays FP32: samples don't show
# the largest value there will ever be, and two binades are what a new image is allowed on top.
HEADROOM = 4.0
# Rounding to the nearest costs a value in the normal range at most one unit roundoff u, so a whole
# tensor, or a channel of it, at most u in relative L2. Twice that is reached only when values were
# flushed to zero or lost bits in the subnormal range.
WEIGHT_ERROR_IN_ROUNDOFFS = 2.0


@dataclass(frozen=True, slots=True)
class Format:
    """A half format.

    Attributes:
        name: as in plans, "fp16" or "bf16".
        dtype: ONNX's.
        numpy: NumPy's.
        largest: finite number.
        smallest_normal: positive number; values below it lose bits.
        unit_roundoff: largest relative rounding error of a normal number.
        exact_integer: all integers up to this one are exact.
        cast_opset: the first opset whose Cast knows it.
    """

    name: str
    dtype: ir.DataType
    numpy: np.dtype
    largest: float
    smallest_normal: float
    unit_roundoff: float
    exact_integer: int
    cast_opset: int


# IEEE 754-2019, table 3.5: binary16 has 11 significant bits and exponents -14 to 15.
FP16 = Format(
    "fp16", ir.DataType.FLOAT16, np.dtype(np.float16), 65504.0, 2.0**-14, 2.0**-11, 2048, 6
)
# bfloat16: 8 significant bits and binary32's exponents -126 to 127.
BF16 = Format(
    "bf16",
    ir.DataType.BFLOAT16,
    np.dtype(ml_dtypes.bfloat16),
    (2.0 - 2.0**-7) * 2.0**127,
    2.0**-126,
    2.0**-8,
    256,
    13,
)
_FORMATS = {item.name: item for item in (FP16, BF16)}


def format_of(precision: str) -> Format:
    """Return a format by the plan's word for it.

    Raises:
        UsageError: another word.
    """
    if precision not in _FORMATS:
        raise UsageError(
            f"{precision!r} is no half precision",
            where="the plan's precision",
            remedy=f"ask for one of {', '.join(_FORMATS)}",
        )
    return _FORMATS[precision]


def rounded(values: Array, form: Format) -> Array:
    """Return FP32 values in the half format, rounded to the nearest, ties to even."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.asarray(values).astype(form.numpy)


def constant_reason(values: Array, form: Format) -> str:
    """Return why a constant can't be stored in this format; empty when it can."""
    if values.size == 0:
        return ""
    magnitude = float(np.max(np.abs(values)))
    if not np.isfinite(magnitude):
        return "a constant of it isn't finite: masks stay FP32"
    if magnitude > form.largest:
        return f"a constant of it reaches {magnitude:.2g}, {form.name} ends at {form.largest:.5g}"
    if magnitude == 0.0:
        return ""
    # Scaled, so that squares of values near FP32's largest stay finite.
    exact = np.asarray(values, np.float64) / magnitude
    error = exact - rounded(values, form).astype(np.float64) / magnitude
    relative = float(np.linalg.norm(error) / np.linalg.norm(exact))
    if relative > WEIGHT_ERROR_IN_ROUNDOFFS * form.unit_roundoff:
        return (
            f"a constant of it is too small for {form.name}: "
            f"rounding changes it by {relative:.1g} in relative L2"
        )
    return ""


def lost_channels(rows: Array, form: Format) -> tuple[int, float]:
    """Return how many rows rounding changes too much, and by how much at most in relative L2.

    A row of zeros is exact. None may reach beyond the format.
    """
    magnitudes = np.max(np.abs(rows), axis=1, keepdims=True).astype(np.float64)
    kept = magnitudes[:, 0] > 0.0
    rows, magnitudes = rows[kept], magnitudes[kept]
    exact = rows.astype(np.float64) / magnitudes
    error = exact - rounded(rows, form).astype(np.float64) / magnitudes
    relative = np.linalg.norm(error, axis=1) / np.linalg.norm(exact, axis=1)
    lost = relative > WEIGHT_ERROR_IN_ROUNDOFFS * form.unit_roundoff
    return int(lost.sum()), float(relative.max(initial=0.0))


def range_reason(low: float, high: float, form: Format) -> str:
    """Return why values between `low` and `high` don't fit; empty when they do."""
    magnitude = max(abs(low), abs(high))
    if not np.isfinite(low) or not np.isfinite(high):
        return "a tensor of it isn't finite on the samples"
    if magnitude > form.largest / HEADROOM:
        return (
            f"a tensor of it reaches {magnitude:.2g}, "
            f"above a quarter of {form.name}'s largest number {form.largest:.5g}"
        )
    if 0.0 < magnitude < form.smallest_normal:
        # From the smallest normal number up, the subnormals' spacing is at most u of the largest.
        return (
            f"a tensor of it never leaves {form.name}'s subnormal numbers (largest {magnitude:.2g})"
        )
    return ""
