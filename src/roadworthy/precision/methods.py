"""From a histogram to a range that INT8 shall cover: min-max, percentile, MSE, entropy.

All work on the same histogram, so several methods cost one pass over the data.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from roadworthy.core.errors import UsageError
from roadworthy.core.signature import Array
from roadworthy.precision.histogram import HALF, Histogram
from roadworthy.precision.observe import Observed

# Share of values that the range covers; what is cut off is split between both sides.
PERCENTILE = 0.9999
# Ranges tried by MSE and entropy, as shares of the whole.
_SHARES = np.arange(1, 101) / 100.0
# MSE looks again around the best of them, ten times as closely.
_CLOSER = np.arange(-9, 10) / 1000.0
# Quantisation levels of one side in entropy's comparison (GTC 2017, see `_entropy`).
_LEVELS = 128

Range = tuple[float, float]


def covered(observed: Observed, method: str, *, symmetric: bool, levels: int) -> Range:
    """Return (low, high), with low ≤ 0 ≤ high, that quantisation shall cover.

    Args:
        observed: with a histogram, unless the method is "minmax".
        method: one of `METHODS`.
        symmetric: make the range symmetric about zero.
        levels: how many steps the whole range will have.

    Raises:
        UsageError: an unknown method.
    """
    if method not in METHODS:
        raise UsageError(
            f"{method!r} isn't a calibration method",
            where="--method",
            remedy=f"choose one of: auto, {', '.join(METHODS)}",
        )
    if observed.count == 0:
        return 0.0, 0.0
    whole = min(observed.low, 0.0), max(observed.high, 0.0)
    if symmetric:
        whole = _symmetric(whole)
    if method == "minmax" or observed.histogram is None or whole[0] == whole[1]:
        return whole
    found = METHODS[method](observed.histogram, whole, levels)
    inside = max(whole[0], min(found[0], 0.0)), min(whole[1], max(found[1], 0.0))
    return _symmetric(inside) if symmetric else inside


def _symmetric(covered_range: Range) -> Range:
    largest = max(-covered_range[0], covered_range[1])
    return -largest, largest


def _minmax(histogram: Histogram, whole: Range, levels: int) -> Range:
    return whole


def _percentile(histogram: Histogram, whole: Range, levels: int) -> Range:
    """Cut off so many of the largest magnitudes that `PERCENTILE` of all values remain."""
    counts = histogram.counts
    allowed = (1.0 - PERCENTILE) * histogram.total
    sides = 2 if counts[:HALF].any() and counts[HALF:].any() else 1
    low = np.searchsorted(np.cumsum(counts), allowed / sides, side="right")
    high = len(counts) - np.searchsorted(np.cumsum(counts[::-1]), allowed / sides, side="right")
    return (low - HALF) * histogram.width, (high - HALF) * histogram.width


def _mse(histogram: Histogram, whole: Range, levels: int) -> Range:
    """Minimise the mean squared error of rounding within the range and clipping beyond it.

    Rounding to steps of s costs s²/12 a value (uniform error), except that values below s/2 become
    zero, which costs their square: post-activation tensors are full of them.
    """
    centres, counts = _occupied(histogram)
    low, high = whole
    squares = centres**2

    def cost(share: float) -> float:
        step = share * (high - low) / levels
        beyond = np.maximum(centres - share * high, 0.0) + np.maximum(share * low - centres, 0.0)
        inside = np.minimum(squares, step**2 / 12.0)
        return float((counts * np.where(beyond > 0.0, beyond**2, inside)).sum())

    best = min(_SHARES, key=cost)
    best = min(np.minimum(best + _CLOSER, 1.0), key=cost)
    return float(best * low), float(best * high)


def _entropy(histogram: Histogram, whole: Range, levels: int) -> Range:
    """Minimise the Kullback-Leibler divergence between the clipped distribution and its INT8 form.

    NVIDIA's calibrator (S. Migacz, "8-bit Inference with TensorRT", GTC 2017) on magnitudes: the
    reference is the histogram up to a threshold with the rest added to its last bin, the candidate
    the same bins merged into 128 levels and spread evenly over the bins that aren't empty.
    """
    counts = histogram.counts
    magnitudes = counts[HALF:] + counts[:HALF][::-1]
    used = int(np.nonzero(magnitudes)[0].max(initial=0)) + 1
    if used <= _LEVELS:
        return whole
    # Zeros say nothing about where to clip, and after a ReLU they are half of all values.
    magnitudes = magnitudes.astype(np.float64)
    magnitudes[0] = magnitudes[1]
    ends = np.unique(np.linspace(_LEVELS, used, len(_SHARES), dtype=np.int64))
    divergences = [_divergence(magnitudes[:used], int(end)) for end in ends]
    threshold = float(ends[int(np.argmin(divergences))]) * histogram.width
    return max(whole[0], -threshold), min(whole[1], threshold)


def _divergence(magnitudes: Array, end: int) -> float:
    """Return KL(P‖Q) for a threshold after `end` bins."""
    reference = magnitudes[:end].copy()
    reference[-1] += magnitudes[end:].sum()
    level = np.arange(end) * _LEVELS // end
    occupied = magnitudes[:end] > 0
    sums = np.bincount(level, magnitudes[:end], minlength=_LEVELS)
    parts = np.bincount(level, occupied, minlength=_LEVELS)
    if not sums.any():
        # Everything lies beyond the threshold, as in a tensor of one value.
        return np.inf
    spread = np.where(occupied, (sums / np.maximum(parts, 1))[level], 0.0)
    p, q = reference / reference.sum(), spread / spread.sum()
    # A bin of P without one in Q (the added rest) would make it infinite: smooth it a little.
    return float((p[p > 0] * np.log(p[p > 0] / np.maximum(q[p > 0], 1e-12))).sum())


def _occupied(histogram: Histogram) -> tuple[Array, Array]:
    """Return centres and counts of the bins that have any."""
    where = np.nonzero(histogram.counts)[0]
    centres = (where - HALF + 0.5) * histogram.width
    return centres, histogram.counts[where].astype(np.float64)


METHODS: dict[str, Callable[[Histogram, Range, int], Range]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "mse": _mse,
    "entropy": _entropy,
}
