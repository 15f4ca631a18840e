"""How far one array is from its reference, computed blockwise in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from roadworthy.core.signature import Array

# Elements per block: two float64 copies of a block stay in a second-level cache.
_BLOCK = 1 << 16
MVRE_FLOOR = 1e-3
# Between these the sum of a thousand million squares neither overflows nor vanishes.
_SQUARE_LOW, _SQUARE_HIGH = 1e-140, 1e140
# What fills masked places (-1e4, -1e9, the least number of the dtype): a value that the reference
# holds several times, at least this large, and this many times larger than everything else.
_FILL, _FILL_RATIO = 1e4, 1e3
# What is this many times smaller than the rest of an output can be wrong throughout while the
# output's relative L2 stays below what FP16 and INT8 are allowed. A YOLO's confidences are 50 to
# 1,000 times smaller than its boxes. So few elements tell no size.
_SCALES_APART, _FEW = 10.0, 16
# A reference that varies by less than this share of its size (8 times FP32's eps) is constant.
_ROUNDING = 2.0**-20


@dataclass(frozen=True, slots=True)
class PairMetrics:
    """The metrics of one array against one reference; see `core.verdict.Metrics`.

    The patterns tell what no tolerance may excuse: `nonfinite` counts values that are NaN or
    infinite where the reference isn't the same, or the other way round. `parts_l2` is the largest
    relative L2 of a part on a smaller scale than the rest (see `_parts_apart`), 0 without one.
    """

    mvre: float
    max_abs: float
    relative_l2: float
    cosine: float
    sqnr_db: float
    mismatch_share: float
    bit_equal: bool
    nonfinite: int
    all_zero: bool
    constant: bool
    parts_l2: float = 0.0


EQUAL = PairMetrics(0.0, 0.0, 0.0, 1.0, math.inf, 0.0, True, 0, False, False)


def compare_pair(reference: Array, answer: Array) -> PairMetrics:
    """Compare two arrays of the same shape and dtype (text and booleans too).

    MVRE = mean(|y - r| / max(|r|, f)), f = 1e-3 · RMS(r) (DESIGN.md). Positions where the
    reference isn't finite count for `nonfinite` only. Beside the fill of a mask (see `_FILL`) an
    error of everything else would vanish: where there is one, MVRE, relative L2, cosine and SQNR
    are the worse of the whole's and of everything else's.
    """
    if reference.size == 0:
        return EQUAL
    r, y = reference.reshape(-1), answer.reshape(-1)
    # Comparing bytes costs one pass and decides most discrete outputs.
    if r.dtype.kind != "O" and np.array_equal(_bits(r), _bits(y)):
        return EQUAL
    if r.dtype.kind in "OUST":
        share = float(np.mean(r != y))
        if share == 0.0:
            return EQUAL
        return PairMetrics(share, share, share, 1.0 - share, 0.0, share, False, 0, False, False)
    if r.dtype.kind == "c":
        return compare_pair(_parts(r), _parts(y))
    with np.errstate(over="ignore", invalid="ignore"):
        whole = _compare_scaled(r, y)
        rest = _beside_fill(r)
        if rest is not None:
            return _worse(whole, _compare_scaled(r[rest], y[rest]))
        parts = [
            _compare_scaled(reference[part].reshape(-1), answer[part].reshape(-1)).relative_l2
            for part in _parts_apart(reference)
        ]
        return replace(whole, parts_l2=max(parts, default=0.0))


def _compare_scaled(r: Array, y: Array) -> PairMetrics:
    scale = _scale(r, y)
    if scale == 1.0:
        return _compare_numbers(r, y)
    scaled = _compare_numbers(r * scale, y * scale)
    return replace(scaled, max_abs=scaled.max_abs / scale)


def _beside_fill(r: Array) -> Array | None:
    """Return where a floating reference isn't the fill of a mask; None where there is none."""
    if r.dtype.kind in "biu":
        return None
    # Blockwise: most references have no fill, and need no copy in float64.
    blocks = (r[start : start + _BLOCK] for start in range(0, r.size, _BLOCK))
    peak = max(_peak(block.astype(np.float64)) for block in blocks)
    if peak < _FILL:
        return None
    size = np.abs(r.astype(np.float64))
    rest = np.asarray(size != peak)
    others = _peak(size[rest])
    # One large value may be an answer; the same one twice was filled in.
    if np.count_nonzero(~rest) < 2 or others == 0.0 or others * _FILL_RATIO > peak:
        return None
    return rest


