"""At which shapes an engine is judged, and with which inputs.

The samples as given, always. Where axes may vary, also: `smallest`, `largest`, `odd` (sizes that
no sample has and that multiples of 8 hide), `crossed` and `crossed-back` (one axis at its smallest
where the next is at its largest, and the other way round: what depends on the order of two sizes,
like `if h < w`, is alike in all the others) and `batch` (different samples mixed in one batch).
Those inputs are cropped, tiled or mixed from the samples, and called `derived`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from roadworthy.core.samples import Samples
from roadworthy.core.signature import Array, Dim, Feed, Signature

# Feeds per derived case; the largest shape gets one, because it can be very large.
_FEEDS = {"smallest": 2, "odd": 2, "crossed": 1, "crossed-back": 1, "batch": 2, "largest": 1}
_MIXED_BATCH = 4


@dataclass(frozen=True)
class Case:
    """One setting of the symbolic axes.

    `certain` is False where an axis without a stated range was given another size than the samples
    have: the network itself may refuse that, which then is no failure.
    """

    name: str
    derived: bool
    sizes: dict[str, int]
    samples: Samples
    signature: Signature
    certain: bool = True

    def __len__(self) -> int:
        return _FEEDS[self.name] if self.derived else len(self.samples)

    def feeds(self) -> Iterator[tuple[str, Feed]]:
        """Yield (name, feed) one at a time."""
        if not self.derived:
            for item in self.samples.items:
                yield item.name, item.load()
            return
        for index in range(len(self)):
            yield (
                f"derived from {self.samples.items[index % len(self.samples)].name}",
                derive(self.samples, index, self.signature, self.sizes),
            )

    @property
    def elements(self) -> int:
        """Elements of one feed's inputs: a measure of the work."""
        return int(sum(np.prod(shape) for shape in self.signature.shapes(self.sizes).values()))


def plan_cases(signature: Signature, samples: Samples) -> tuple[Case, ...]:
    """Return the cases to judge, the samples first. A static signature has that one only."""
    usual = signature.bind(samples[0])
    cases = [Case("samples", False, usual, samples, signature)]
    if signature.is_static:
        return tuple(cases)
    seen = [dict(signature.bind(feed)) for feed in samples[:64]]
    for name, sizes in _settings(signature, usual).items():
        if sizes not in seen:
            certain = all(
                not dim.is_open or sizes[axis] == usual[axis]
                for axis, dim in signature.dims.items()
            )
            cases.append(Case(name, True, sizes, samples, signature, certain))
            seen.append(sizes)
    return tuple(cases)


def _settings(signature: Signature, usual: dict[str, int]) -> dict[str, dict[str, int]]:
    dims = signature.dims
    batch = signature.batch_dim
    settings = {
        "smallest": {n: usual[n] if d.is_open else d.low for n, d in dims.items()},
        "odd": {n: _odd_size(d, usual[n], i) for i, (n, d) in enumerate(dims.items())},
        "largest": {n: usual[n] if d.is_open else d.largest or d.low for n, d in dims.items()},
    }
    inner = [d for d in dims.values() if not d.is_open and d is not batch]
    if len(inner) > 1:
        for start, name in enumerate(("crossed", "crossed-back")):
            ends = {
                d.name: (d.largest or d.low) if (start + i) % 2 else d.low
                for i, d in enumerate(inner)
            }
            settings[name] = {**usual, **ends}
    if batch is not None:
        most = batch.largest
        size = _MIXED_BATCH if most is None else min(_MIXED_BATCH, most)
        settings["batch"] = {**usual, batch.name: _nearest(batch, size)}
    return settings


def _odd_size(dim: Dim, usual: int, index: int) -> int:
    """Return a size that no sample has: odd where the step allows, different for each axis."""
    if dim.is_open:
        return usual + 1 + usual % 2 + 2 * index
    allowed = range(dim.low, (dim.largest or dim.low) + 1, dim.step)
    # Oddness repeats at every second step, so that the sizes about the usual one are enough.
    reach = 2 * index + 6
    centre = (usual - dim.low) // dim.step
    near = allowed[max(0, centre - reach) : centre + reach + 1]
    inner = [size for size in near if size not in (usual, allowed[0], allowed[-1])]
    if not inner:
        return usual
    # Largest power of two that divides the size: the smaller, the odder. Then nearest to usual.
    ranked = sorted(inner, key=lambda size: (size & -size if size else 1 << 30, abs(size - usual)))
    oddest = [size for size in ranked if size & -size == ranked[0] & -ranked[0]]
    return oddest[min(index, len(oddest) - 1)]


def _nearest(dim: Dim, size: int) -> int:
    if dim.allows(size):
        return size
    return max(dim.low, dim.low + (size - dim.low) // dim.step * dim.step)


def derive(samples: Samples, index: int, signature: Signature, sizes: dict[str, int]) -> Feed:
    """Return inputs of the given sizes, made of the samples from `index` on.

    Along the batch axis different samples follow one another; other axes are cropped from their
    middle or repeated. Values are the user's own, only their arrangement is new.
    """
    shapes = signature.shapes(sizes)
    batch = signature.batch_dim
    rows = sizes[batch.name] if batch is not None else 1
    start = index % len(samples)
    chosen = [samples[(start + offset) % len(samples)] for offset in range(_needed(rows, samples))]
    return {
        spec.name: _reshape([feed[spec.name] for feed in chosen], shapes[spec.name], batch)
        for spec in signature.inputs
    }


def _needed(rows: int, samples: Samples) -> int:
    return max(1, min(rows, len(samples)))


def _reshape(arrays: Sequence[Array], shape: tuple[int, ...], batch: Dim | None) -> Array:
    if batch is None or not shape:
        return _fit(arrays[0], shape)
    fitted = [_fit(array, (array.shape[0], *shape[1:])) for array in arrays]
    # The first row of each sample, then the second of each, …: no batch of one sample's rows only.
    rows = [
        array[row : row + 1]
        for row in range(max(len(array) for array in fitted))
        for array in fitted
        if row < len(array)
    ]
    return _fit(np.concatenate(rows or fitted), shape, middle=False)


def _fit(array: Array, shape: tuple[int, ...], *, middle: bool = True) -> Array:
    """Crop or repeat each axis to its size."""
    for axis, size in enumerate(shape):
        have = array.shape[axis]
        if have == size:
            continue
        start = (have - size) // 2 if middle and have > size else 0
        # An axis of no elements has nothing to repeat: zeros are the only values to be had.
        if have == 0:
            array = np.zeros((*array.shape[:axis], size, *array.shape[axis + 1 :]), array.dtype)
            continue
        array = np.take(array, (start + np.arange(size)) % have, axis=axis)
    # Not `ascontiguousarray`, which makes a vector of a scalar.
    return np.asarray(array, order="C")
