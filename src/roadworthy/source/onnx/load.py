"""Read an ONNX file: whole, valid, with its external data, in words a person understands."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from roadworthy.core.errors import InputError, UsageError
from roadworthy.core.inputspec import InputSpec
from roadworthy.core.signature import Axis, Dim, Signature, TensorSpec
from roadworthy.graph.inner import every_node, inner_graphs
from roadworthy.graph.signature import check_tensors_only

# The highest that the pinned ONNX Runtime reads; onnx 1.22 writes 14 by default.
HIGHEST_IR_VERSION = 13
_NUMBER = re.compile(r"^[0-9]{1,18}$")


def load_onnx(path: Path) -> ir.Model:
    """Read, check and return a model, with its weights in memory.

    Raises:
        InputError: not there, not ONNX, truncated, invalid, or its external data is missing.
    """
    if not path.is_file():
        what = "the model is a folder, not a file" if path.is_dir() else "the file doesn't exist"
        raise InputError(what, where=str(path))
    try:
        proto = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise InputError(f"the file can't be read: {error.strerror}", where=str(path)) from error
    except (DecodeError, ValueError) as error:
        raise InputError(
            "the file is not an ONNX model, or it is truncated",
            where=str(path),
            remedy="check that it was copied whole, in binary mode",
        ) from error
    if not _is_text(proto):
        raise InputError("the file holds names that are not text: it is damaged", where=str(path))
    _check_is_model(proto, path)
    _check_external(proto, path)
    try:
        onnx.checker.check_model(_without_values(proto), full_check=False)
    # Damaged names, types and attributes raise what they like here, not `ValidationError` only.
    except Exception as error:
        raise _invalid(path, error) from error
    _load_attributes(proto, path)
    check_tensors_only(proto)
    try:
        make_dense(proto.graph)
        model = ir.from_proto(proto)
        _read_weights(model, path)
        _name_apart(model)
    except InputError:
        raise
    except Exception as error:  # as above
        raise _invalid(path, error) from error
    return model


def make_dense(graph: onnx.GraphProto) -> None:
    """Write sparse initialisers out as dense ones: onnx_ir would leave them out in silence.

    Indices are linear, shape [NNZ], or coordinates, shape [NNZ, rank] (onnx.proto,
    `SparseTensorProto`).
    """
    for item in graph.sparse_initializer:
        values = onnx.numpy_helper.to_array(item.values)
        indices = onnx.numpy_helper.to_array(item.indices)
        dense = np.zeros(tuple(item.dims), values.dtype)
        where = indices if indices.ndim == 1 else np.ravel_multi_index(indices.T, dense.shape)
        dense.reshape(-1)[where] = values
        graph.initializer.append(onnx.numpy_helper.from_array(dense, item.values.name))
    del graph.sparse_initializer[:]
    for node in graph.node:
        for inner in inner_graphs(node):
            make_dense(inner)


def _read_weights(model: ir.Model, path: Path) -> None:
    """Bring external weights into memory, and look at every other one once.

    The checker doesn't see that there are too few bytes for one. External ones never go through
    protobuf, which can't hold 2 GB and copies each a few times.
    """
    ir.external_data.set_base_dir(model.graph, path.absolute().parent)
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor):
                value.const_value = _in_memory(tensor, path)
            elif tensor is not None:
                tensor.numpy()


def _in_memory(tensor: ir.ExternalTensor, path: Path) -> ir.TensorProtocol:
    try:
        stated = tensor.length or Path(tensor.path).stat().st_size - (tensor.offset or 0)
        if stated != tensor.nbytes:
            raise ValueError(
                f"{tensor.name!r} takes {tensor.nbytes} bytes, {tensor.location} has {stated} of it"
            )
        array = np.array(tensor.numpy())
    except (OSError, TypeError, ValueError) as error:
        raise InputError(
            f"the external weights can't be read: {_first_line(error)}", where=str(path)
        ) from error
    tensor.release()
    return ir.Tensor(array, tensor.dtype, name=tensor.name, doc_string=tensor.doc_string)


def _name_apart(model: ir.Model) -> None:
    """Give a node whose name another one has before it a new one: ONNX allows it, runtimes don't.

    The first keeps its name, and so does every node that has one of its own or none.
    """
    nodes = list(every_node(model))
    taken = {node.name for node in nodes}
    numbers: dict[str, Iterator[int]] = {}
    for node in nodes:
        name = node.name
        if name in numbers:
            node.name = next(
                new for number in numbers[name] if (new := f"{name}_{number}") not in taken
            )
        elif name:
            numbers[name] = itertools.count(1)


def _invalid(path: Path, error: Exception) -> InputError:
    return InputError(
        f"the model is not valid ONNX: {_first_line(error)}",
        where=str(path),
        remedy="export it again; `python -m onnx.checker` shows the whole complaint",
    )


def _is_text(message: Message) -> bool:
    """Tell whether every name in it is UTF-8; protobuf gives the others back as bytes."""
    if isinstance(message, onnx.TensorProto):
        entries = message.external_data
        return isinstance(message.name, str) and all(_is_text(entry) for entry in entries)
    for field, value in message.ListFields():
        if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE):
            continue
        for item in [value] if isinstance(value, str | bytes | Message) else value:
            if not (_is_text(item) if isinstance(item, Message) else isinstance(item, str)):
                return False
    return True


def _check_is_model(proto: onnx.ModelProto, path: Path) -> None:
    """Protobuf reads nearly anything; a model has an IR version, opsets and a graph."""
    if not proto.ir_version or not proto.opset_import or not proto.HasField("graph"):
        raise InputError("the file is not an ONNX model", where=str(path))
    if not proto.graph.output:
        raise InputError("the model has no outputs", where=str(path))
    if proto.ir_version > HIGHEST_IR_VERSION:
        raise InputError(
            f"the model has IR version {proto.ir_version}, "
            f"the newest that can be read here is {HIGHEST_IR_VERSION}",
            where=str(path),
            remedy="save it with an older onnx, or lower its ir_version if it uses nothing new",
        )


def _without_values(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return what the checker looks at: all but the values of tensors, which protobuf can't hold.

    External tensors count as read. Of `raw_data` the checker asks nothing but whether it is there,
    so a byte stands for all.
    """
    light = onnx.ModelProto()
    _copy_fields(proto, light, "graph")
    _copy_fields(proto.graph, light.graph, "initializer")
    for tensor in proto.graph.initializer:
        bare = light.graph.initializer.add()
        _copy_fields(tensor, bare, "raw_data")
        if tensor.HasField("raw_data"):
            bare.raw_data = tensor.raw_data[:1]
    for tensor in _external_tensors(light):
        tensor.ClearField("data_location")
        tensor.ClearField("external_data")
        tensor.raw_data = b"\0" if all(tensor.dims) else b""
    return light


