"""An ONNX model as bytes: one file below protobuf's 2 GB, external data above it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

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
    """Serialise; the first file is the model, a second one holds the weights of a large model."""
    import onnx_ir as ir

    if weight_bytes(model) < EXTERNAL_FROM_BYTES:
        return {name: ir.to_proto(model).SerializeToString()}
    with tempfile.TemporaryDirectory(prefix="roadworthy-") as folder:
        path = Path(folder) / name
        ir.save(model, path, external_data=f"{name}.data")
        return {
            name: path.read_bytes(),
            f"{name}.data": (path.parent / f"{name}.data").read_bytes(),
        }


def digest(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of the files' names and contents, as `sha256:…`."""
    state = hashlib.sha256()
    for name, content in files.items():
        state.update(f"{name}:{len(content)}:".encode())
        state.update(content)
    return f"sha256:{state.hexdigest()}"
