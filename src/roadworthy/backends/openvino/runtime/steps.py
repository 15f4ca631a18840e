"""What is executed: the steps of a compiled model."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

# What plugins call a float in the graph that they execute.
_FLOATS = {"f32": "f32", "fp32": "f32", "bf16": "bf16", "f16": "f16", "fp16": "f16"}
# Steps of the executed graph that compute nothing: they hold, move or convert tensors.
_NO_WORK = {"Input", "Output", "Const", "Parameter", "Result", "Reorder", "Convert", "Reshape"}


def steps_of(compiled: Any) -> List[Dict[str, Any]]:
    """Return the executed graph: name, kind, precision, primitive and origin of every step."""
    steps = []
    for op in compiled.get_runtime_model().get_ordered_ops():
        told = {key: str(value.astype(str)) for key, value in op.get_rt_info().items()}
        origins = told.get("originalLayersNames", "")
        steps.append(
            {
                "name": op.get_friendly_name(),
                "kind": told.get("layerType", op.get_type_name()),
                "precision": told.get("runtimePrecision", "").lower(),
                "primitive": told.get("primitiveType", ""),
                "origins": origins.split(",") if origins else [],
            }
        )
    return steps


def usual_precision(kind: str) -> str:
    """Return the usual word for OpenVINO's name of an element type: fp32 for f32, int8 for i8."""
    for short, usual in (("bf", "bf"), ("fp", "fp"), ("f", "fp"), ("i", "int"), ("u", "uint")):
        if kind.startswith(short) and kind[len(short) :].isdigit():
            return usual + kind[len(short) :]
    return kind


def floats_by_type(steps: Sequence[Mapping[str, Any]]) -> Dict[str, List[str]]:
    """Return the names of the steps that compute with floats, by type."""
    found: Dict[str, List[str]] = {}
    for step in steps:
        kind = _FLOATS.get(step["precision"])
        if kind and step["kind"] not in _NO_WORK:
            found.setdefault(kind, []).append(step["name"])
    return found


def primitives_of(steps: Sequence[Mapping[str, Any]]) -> Dict[str, int]:
    """Return how many steps each kind of kernel executes."""
    counts: Dict[str, int] = {}
    for step in steps:
        if step["kind"] not in _NO_WORK and step["primitive"]:
            counts[step["primitive"]] = counts.get(step["primitive"], 0) + 1
    return dict(sorted(counts.items()))