def _copy_fields(source: Message, target: Message, without: str) -> None:
    for field in source.DESCRIPTOR.fields:
        if field.name == without:
            continue
        if field.is_repeated:
            getattr(target, field.name).MergeFrom(getattr(source, field.name))
        elif source.HasField(field.name):
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                getattr(target, field.name).CopyFrom(getattr(source, field.name))
            else:
                setattr(target, field.name, getattr(source, field.name))


def _check_external(proto: onnx.ModelProto, path: Path) -> None:
    """External weights must lie in files in or below the model's folder."""
    base = path.absolute().parent
    for tensor in _external_tensors(proto):
        location = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        # A NUL, which no path may hold, is as good as no location.
        location = "" if "\0" in location else location
        file = (base / location).resolve()
        if not location or Path(location).is_absolute() or base.resolve() not in file.parents:
            raise InputError(
                f"the weights {tensor.name!r} point outside the model's folder: {location!r}",
                where=str(path),
                remedy="save the model with its data file beside it",
            )
        if not file.is_file():
            raise InputError(
                f"the weights {tensor.name!r} are in {location!r}, which is missing",
                where=str(path),
                remedy=f"copy {location} beside the model: both belong together",
            )
        _check_extent(tensor, file, path)


def _load_attributes(proto: onnx.ModelProto, path: Path) -> None:
    """Bring the external tensors of attributes into memory, which onnx_ir leaves where they are."""
    from onnx.external_data_helper import _get_attribute_tensors, load_external_data_for_tensor

    try:
        for tensor in _get_attribute_tensors(proto):
            if _is_external(tensor):
                load_external_data_for_tensor(tensor, str(path.absolute().parent))
                tensor.data_location = onnx.TensorProto.DEFAULT
                del tensor.external_data[:]
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise InputError(
            f"the external weights can't be read: {_first_line(error)}", where=str(path)
        ) from error


