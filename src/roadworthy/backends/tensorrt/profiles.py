"""Optimisation profiles from a signature's ranges: min, opt and max shape of every input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from roadworthy.backends.tensorrt.options import AxisRange, TensorRTOptions
from roadworthy.core.errors import UsageError
from roadworthy.core.signature import Dim, Signature

Profile = dict[str, list[list[int]]]
"""Input name to its [min, opt, max] shapes."""


def profiles_of(signature: Signature, options: TensorRTOptions) -> list[Profile]:
    """Return one profile per `profile` option, or one that spans the signature's ranges.

    A static signature needs none. An axis that a profile doesn't name keeps its full range.

    Raises:
        UsageError: an axis without a range, or a profile that names an unknown axis or leaves
            the signature's range.
    """
    if signature.is_static:
        if options.profiles:
            raise UsageError(
                "a profile was given, but no input has a symbolic axis",
                where="--option tensorrt.profile=…",
                remedy="name the axes that vary with --inputs",
            )
        return []
    whole = {dim.name: _whole(dim, signature, options) for dim in signature.dims.values()}
    return [_profile(signature, whole, axes) for axes in options.profiles or ((),)]


def values_of(signature: Signature, options: TensorRTOptions) -> dict[str, list[list[int]]]:
    """Return the [min, opt, max] values of the inputs that were given some.

    Raises:
        UsageError: the network has no such input.
    """
    names = [spec.name for spec in signature.inputs]
    for given in options.values:
        if given.name not in names:
            raise UsageError(
                f"values were given for {given.name!r}, which is no input",
                where=f"--option tensorrt.values={given.name}:…",
                remedy=f"the inputs are {', '.join(names)}",
            )
    return {v.name: [list(v.low), list(v.opt), list(v.high)] for v in options.values}


def optimum(dim: Dim, low: int, high: int, is_batch: bool) -> int:
    """Return the size to tune for where none was said: batch at its least, sizes in the middle.

    Latency is asked for at batch 1 more often than not; the middle of a size costs least at
    both ends. Only sizes that the axis's step reaches are taken.
    """
    if is_batch:
        return max(low, min(1, high))
    middle = (low + high) // 2
    return max(low, dim.low + (middle - dim.low) // dim.step * dim.step)


def _whole(dim: Dim, signature: Signature, options: TensorRTOptions) -> AxisRange:
    is_batch = signature.batch_dim is not None and signature.batch_dim.name == dim.name
    if dim.largest is not None:
        low, high = dim.low, dim.largest
    elif options.open_axes is not None:
        low, high = options.open_axes
    else:
        raise UsageError(
            f"axis {dim.name!r} has no range, and TensorRT builds for a stated range only",
            where=str(signature),
            remedy=f"state it: --inputs 'NAME[{dim.name}=1..8,…]' (or --option tensorrt.open=1..8)",
        )
    return AxisRange(dim.name, low, high, optimum(dim, low, high, is_batch))


def _profile(
    signature: Signature, whole: Mapping[str, AxisRange], axes: Sequence[AxisRange]
) -> Profile:
    ranges = dict(whole)
    for axis in axes:
        known = whole.get(axis.name)
        if known is None or not known.low <= axis.low <= axis.high <= known.high:
            raise UsageError(
                f"the profile's axis {axis.name}={axis.low}..{axis.high} is not within the "
                "signature's ranges",
                where=str(signature),
                remedy=f"the symbolic axes are {', '.join(whole)}",
            )
        opt = axis.opt
        if opt is None:
            opt = min(max(known.opt or known.low, axis.low), axis.high)
        ranges[axis.name] = AxisRange(axis.name, axis.low, axis.high, opt)
    return {
        name: [list(shape) for shape in zip(*(_sizes(ranges, axis) for axis in shape), strict=True)]
        for name, shape in ((spec.name, spec.shape) for spec in signature.inputs)
        if shape is not None and any(isinstance(axis, Dim) for axis in shape)
    }


def _sizes(ranges: Mapping[str, AxisRange], axis: int | Dim) -> tuple[int, int, int]:
    if isinstance(axis, int):
        return axis, axis, axis
    found = ranges[axis.name]
    return found.low, found.low if found.opt is None else found.opt, found.high
