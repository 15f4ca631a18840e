"""A histogram whose result doesn't depend on the order or the batches that values came in.

Bins are linear, their width is a power of two, and one edge is at zero. A value beyond the range
doubles the range: pairs of bins are added up, and because widths are powers of two every old bin
lies wholly within a new one, so the counts are what they would have been from the beginning. Memory
is fixed: `BINS` counts, whatever the number of values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from roadworthy.core.signature import Array

# On each side of zero. After the last doubling between half of them and all are in use: 2048 to
# 4096, where TensorRT's entropy calibrator has 2048 ("8-bit Inference with TensorRT", GTC 2017).
HALF = 4096
BINS = 2 * HALF
# Counted at a time: the temporaries stay in the cache, and memory doesn't grow with the tensor.
_CHUNK = 1 << 16
# Below 2**-100 a bin's width would be no normal float32 number; such tensors are zero in INT8.
_LOWEST_EXPONENT = -100


@dataclass
class Histogram:
    """Counts of finite float values over (−2**exponent, 2**exponent).

    Attributes:
        exponent: of the range; None while only zeros were seen.
        counts: int64, shape (BINS,); bin `HALF` begins at zero.
    """

    exponent: int | None = None
    counts: Array = field(default_factory=lambda: np.zeros(BINS, np.int64))

    @property
    def width(self) -> float:
        """The width of a bin."""
        return math.ldexp(1.0, self._exponent) / HALF

    @property
    def _exponent(self) -> int:
        return _LOWEST_EXPONENT if self.exponent is None else self.exponent

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    @property
    def edges(self) -> Array:
        """The BINS + 1 edges, float64."""
        edges: Array = (np.arange(BINS + 1) - HALF) * self.width
        return edges

    def add(self, values: Array, magnitude: float) -> None:
        """Count values.

        Args:
            values: finite floats of any shape.
            magnitude: the largest absolute value among them, which the caller knows already.
        """
        if magnitude == 0.0:
            self.counts[HALF] += values.size
            return
        # frexp: magnitude < 2**exponent, and never equal to it.
        self._widen(max(math.frexp(magnitude)[1], _LOWEST_EXPONENT))
        flat = values.reshape(-1)
        scale = HALF / math.ldexp(1.0, self._exponent)
        # A scale below one would take the smallest negative numbers to -0, out of their bin.
        wide = np.dtype(np.float32 if scale >= 1.0 else np.float64)
        scaled = np.empty(min(_CHUNK, flat.size), wide)
        index = np.empty(min(_CHUNK, flat.size), np.intp)
        for start in range(0, flat.size, _CHUNK):
            part = flat[start : start + _CHUNK]
            bins, where = scaled[: part.size], index[: part.size]
            # A product with a power of two is exact, so a value's bin is too.
            np.multiply(part, scale, out=bins, dtype=wide, casting="same_kind")
            np.floor(bins, out=bins)
            np.copyto(where, bins, casting="unsafe")
            where += HALF
            self.counts += np.bincount(where, minlength=BINS)

    def merge(self, other: Histogram) -> None:
        """Add another histogram's counts; the result is as if its values had been added here."""
        if other.exponent is not None:
            self._widen(other.exponent)
        self.counts += _doubled(other.counts, self._exponent - other._exponent)

    def _widen(self, exponent: int) -> None:
        if self.exponent is None:
            # Only zeros so far; their bin is the same at every width.
            self.exponent = exponent
        elif exponent > self.exponent:
            self.counts = _doubled(self.counts, exponent - self.exponent)
            self.exponent = exponent


def _doubled(counts: Array, times: int) -> Array:
    """Return the counts over a range that is 2**times as wide."""
    step = 2 ** min(times, 30)
    if step == 1:
        return counts
    wide = np.zeros(BINS, np.int64)
    # floor(i / step) of the signed index, also where `step` is more than all bins of a side.
    index = (np.arange(BINS) - HALF) // step + HALF
    np.add.at(wide, index, counts)
    return wide
