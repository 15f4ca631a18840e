"""The network's signature, found by running it; and a feed that is fit to export with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from roadworthy.core.errors import SamplesError, UsageError
from roadworthy.core.inputspec import InputSpec
from roadworthy.core.signature import (
    Answers,
    Array,
    Dim,
    Feed,
    Shape,
    Signature,
    TensorSpec,
    dtype_name,
)  # fmt: skip

_TRIED = 4


def input_specs(
    names: Sequence[str], specs: Sequence[InputSpec], feed: Feed
) -> tuple[TensorSpec, ...]:
    """Return each input with its shape: what the user said of it, else the sample's own.

    Args:
        names: the inputs in order.
        specs: what the user said; inputs left out are static.
        feed: one sample.

    Raises:
        UsageError: a spec for an input that isn't there, or an axis with a single size.
        SamplesError: the sample doesn't have the rank, fixed sizes or dtype that were stated.
    """
    said = {spec.name: spec for spec in specs}
    for name in said:
        if name not in names:
            raise UsageError(
                f"there is no input {name!r}",
                where="--inputs",
                remedy=f"the inputs are: {', '.join(names)}",
            )
    return tuple(_input_spec(name, said.get(name), feed[name]) for name in names)


def _input_spec(name: str, spec: InputSpec | None, array: Array) -> TensorSpec:
    dtype = dtype_name(array.dtype)
    if spec is None:
        return TensorSpec(name, dtype, array.shape)
    found = TensorSpec(name, dtype, array.shape if spec.shape is None else spec.shape)
    wrong_shape = len(found.shape or ()) != array.ndim or any(
        isinstance(axis, int) and axis != size
        for axis, size in zip(found.shape or (), array.shape, strict=False)
    )
    if wrong_shape or spec.dtype not in (None, dtype):
        raise SamplesError(
            f"input {name!r} has shape {list(array.shape)} and dtype {dtype} in the samples, "
            f"--inputs says {found} {spec.dtype or ''}".rstrip(),
            where=f"input {name!r}",
            remedy="correct --inputs or the samples",
        )
    for dim in found.dims:
        if dim.low == dim.largest:
            raise UsageError(
                f"axis {dim} of input {name!r} can take one size only",
                where="--inputs",
                remedy=f"write {dim.low} instead",
            )
    return found


def example_feed(feed: Feed, inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Crop or tile a sample so that it is fit to export with.

    torch.export takes an axis of size 0 or 1 for a constant, and two axes of one size for the
    same; so every symbolic axis gets a size of at least 2 that its range allows and that no other
    axis has, as near to the sample's as can be had.
    """
    return _resized(feed, inputs, example_sizes(feed, inputs))


def example_sizes(feed: Feed, inputs: Sequence[TensorSpec]) -> dict[str, int]:
    """Choose the size of every symbolic axis for `example_feed`."""
    taken = {axis for spec in inputs for axis in spec.shape or () if isinstance(axis, int)}
    sizes: dict[str, int] = {}
    for spec in inputs:
        for axis, size in zip(spec.shape or (), feed[spec.name].shape, strict=True):
            if isinstance(axis, Dim) and axis.name not in sizes:
                sizes[axis.name] = next(_allowed_near(axis, size, taken))
                taken.add(sizes[axis.name])
    return sizes


def _allowed_near(dim: Dim, size: int, taken: set[int]) -> Iterator[int]:
    """Yield sizes ≥ 2 that the axis allows, nearest first, those no other axis has before others.

    A dimension whose only size is below 2 can't be exported as symbolic; then that size comes.
    """
    top = dim.largest if dim.largest is not None else max(size, dim.low, 2) + 64 * dim.step
    start = min(top, max(size, dim.low))
    low = max(dim.low, start - 64 * dim.step)
    low += -(low - dim.low) % dim.step
    found = [s for s in range(low, min(top, start + 64 * dim.step) + 1, dim.step) if s >= 2]
    found.sort(key=lambda s: (abs(s - size), s))
    yield from (s for s in found if s not in taken)
    yield from (s for s in found if s in taken)
    yield dim.low


