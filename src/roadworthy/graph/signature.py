"""What an ONNX model takes and gives, read from its graph."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from roadworthy.core.errors import InputError, UnavailableError
from roadworthy.core.signature import Axis, Dim, Shape, Signature, TensorSpec

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir


def signature_of(model: ir.Model) -> Signature:
    """Return the signature of a model: its inputs without initialisers, and its outputs, in order.

    1. An axis of known size is that number; zero is a size.
    2. An axis named in the model is an open `Dim` of that name.
    3. An unnamed axis of unknown size gets a name made from the tensor and its position, such as
       `image_axis0`; the same model always gets the same names.
    4. An unknown rank is `shape=None`.

    Open axes have `low=0`: no range was stated, and a network may well take an empty array.

    Raises:
        UnavailableError: an input or output is a sequence, a map, optional or sparse.
        InputError: an input or output has no type, or one name stands for two.
    """
    graph = model.graph
    inputs = [value for value in graph.inputs if not value.is_initializer()]
    for role, values in (("input", inputs), ("output", list(graph.outputs))):
        _check_names(role, values)
    taken = _named_axes([*inputs, *graph.outputs])
    return Signature(
        inputs=tuple(_spec("input", value, taken) for value in inputs),
        outputs=tuple(_spec("output", value, taken) for value in graph.outputs),
    )


def check_tensors_only(model: onnx.ModelProto) -> None:
    """Refuse sequences, maps, optional and sparse values before `onnx_ir` reads the model.

    `onnx_ir` can't represent a map at all, and its error doesn't name the value.

    Raises:
        UnavailableError: an input or output is something other than a tensor.
    """
    for role, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            kind = value.type.WhichOneof("value")
            if kind not in (None, "tensor_type"):
                raise _not_a_tensor(role, value.name, str(kind).removesuffix("_type"))


def _not_a_tensor(role: str, name: str | None, kind: str) -> UnavailableError:
    return UnavailableError(
        f"{role} {name!r} has type {kind}, and roadworthy runs tensors only",
        where=f"{role} {name!r}",
        remedy=f"change the model so that its {role}s are plain tensors",
    )


def _check_names(role: str, values: Iterable[ir.Value]) -> None:
    seen: set[str] = set()
    for value in values:
        if not value.name or value.name in seen:
            raise InputError(
                f"{role} {value.name!r} is listed twice"
                if value.name
                else f"an {role} has no name",
                where=f"the graph's {role}s",
                remedy=f"give every {role} of the model a name of its own",
            )
        seen.add(value.name)


def _named_axes(values: Iterable[ir.Value]) -> set[str]:
    """Return the axis names that the model itself gives, so that made ones don't repeat them."""
    return {
        axis.value
        for value in values
        for axis in value.shape or ()
        if not isinstance(axis, int) and axis.value
    }


def _spec(role: str, value: ir.Value, taken: set[str]) -> TensorSpec:
    name = str(value.name)
    return TensorSpec(name, _dtype(role, value), _shape(name, value, taken))


def _dtype(role: str, value: ir.Value) -> str:
    """Return the NumPy name of the element type ("str" for text)."""
    import onnx_ir as ir

    if value.type is not None and not isinstance(value.type, ir.TensorType):
        raise _not_a_tensor(role, value.name, str(value.type))
    if value.dtype is None or value.dtype == ir.DataType.UNDEFINED:
        raise InputError(
            f"{role} {value.name!r} has no element type",
            where=f"{role} {value.name!r}",
            remedy="write the model with typed inputs and outputs, or run ONNX shape inference",
        )
    return "str" if value.dtype == ir.DataType.STRING else value.dtype.numpy().name


def _shape(name: str, value: ir.Value, taken: set[str]) -> Shape | None:
    if value.shape is None:
        return None
    return tuple(_axis(name, position, axis, taken) for position, axis in enumerate(value.shape))


def _axis(name: str, position: int, axis: int | ir.SymbolicDim, taken: set[str]) -> Axis:
    """Return one axis, by the cases that `signature_of` numbers."""
    if isinstance(axis, int):
        if axis >= 0:
            return axis  # case 1
    elif axis.value:
        return Dim(axis.value, low=0)  # case 2
    return Dim(_made_name(name, position, taken), low=0)  # case 3; also -1, which some tools write


def _made_name(name: str, position: int, taken: set[str]) -> str:
    """Return an axis name that `--inputs` can repeat and that no other axis has."""
    word = re.sub(r"\W", "_", name, flags=re.ASCII)
    stem = f"{'_' if word[0].isdigit() else ''}{word}_axis{position}"
    numbered = (f"{stem}_{number}" for number in itertools.count(2))
    made = next(made for made in itertools.chain((stem,), numbered) if made not in taken)
    taken.add(made)
    return made
