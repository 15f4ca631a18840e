"""What a plan's layers compute in, by ONNX node: read from the inspector's account of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from roadworthy.backends.proof import CONVERSIONS, Layer, operators_of, standard_form

# The runtime's name of the inspector's layers among an engine's files.
LAYERS = "layers.json"


def operators_in(compiled: Mapping[str, bytes]) -> dict[str, str]:
    """Return the operator of every node of the ONNX model; the first file is the graph."""
    import onnx

    return operators_of(onnx.load_model_from_string(next(iter(compiled.values()))).graph)


def proof_of(
    told: Mapping[str, Any], files: Mapping[str, bytes], operators: Mapping[str, str]
) -> dict[str, Any]:
    """Return the runtime's proof with "layers" and "nodes" in the form that all backends have.

    A fused subgraph (ForeignNode) counts as a layer, but proves nothing of its nodes.

    Args:
        told: by the runtime's `build`.
        files: the engine's.
        operators: of the model that it was built from, see `operators_in`.
    """
    layers = json.loads(files[LAYERS])
    return {**told, **standard_form(_layers(layers, operators), operators)}


def with_nodes(files: Mapping[str, bytes], operators: Mapping[str, str]) -> dict[str, bytes]:
    """Return an engine's files with "onnx" in every layer of `LAYERS`: the nodes it came from.

    TensorRT's names of layers hold names of its own making beside those of nodes
    ("reshape_before_fc"); which are nodes, only the graph tells. Arguments: see `proof_of`.
    """
    from roadworthy.backends.tensorrt.runtime.proof import onnx_names

    layers = [
        {**layer, "onnx": [name for name in onnx_names(layer) if name in operators]}
        for layer in json.loads(files[LAYERS])
    ]
    return {**files, LAYERS: json.dumps(layers).encode()}


def name_rows(rows: Sequence[dict[str, Any]], files: Mapping[str, bytes]) -> None:
    """Leave only nodes of the graph in "onnx" of the rows of the runtime's `profile`.

    Args:
        rows: see `runtime.Runner.profile`.
        files: the engine's; those of a plan that was made elsewhere don't tell, and nothing is
            changed.
    """
    layers = json.loads(files.get(LAYERS, b"[]"))
    known = {name for layer in layers for name in layer.get("onnx", ())}
    for row in rows if known else ():
        row["onnx"] = [name for name in row["onnx"] if name in known]


def _layers(layers: list[dict[str, Any]], operators: Mapping[str, str]) -> list[Layer]:
    from roadworthy.backends.tensorrt.runtime.proof import (
        hides_its_inside,
        is_copy,
        layer_precision,
        onnx_names,
    )

    found = []
    for layer in layers:
        if is_copy(layer):
            continue
        names = [name for name in onnx_names(layer) if name in operators]
        computes = not names or any(operators[name] not in CONVERSIONS for name in names)
        kind = f"{layer.get('LayerType', '')} {layer.get('TacticName', '')}"
        nodes = () if hides_its_inside(layer) else tuple(names)
        found.append(Layer(kind, layer_precision(layer), nodes, computes))
    return found
