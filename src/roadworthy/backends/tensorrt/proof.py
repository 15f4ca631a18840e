"""What a plan's layers compute in, by ONNX node: read from the inspector's account of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from roadworthy.backends.proof import CONVERSIONS, Layer, operators_of, standard_form

# The runtime's name of the inspector's layers among an engine's files.
LAYERS = "layers.json"


def proof_of(
    told: Mapping[str, Any], files: Mapping[str, bytes], compiled: Mapping[str, bytes]
) -> dict[str, Any]:
    """Return the runtime's proof with "layers" and "nodes" in the form that all backends have.

    A fused subgraph (ForeignNode) counts as a layer, but proves nothing of its nodes.

    Args:
        told: by the runtime's `build`.
        files: the engine's.
        compiled: the ONNX model that it was built from; the first file is the graph.
    """
    import onnx

    graph = onnx.load_model_from_string(next(iter(compiled.values()))).graph
    operators = operators_of(graph)
    layers = json.loads(files[LAYERS])
    return {**told, **standard_form(_layers(layers, operators), operators)}


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
