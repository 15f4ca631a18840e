"""What goes into a network and what comes out: names, dtypes, and shapes with symbolic axes.

A `Signature` is frozen and travels unchanged from the source to serving. An axis is either a
fixed size or a `Dim`: a name that binds to one size per call, with its allowed range.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadworthy.core.errors import InputError, UsageError

Array = NDArray[Any]
Feed = Mapping[str, Array]
"""One call's inputs, by name."""
Answers = dict[str, Array]
"""One call's outputs, by name."""


@dataclass(frozen=True, slots=True)
class Dim:
    """A symbolic axis.

    `low` and `high` are inclusive; `high` None means that no range was stated (an *open* axis: it
    is verified at the sizes of the samples only). `step` means that only low, low+step, … occur.
    """

    name: str
    low: int = 1
    high: int | None = None
    step: int = 1

    def __post_init__(self) -> None:
        if not self.name:
            raise UsageError("a symbolic axis needs a name")
        if self.low < 0 or self.step < 1 or (self.high is not None and self.high < self.low):
            raise UsageError(
                f"the range of axis {self.name!r} is empty or negative: {self}",
                remedy="write it as name=LOW..HIGH or name=LOW..HIGH:STEP with LOW ≤ HIGH",
            )

    @property
    def is_open(self) -> bool:
        """True when no range was stated."""
        return self.high is None

    @property
    def largest(self) -> int | None:
        """The largest size that the step reaches, None for an open axis."""
        if self.high is None:
            return None
        return self.low + (self.high - self.low) // self.step * self.step

    def allows(self, size: int) -> bool:
        """Tell whether an axis of this many elements is within the range; open axes take any."""
        if self.high is None:
            return size >= 0
        if not self.low <= size <= self.high:
            return False
        return (size - self.low) % self.step == 0

    def __str__(self) -> str:
        if self.high is None:
            return self.name
        step = f":{self.step}" if self.step != 1 else ""
        return f"{self.name}={self.low}..{self.high}{step}"


