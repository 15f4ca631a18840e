"""An ONNX model as bytes: one file below protobuf's 2 GB, external data above it."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roadworthy.core.errors import InputError
from roadworthy.graph.inner import inner_graphs

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

# Protobuf can't hold 2 GiB in one message; the margin is for the graph itself.
EXTERNAL_FROM_BYTES = 1_800_000_000
# No shape, axes or other constant that inference looks into has more than 256 numbers.
_SMALL_BYTES = 2048
# Where each weight begins in its file: runtimes map that into memory by pages.
_PAGE = 4096


def weight_bytes(model: ir.Model) -> int:
    """Return the size of all initialisers, in bytes."""
    return sum(
        value.const_value.nbytes
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    )


def is_large(model: ir.Model) -> bool:
    """Tell whether a model's weights are too many for one protobuf message."""
    return weight_bytes(model) >= EXTERNAL_FROM_BYTES


def too_large_for(tool: str, model: ir.Model) -> str | None:
    """Return why a tool that takes a model as one message can't be given this one; None if it can.

    Args:
        tool: whose limit it is, for people.
        model: what it would be given.
    """
    if not is_large(model):
        return None
    size = weight_bytes(model) / 1e9
    return f"{size:.1f} GB of weights: {tool} takes a model of less than 2 GB"


def to_files(model: ir.Model, name: str) -> dict[str, bytes]:
    """Serialise; the first file is the model, a second one holds the weights of a large model.

    The files need nothing beside them, wherever the model's weights lay before; the model itself
    stays as it is.

    Raises:
        InputError: the model names an external data file that can't be read.
    """
    import onnx_ir as ir

    try:
        if not is_large(model):
            return {name: ir.to_proto(_with_weights_inside(model)).SerializeToString()}
        return files_with(*without_weights(model), name)
    except FileNotFoundError as error:
        raise InputError(
            "a file with weights of the model is missing",
            where=str(error.filename or error),
            remedy="keep the external data files beside the .onnx file, under their own names",
        ) from error


def without_weights(model: ir.Model) -> tuple[onnx.ModelProto, dict[str, ir.TensorProtocol]]:
    """Return a model's message with references in the place of its large weights, and these.

    For tools that copy the whole message several times, refuse 2 GB of it, and look into no weight
    of that size. Only `files_with` makes a model of it that runs.

    Args:
        model: left as it is.

    Returns:
        The message, and the weights by what `reference` says of those that stand for them.
    """
    import onnx_ir as ir

    light = model.clone()
    weights: dict[str, ir.TensorProtocol] = {}
    for graph in light.graphs():
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if tensor is None or _is_small(tensor):
                continue
            key = str(len(weights))
            weights[key] = tensor
            value.const_value = ir.ExternalTensor(
                key, 0, tensor.nbytes, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name
            )
    return ir.to_proto(light), weights


def _is_small(tensor: ir.TensorProtocol) -> bool:
    import onnx_ir as ir

    # Text has no size before it is written, and can't lie in a file.
    return tensor.dtype == ir.DataType.STRING or (
        tensor.nbytes <= _SMALL_BYTES and not isinstance(tensor, ir.ExternalTensor)
    )


def files_with(
    proto: onnx.ModelProto, weights: Mapping[str, ir.TensorProtocol], name: str
) -> dict[str, bytes]:
    """Serialise with the weights back in their places, in the form of `to_files`.

    Args:
        proto: of `without_weights`, or made of parts of it; it is changed.
        weights: all that it refers to; others aren't written.
        name: of the first file.

    Raises:
        FileNotFoundError: weights lie in a file that isn't there.
    """
    outside = list(references(proto.graph))
    if sum(weights[reference(item)].nbytes for item in outside) < EXTERNAL_FROM_BYTES:
        for item in outside:
            item.CopyFrom(_inside(weights[reference(item)]))
        return {name: proto.SerializeToString()}
    data = io.BytesIO()
    for item in outside:
        tensor = weights[reference(item)]
        data.write(bytes(-data.tell() % _PAGE))
        where: dict[str, Any] = {"location": f"{name}.data", "offset": data.tell()}
        data.write(tensor.tobytes())
        del item.external_data[:]
        for key, value in {**where, "length": tensor.nbytes}.items():
            item.external_data.add(key=key, value=str(value))
    return {name: proto.SerializeToString(), f"{name}.data": data.getvalue()}


def references(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield what stands for weights that are elsewhere, in the graphs of nodes too."""
    for item in graph.initializer:
        if item.data_location == item.EXTERNAL:
            yield item
    for node in graph.node:
        for inner in inner_graphs(node):
            yield from references(inner)


def reference(item: onnx.TensorProto) -> str:
    """Return what tells which weights stand elsewhere."""
    return str(next(entry.value for entry in item.external_data if entry.key == "location"))


def _inside(tensor: ir.TensorProtocol) -> onnx.TensorProto:
    import onnx_ir as ir

    if isinstance(tensor, ir.ExternalTensor):
        tensor = ir.Tensor(tensor.numpy(), tensor.dtype, name=tensor.name)
    return ir.serde.serialize_tensor(tensor)


def from_files(files: Mapping[str, bytes]) -> ir.Model:
    """Return the model that `to_files` serialised: the first file; its weights in the others.

    Args:
        files: by name; content that was checked before.
    """
    import onnx
    import onnx_ir as ir

    name, *others = files
    if not others:
        return ir.from_proto(onnx.load_model_from_string(files[name]))
    with tempfile.TemporaryDirectory(prefix="roadworthy-") as folder:
        for other in files:
            Path(folder, other).write_bytes(files[other])
        return ir.external_data.load_to_model(ir.load(Path(folder, name)))


def _with_weights_inside(model: ir.Model) -> ir.Model:
    """Return the model, or a copy of it if some weights still lie in a file.

    `to_proto` would write such weights as a reference to their file, which no engine carries.
    """
    import onnx_ir as ir

    outside = any(
        isinstance(value.const_value, ir.ExternalTensor)
        for graph in model.graphs()
        for value in graph.initializers.values()
    )
    return ir.external_data.load_to_model(model.clone()) if outside else model


def digest(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of the files' names and contents, as `sha256:…`."""
    state = hashlib.sha256()
    for name, content in files.items():
        state.update(f"{name}:{len(content)}:".encode())
        state.update(content)
    return f"sha256:{state.hexdigest()}"
