"""A plan read back: the engine, its layers by TensorRT's inspector, its profiles' shapes."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional, Tuple

from .log import Lines, make_log

PLAN = "engine.plan"
LAYERS = "layers.json"


def deserialise(trt: Any, plan: bytes, log: Any, lines: Lines) -> Tuple[Any, Any]:
    """Return (runtime, engine); TensorRT answers None and says why only in its log."""
    trt.init_libnvinfer_plugins(log, "")
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        known = "" if plan[:4] in (b"ftrt", b"ptrt") else " (it doesn't start like a plan)"
        raise RuntimeError(
            "TensorRT %s can't load this plan%s: %s"
            % (trt.__version__, known, lines.reason("it gave no reason"))
        )
    return runtime, engine


def layers_of(trt: Any, plan: bytes) -> List[Dict[str, Any]]:
    """Return a plan's layers as the inspector tells them."""
    lines = Lines()
    runtime, engine = deserialise(trt, plan, make_log(trt, lines), lines)
    layers = inspect_layers(trt, engine)
    del engine, runtime
    return layers


def inspect_layers(trt: Any, engine: Any) -> List[Dict[str, Any]]:
    """Return the inspector's layers; a plan built without details gives names only.

    With dynamic shapes, formats are only known for a context: the first profile at its optimum.
    """
    inspector = engine.create_engine_inspector()
    context = engine.create_execution_context()
    if context is not None and _set_optimum(trt, engine, context):
        inspector.execution_context = context
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    # Not strict: 8.6 writes raw control characters between the nodes of a fused layer.
    layers = json.loads(text, strict=False).get("Layers", [])
    return [layer if isinstance(layer, dict) else {"Name": str(layer)} for layer in layers]


def _set_optimum(trt: Any, engine: Any, context: Any) -> bool:
    """Set the first profile's optimal shapes; False where inputs are read by value."""
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        if engine.get_tensor_mode(name) != trt.TensorIOMode.INPUT:
            continue
        known = profile_range(trt, engine, name, 0)
        if len(known) != 3 or not context.set_input_shape(name, tuple(known[1])):
            return False
    return True


def profile_range(trt: Any, engine: Any, name: str, profile: int) -> List[List[int]]:
    """Return min, opt and max shape of an input in a profile; empty for inputs by value."""
    if engine.get_tensor_location(name) == trt.TensorLocation.HOST:
        return []
    fixed = known_sizes(engine.get_tensor_shape(name))
    if fixed is not None and min(fixed, default=0) >= 0:
        # In a plan without a profile the profile's shapes are unknown.
        return [fixed, fixed, fixed]
    shapes = [known_sizes(shape) for shape in engine.get_tensor_profile_shape(name, profile)]
    return [shape for shape in shapes if shape is not None]


def known_sizes(dims: Any) -> Optional[List[int]]:
    """Return sizes, or None where TensorRT doesn't know even their number (it says -1 of them)."""
    try:
        return [int(size) for size in tuple(dims)]
    except ValueError:
        return None
