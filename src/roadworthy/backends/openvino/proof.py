"""What OpenVINO's executed steps compute in, by ONNX node."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from roadworthy.backends.openvino.names import origins
from roadworthy.backends.proof import Behind, Layer, operators_of, standard_form

# OpenVINO's name of the element type that a step takes in, and ours; for halves also the capability
# that a device must have: others widen them inside.
_FLOATS = {"f8e4m3": "fp8", "f8e5m2": "fp8", "f32": "fp32", "fp32": "fp32"}
_HALVES = {"bf16": ("bf16", "BF16"), "f16": ("fp16", "FP16"), "fp16": ("fp16", "FP16")}
_BYTES = frozenset({"i8", "u8"})
# Steps that compute with 8-bit integers if they take them in. Others (a Subgraph takes in masks, or
# converts first) may not.
_INTEGER_STEPS = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul", "Pooling"})
# Steps that convert between element types or layouts.
_CONVERSIONS = frozenset(
    {"Const", "Convert", "FakeQuantize", "Input", "Output", "Parameter", "Reorder", "Result"}
)
# Steps that move or describe tensors.
_MOVERS = frozenset(
    {
        "Broadcast", "Concatenation", "Gather", "GatherElements", "GatherND", "Pad", "Reshape",
        "ScatterUpdate", "ShapeOf", "Split", "StridedSlice", "Tile", "Transpose",
    }
)  # fmt: skip
# A convolution apart from its bias, a product apart from its reshaping, as OpenVINO names them.
_PART = re.compile(r"/(WithoutBiases|MM)$")


def proof_of(told: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the runtime's proof with "layers" and "nodes" in the place of its "executed".

    Args:
        told: `runtime.Runner.proof`.
        files: the engine's; the first is the ONNX file.
    """
    import onnx

    graph = onnx.load_model_from_string(next(iter(files.values()))).graph
    names = _unambiguous(graph)
    behind = Behind(graph)
    layers = []
    for name, kind, element, came_from in told["executed"]:
        if kind not in _CONVERSIONS:
            nodes = _origins([*came_from, name], names)
            dtype = _computes_in(kind, element, told["capabilities"])
            layers.append(
                Layer(kind, dtype, (*nodes, *behind.fused(nodes, nodes)), kind not in _MOVERS)
            )
    rest = {key: item for key, item in told.items() if key != "executed"}
    return {**rest, **standard_form(layers, operators_of(graph))}


def _computes_in(kind: str, element: str, capabilities: Sequence[str]) -> str:
    """Return a step's dtype, "other" where what it takes in doesn't prove what it computes in."""
    if element in _BYTES:
        return "int8" if kind in _INTEGER_STEPS | _MOVERS else "other"
    if element in _HALVES:
        dtype, capability = _HALVES[element]
        return dtype if capability in capabilities and kind != "Subgraph" else "other"
    return _FLOATS.get(element, "other")


def _origins(told: Sequence[str], names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(origins((_PART.sub("", name) for name in told), names))


def _unambiguous(graph: Any) -> dict[str, str]:
    """Return a node's label by its name and by its outputs', where only one node is called so."""
    called = [
        (alias, node.name or next((output for output in node.output if output), ""))
        for node in graph.node
        for alias in {node.name, *node.output}
        if alias
    ]
    times = Counter(alias for alias, _ in called)
    return {alias: label for alias, label in called if times[alias] == 1}