Axis = int | Dim
Shape = tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: its name, NumPy dtype name ("float32", "bfloat16", …) and shape.

    `shape` None means that not even the rank is known (ONNX allows that for outputs).
    """

    name: str
    dtype: str
    shape: Shape | None

    def __str__(self) -> str:
        axes = "?" if self.shape is None else ",".join(str(axis) for axis in self.shape)
        return f"{self.name}[{axes}]:{self.dtype}"

    @property
    def dims(self) -> tuple[Dim, ...]:
        """The symbolic axes, in order."""
        return tuple(axis for axis in self.shape or () if isinstance(axis, Dim))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: axes are numbers, or objects for symbolic ones."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": None
            if self.shape is None
            else [axis if isinstance(axis, int) else _dim_to_json(axis) for axis in self.shape],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TensorSpec:
        """Read what `to_json` wrote."""
        shape = data["shape"]
        return cls(
            name=str(data["name"]),
            dtype=str(data["dtype"]),
            shape=None
            if shape is None
            else tuple(axis if isinstance(axis, int) else Dim(**axis) for axis in shape),
        )


def _dim_to_json(dim: Dim) -> dict[str, Any]:
    return {"name": dim.name, "low": dim.low, "high": dim.high, "step": dim.step}


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs of a network, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __str__(self) -> str:
        ins = ", ".join(str(spec) for spec in self.inputs)
        outs = ", ".join(str(spec) for spec in self.outputs)
        return f"({ins}) -> ({outs})"

    @property
    def dims(self) -> dict[str, Dim]:
        """The symbolic axes of the inputs by name; the first with a stated range wins."""
        found: dict[str, Dim] = {}
        for spec in self.inputs:
            for dim in spec.dims:
                if dim.name not in found or found[dim.name].is_open:
                    found[dim.name] = dim
        return found

    @property
    def ranks(self) -> dict[str, int]:
        """How many axes each input has, where that is known and it has any."""
        return {spec.name: len(spec.shape) for spec in self.inputs if spec.shape}

    @property
    def is_static(self) -> bool:
        """True when no input has a symbolic axis: one shape only."""
        return not self.dims

    @property
    def batch_dim(self) -> Dim | None:
        """The axis along which samples are independent, if it can be told.

        That is the symbolic axis which leads every input and every output (of known rank), and
        appears nowhere else.
        """
        specs = (*self.inputs, *self.outputs)
        leads = {self._leading_name(spec) for spec in specs}
        if len(leads) != 1 or None in leads or not self.inputs:
            return None
        (name,) = leads
        appearances = sum(dim.name == name for spec in specs for dim in spec.dims)
        return self.dims.get(str(name)) if appearances == len(specs) else None

    @staticmethod
    def _leading_name(spec: TensorSpec) -> str | None:
        lead = spec.shape[0] if spec.shape else None
        return lead.name if isinstance(lead, Dim) else None

    def input(self, name: str) -> TensorSpec:
        """Return the input of this name, or raise `InputError`."""
        for spec in self.inputs:
            if spec.name == name:
                return spec
        raise InputError(f"there is no input {name!r}", where=f"inputs: {_names(self.inputs)}")

    def with_ranges(self, dims: Mapping[str, Dim]) -> Signature:
        """Return the same signature with the axes named in `dims` given those ranges."""

        def ranged(spec: TensorSpec) -> TensorSpec:
            if spec.shape is None:
                return spec
            shape = tuple(
                dims.get(axis.name, axis) if isinstance(axis, Dim) else axis for axis in spec.shape
            )
            return replace(spec, shape=shape)

        return Signature(tuple(map(ranged, self.inputs)), tuple(map(ranged, self.outputs)))

    def bind(self, feed: Feed) -> dict[str, int]:
        """Check one call's inputs and return the size that each symbolic axis takes.

        Raises:
            InputError: a missing or unknown name, another dtype, rank or size, one axis with two
                sizes, or a size outside the stated range.
        """
        bound: dict[str, int] = {}
        missing = [spec.name for spec in self.inputs if spec.name not in feed]
        unknown = [name for name in feed if all(spec.name != name for spec in self.inputs)]
        if missing or unknown:
            raise InputError(
                f"inputs don't match: missing {missing or 'none'}, unknown {unknown or 'none'}",
                where=f"the network takes {_names(self.inputs)}",
                remedy="give exactly these inputs, by these names",
            )
        for spec in self.inputs:
            _bind_one(spec, feed[spec.name], bound, self.dims)
        return bound

    def shapes(self, bound: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """Return each input's shape when the symbolic axes take the sizes in `bound`."""
        shapes: dict[str, tuple[int, ...]] = {}
        for spec in self.inputs:
            if spec.shape is None:
                raise InputError(f"the rank of input {spec.name!r} is unknown", where=str(spec))
            shapes[spec.name] = tuple(
                axis if isinstance(axis, int) else bound[axis.name] for axis in spec.shape
            )
        return shapes

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Signature:
        """Read what `to_json` wrote."""
        return cls(
            inputs=tuple(TensorSpec.from_json(item) for item in data["inputs"]),
            outputs=tuple(TensorSpec.from_json(item) for item in data["outputs"]),
        )

    def __iter__(self) -> Iterator[TensorSpec]:
        yield from self.inputs
        yield from self.outputs


def _bind_one(
    spec: TensorSpec, array: Array, bound: dict[str, int], dims: Mapping[str, Dim]
) -> None:
    """Check one array against its spec, adding the sizes of its symbolic axes to `bound`."""
    if dtype_name(array.dtype) != spec.dtype:
        raise InputError(
            f"input {spec.name!r} has dtype {array.dtype}, the network takes {spec.dtype}",
            where=str(spec),
            remedy=f"convert it: array.astype({spec.dtype!r})",
        )
    if spec.shape is None:
        return
    if array.ndim != len(spec.shape):
        raise _wrong_shape(spec, spec.shape, array)
    for axis, size in zip(spec.shape, array.shape, strict=True):
        if isinstance(axis, int):
            if axis != size:
                raise _wrong_shape(spec, spec.shape, array)
        elif not dims[axis.name].allows(size):
            raise _wrong_shape(spec, spec.shape, array)
        elif bound.setdefault(axis.name, size) != size:
            also = f", and {axis.name} is {bound[axis.name]} already"
            raise _wrong_shape(spec, spec.shape, array, also)


def _wrong_shape(spec: TensorSpec, shape: Shape, array: Array, also: str = "") -> InputError:
    return InputError(
        f"input {spec.name!r} has shape {list(array.shape)}, the network takes "
        f"[{','.join(map(str, shape))}]{also}",
        where=str(spec),
        remedy="give arrays of that shape; to let axes vary, state them when it is compiled: "
        "--inputs, or inputs= in Python",
    )


def dtype_name(dtype: np.dtype[Any]) -> str:
    """Return the name that a signature uses for a NumPy dtype; text is "str"."""
    return "str" if dtype.kind in "UTO" else dtype.name


def _names(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(str(spec) for spec in specs)