def _check_extent(tensor: onnx.TensorProto, file: Path, path: Path) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    offset, length = (entries.get(key) or "0" for key in ("offset", "length"))
    if not (_NUMBER.match(offset) and _NUMBER.match(length)):
        raise InputError(
            f"the weights {tensor.name!r} have offset {offset!r} and length {length!r}",
            where=str(path),
            remedy="export the model again: these are numbers of bytes",
        )
    end = int(offset) + int(length)
    if end > file.stat().st_size:
        raise InputError(
            f"{file.name} is truncated: the weights {tensor.name!r} end at byte {end}, "
            f"the file has {file.stat().st_size}",
            where=str(path),
            remedy="copy the data file again",
        )


def _external_tensors(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    from onnx.external_data_helper import _get_all_tensors

    return [tensor for tensor in _get_all_tensors(proto) if _is_external(tensor)]


def _is_external(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def apply_input_specs(signature: Signature, specs: Sequence[InputSpec]) -> Signature:
    """Give the model's symbolic axes the ranges, and names, that the user states.

    Raises:
        InputError: no such input.
        UsageError: another rank or dtype, or an axis that the model has fixed.
    """
    renamed: dict[str, Dim] = {}
    fixed: dict[str, int] = {}
    for spec in specs:
        known = signature.input(spec.name)
        if spec.dtype is not None and spec.dtype != known.dtype:
            raise UsageError(
                f"--inputs says {spec.dtype}, the model takes {known.dtype}", where=str(known)
            )
        if spec.shape is None:
            continue
        if known.shape is None or len(known.shape) != len(spec.shape):
            raise UsageError(f"--inputs gives {len(spec.shape)} axes", where=str(known))
        for said, has in zip(spec.shape, known.shape, strict=True):
            _match_axis(said, has, known, renamed, fixed)
    return Signature(
        tuple(_rename(spec, renamed, fixed) for spec in signature.inputs),
        tuple(_rename(spec, renamed, fixed) for spec in signature.outputs),
    )


def _match_axis(
    said: Axis, has: Axis, known: TensorSpec, renamed: dict[str, Dim], fixed: dict[str, int]
) -> None:
    if isinstance(has, Dim):
        before = renamed.get(has.name, fixed.get(has.name, said))
        if before != said:
            raise UsageError(
                f"--inputs calls the model's axis {has.name!r} both {before} and {said}",
                where=str(known),
                remedy="it is one axis: give it one name and one range",
            )
        if isinstance(said, Dim):
            renamed[has.name] = said
        else:
            fixed[has.name] = said
    elif isinstance(said, Dim):
        raise UsageError(
            f"--inputs lets axis {said.name!r} vary, but the model has it fixed at {has}",
            where=str(known),
            remedy="export the model again with that axis dynamic",
        )
    elif said != has:
        raise UsageError(f"--inputs says {said} where the model has {has}", where=str(known))


def _rename(spec: TensorSpec, renamed: dict[str, Dim], fixed: dict[str, int]) -> TensorSpec:
    if spec.shape is None:
        return spec
    shape = tuple(
        fixed.get(axis.name, renamed.get(axis.name, axis)) if isinstance(axis, Dim) else axis
        for axis in spec.shape
    )
    return TensorSpec(spec.name, spec.dtype, shape)