def _parts_apart(r: Array) -> list[tuple[slice | Array, ...]]:
    """Return where a floating reference is on a smaller scale than at its largest.

    Boxes in pixels beside confidences, say: slices, sorted by their RMS, are cut where one is
    `_SCALES_APART` times the one before. They are of axis 1 or the last one, whichever is shorter:
    features are, beside anchors, tokens or pixels. Outputs whose largest slice is of size 1 are
    left alone: among probabilities the small ones are of no other kind. So are slices of zeros, and
    everything where a slice has too few elements to have a size.
    """
    if r.dtype.kind in "biu" or r.ndim < 2:
        return []
    axis = 1 if r.shape[1] <= r.shape[-1] else r.ndim - 1
    if r.shape[axis] < 2 or r.size < _FEW * r.shape[axis]:
        return []
    sizes = _sizes(r, axis)
    order = np.argsort(sizes)
    order = order[sizes[order] > 0.0]
    ranked = sizes[order]
    if not ranked.size or not 1.0 < ranked[-1] < math.inf:
        return []
    cuts = np.flatnonzero(ranked[1:] >= _SCALES_APART * ranked[:-1]) + 1
    before = (slice(None),) * axis
    return [(*before, np.sort(part)) for part in np.split(order, cuts)[:-1]]