def _resized(
    feed: Feed, inputs: Sequence[TensorSpec], sizes: Mapping[str, int]
) -> dict[str, Array]:
    resized: dict[str, Array] = {}
    for spec in inputs:
        array = feed[spec.name]
        for position, axis in enumerate(spec.shape or ()):
            if isinstance(axis, Dim) and array.shape[position] != sizes[axis.name]:
                if array.shape[position] == 0:
                    raise SamplesError(
                        f"axis {axis.name!r} of input {spec.name!r} is empty in the first sample",
                        where=f"input {spec.name!r}",
                        remedy="put a sample with content first",
                    )
                index = np.arange(sizes[axis.name]) % array.shape[position]
                array = np.take(array, index, axis=position)
        resized[spec.name] = np.ascontiguousarray(array).reshape(array.shape)
    return resized


def signature_of(
    run: Callable[[Feed], Answers], inputs: tuple[TensorSpec, ...], feed: Feed
) -> Signature:
    """Find the outputs' names, dtypes and shapes by running the network.

    Each symbolic axis is given other sizes in turn, a near one and a far one (rounding up to a
    multiple shows at one of them): an output axis that follows it, and it alone, exactly, is that
    axis; one that changes otherwise is an open axis named OUTPUT_POSITION; one that never changes
    is a fixed size.

    Args:
        run: the network, e.g. an oracle's `run`.
        inputs: from `input_specs`.
        feed: one sample.

    Raises:
        UsageError: the network fails at every other size tried of a symbolic axis.
    """
    sizes = example_sizes(feed, inputs)
    base = run(_resized(feed, inputs, sizes))
    dims = Signature(inputs, ()).dims
    others = {name: _at_other_sizes(run, inputs, feed, sizes, dim) for name, dim in dims.items()}
    outputs = []
    for name, array in base.items():
        runs = {
            dim: [(sizes[dim], array.shape), *((n, answers[name].shape) for n, answers in more)]
            for dim, more in others.items()
        }
        outputs.append(TensorSpec(name, dtype_name(array.dtype), _shape(name, array, runs, dims)))
    return Signature(inputs, tuple(outputs))


def _at_other_sizes(
    run: Callable[[Feed], Answers],
    inputs: tuple[TensorSpec, ...],
    feed: Feed,
    sizes: Mapping[str, int],
    dim: Dim,
) -> list[tuple[int, Answers]]:
    """Run at up to two other sizes of one axis; at least one must succeed."""
    used = sizes[dim.name]
    found: list[tuple[int, Answers]] = []
    failure: UsageError | None = None
    tried = list(islice(_other_sizes(dim, used, set(sizes.values())), _TRIED))
    for size in tried:
        try:
            found.append((size, run(_resized(feed, inputs, {**sizes, dim.name: size}))))
        except UsageError as error:
            failure = failure or error
        if len(found) == 2:
            break
    if found:
        return found
    raise UsageError(
        f"the network runs with {dim.name}={used}, but not with "
        f"{' or '.join(map(str, tried))}: {failure.what if failure else 'no other size'}",
        where=(failure.where if failure else None) or f"axis {dim}",
        remedy=f"state the sizes it takes, as in --inputs '…[{dim.name}=LOW..HIGH:STEP]'",
    ) from failure


def _other_sizes(dim: Dim, used: int, taken: set[int]) -> Iterator[int]:
    """Yield sizes to try: a near one, about twice the size (a multiple stays one), others."""
    near = [size for size in _allowed_near(dim, used, taken) if size != used]
    far = [size for size in _allowed_near(dim, 2 * used, taken) if size != used]
    round_ones = [size for size in (used + 32, used + 16) if dim.is_open]
    ordered = [*near[:1], *far[:1], *round_ones, *near[1:]]
    yield from (size for size in dict.fromkeys(ordered) if dim.allows(size))


def _shape(
    name: str,
    base: Array,
    runs: Mapping[str, list[tuple[int, tuple[int, ...]]]],
    dims: Mapping[str, Dim],
) -> Shape | None:
    """Return an output's shape from what it was at each size of each symbolic axis."""
    seen = [shape for more in runs.values() for _, shape in more]
    if any(len(shape) != base.ndim for shape in seen):
        return None
    axes: list[int | Dim] = []
    for position, size in enumerate(base.shape):
        moved = [d for d, more in runs.items() if any(s[position] != size for _, s in more)]
        if not moved:
            axes.append(size)
        elif len(moved) == 1 and all(s[position] == n for n, s in runs[moved[0]]):
            axes.append(dims[moved[0]])
        else:
            axes.append(Dim(f"{name}_{position}", low=0))
    return tuple(axes)
