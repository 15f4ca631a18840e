"""An ONNX model as bytes: one file below protobuf's 2 GB, external data above it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from roadworthy.core.errors import InputError

if TYPE_CHECKING:
    import onnx_ir as ir

# Protobuf can't hold 2 GiB in one message; the margin is for the graph itself.
EXTERNAL_FROM_BYTES = 1_800_000_000


def weight_bytes(model: ir.Model) -> int:
    """Return the size of all initialisers, in bytes."""
    return sum(
        value.const_value.nbytes
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    )


def to_files(model: ir.Model, name: str) -> dict[str, bytes]:
    """Serialise; the first file is the model, a second one holds the weights of a large model.

    The files need nothing beside them, wherever the model's weights lay before; the model itself
    stays as it is.

    Raises:
        InputError: the model names an external data file that can't be read.
    """
    import onnx_ir as ir

    try:
        if weight_bytes(model) < EXTERNAL_FROM_BYTES:
            return {name: ir.to_proto(_with_weights_inside(model)).SerializeToString()}
        with tempfile.TemporaryDirectory(prefix="roadworthy-") as folder:
            path = Path(folder) / name
            ir.save(model, path, external_data=f"{name}.data")
            return {
                name: path.read_bytes(),
                f"{name}.data": (path.parent / f"{name}.data").read_bytes(),
            }
    except FileNotFoundError as error:
        raise InputError(
            "a file with weights of the model is missing",
            where=str(error.filename or error),
            remedy="keep the external data files beside the .onnx file, under their own names",
        ) from error


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