def _sizes(r: Array, axis: int) -> Array:
    """Return the RMS of every slice of an axis."""
    count = r.shape[axis]
    rows = r.reshape(math.prod(r.shape[:axis]), count, -1)
    step = max(1, _BLOCK * len(rows) // r.size)
    squares = np.zeros(count)
    for start in range(0, len(rows), step):
        block = rows[start : start + step].astype(np.float64)
        squares += np.einsum("abc,abc->b", block, block)
    return np.asarray(np.sqrt(squares * count / r.size))


def _worse(whole: PairMetrics, rest: PairMetrics) -> PairMetrics:
    """Return the whole's metrics, with the rest's relative ones where those are worse."""
    return replace(
        whole,
        mvre=max(whole.mvre, rest.mvre),
        relative_l2=max(whole.relative_l2, rest.relative_l2),
        cosine=min(whole.cosine, rest.cosine),
        sqnr_db=min(whole.sqnr_db, rest.sqnr_db),
        all_zero=whole.all_zero or rest.all_zero,
        constant=whole.constant or rest.constant,
    )


def _parts(array: Array) -> Array:
    """Return a complex array as its real and imaginary parts in turn."""
    return np.ascontiguousarray(array).view(array.real.dtype)


def _scale(r: Array, y: Array) -> float:
    """Return the power of two that brings doubles near 1 where their squares leave the range."""
    if r.dtype.kind != "f" or r.dtype.itemsize < 8:
        return 1.0
    peak = max(_peak(r), _peak(y))
    if peak == 0.0 or _SQUARE_LOW < peak < _SQUARE_HIGH:
        return 1.0
    return 2.0 ** -max(-1000, min(1000, math.frexp(peak)[1]))


def _peak(array: Array) -> float:
    return float(np.max(np.abs(array), where=np.isfinite(array), initial=0.0))


def _bits(array: Array) -> Array:
    flat = np.ascontiguousarray(array)
    return flat.view(np.uint8) if flat.dtype.itemsize else flat


@dataclass(slots=True)
class _Sums:
    """Running sums over the finite positions."""

    count: int = 0
    r2: float = 0.0
    y2: float = 0.0
    ry: float = 0.0
    d2: float = 0.0
    relative: float = 0.0
    max_abs: float = 0.0
    mismatches: int = 0
    nonfinite: int = 0


def _compare_numbers(r: Array, y: Array) -> PairMetrics:
    floor = MVRE_FLOOR * _rms(r)
    sums = _Sums()
    for start in range(0, r.size, _BLOCK):
        _add_block(sums, r[start : start + _BLOCK], y[start : start + _BLOCK], floor)
    relative_l2 = _ratio(math.sqrt(sums.d2), math.sqrt(sums.r2))
    return PairMetrics(
        mvre=sums.relative / sums.count if sums.count else 0.0,
        max_abs=sums.max_abs,
        relative_l2=relative_l2,
        cosine=_cosine(sums),
        sqnr_db=-20.0 * math.log10(relative_l2) if 0 < relative_l2 < math.inf else _extreme(sums),
        mismatch_share=sums.mismatches / r.size,
        bit_equal=False,
        nonfinite=sums.nonfinite,
        all_zero=_is_all(y, 0) and not _is_all(r, 0),
        constant=r.size > 1 and _is_all(y, y[0]) and _varies(r),
    )


def _add_block(sums: _Sums, r_raw: Array, y_raw: Array, floor: float) -> None:
    r = r_raw.astype(np.float64)
    y = y_raw.astype(np.float64)
    # A finite sum has finite terms: one cheap pass instead of two masks on the usual path.
    if not math.isfinite(float(r.sum()) + float(y.sum())):
        r, y = _finite_part(sums, r, y)
    if not r.size:
        return
    sums.count += r.size
    sums.r2 += _dot(r, r)
    sums.y2 += _dot(y, y)
    sums.ry += _dot(r, y)
    distance = np.abs(np.subtract(y, r, out=y), out=y)
    # In float64 two 64-bit integers can be equal that aren't.
    exact = r_raw != y_raw if r_raw.dtype.kind in "iu" else distance
    sums.mismatches += int(np.count_nonzero(exact))
    sums.d2 += _dot(distance, distance)
    sums.max_abs = max(sums.max_abs, float(distance.max()))
    scale = np.maximum(np.abs(r, out=r), floor, out=r)
    if floor == 0.0:
        # An all-zero reference: an equal answer has no error, another an infinite one.
        sums.relative += math.inf if distance.any() else 0.0
    else:
        sums.relative += float(np.divide(distance, scale, out=distance).sum())


def _finite_part(sums: _Sums, r: Array, y: Array) -> tuple[Array, Array]:
    """Count what isn't finite, and return the positions where both sides are."""
    finite = np.isfinite(r) & np.isfinite(y)
    same = (r == y) | (np.isnan(r) & np.isnan(y))
    sums.mismatches += int(np.count_nonzero(~finite & ~same))
    sums.nonfinite += int(np.count_nonzero(~finite & ~same))
    return r[finite], y[finite]


def _dot(a: Array, b: Array) -> float:
    """Return the dot product without BLAS, whose thread pool fights the engine's for the cores."""
    return float(np.einsum("i,i->", a, b))


def _rms(r: Array) -> float:
    total, count = 0.0, 0
    for start in range(0, r.size, _BLOCK):
        block = r[start : start + _BLOCK].astype(np.float64)
        squares = _dot(block, block)
        if not math.isfinite(squares):
            block = block[np.isfinite(block)]
            squares = _dot(block, block)
        total += squares
        count += block.size
    return math.sqrt(total / count) if count else 0.0


def _ratio(error: float, norm: float) -> float:
    if error == 0.0:
        return 0.0
    return error / norm if norm > 0.0 else math.inf


def _cosine(sums: _Sums) -> float:
    """Return the cosine of the angle; 0 where an answer is too large to have one."""
    norms = math.sqrt(sums.r2) * math.sqrt(sums.y2)
    if norms == 0.0:
        return float(sums.r2 == sums.y2)
    value = sums.ry / norms
    return max(-1.0, min(1.0, value)) if math.isfinite(value) else 0.0


def _extreme(sums: _Sums) -> float:
    return math.inf if sums.d2 == 0.0 else -math.inf


def _varies(r: Array) -> bool:
    """Tell whether a reference is more than one value and its rounding."""
    if r.dtype.kind in "biu":
        return not _is_all(r, r[0])
    values = r.astype(np.float64)
    finite = values[np.isfinite(values)]
    if finite.size < r.size:
        return not _is_all(r, r[0])
    low, high = float(finite.min()), float(finite.max())
    return high - low > _ROUNDING * max(abs(low), abs(high))


def _is_all(array: Array, value: object) -> bool:
    """Tell whether every element equals `value`; stops at the first block that doesn't."""
    for start in range(0, array.size, _BLOCK):
        if not (array[start : start + _BLOCK] == value).all():
            return False
    return True
