"""A plan that somebody else built, taken over as it is."""

from __future__ import annotations

import json
from typing import Any, Dict

from .log import Lines, make_log
from .plan import LAYERS, PLAN, deserialise, inspect_layers, known_sizes, profile_range
from .proof import census


def adopt(trt: Any, plan: bytes) -> Dict[str, Any]:
    """Describe a plan that somebody else built: inputs, outputs, profiles, layers."""
    lines = Lines()
    log = make_log(trt, lines)
    runtime, engine = deserialise(trt, plan, log, lines)
    layers = inspect_layers(trt, engine)
    proof = census(layers)
    profiles = range(engine.num_optimization_profiles)
    tensors = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        tensors.append(
            {
                "name": name,
                "input": is_input,
                "dtype": engine.get_tensor_dtype(name).name,
                "shape": known_sizes(engine.get_tensor_shape(name)) or [],
                "ranges": [profile_range(trt, engine, name, profile) for profile in profiles]
                if is_input
                else [],
            }
        )
    proof.update(asked="as built", tensors=tensors, version=trt.__version__, plan_bytes=len(plan))
    del engine, runtime
    content = json.dumps(layers).encode("utf-8")
    return {"files": {PLAN: plan, LAYERS: content}, "log": lines.all, "proof": proof}
