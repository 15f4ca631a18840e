"""What really runs, by the compiled model's own account."""

from __future__ import annotations

from typing import Any, Dict, Mapping

from .device import capabilities
from .steps import floats_by_type, primitives_of, steps_of


def proof_of(compiled: Any, spec: Mapping[str, Any], device: str, requests: int) -> Dict[str, Any]:
    """Return devices, threads, the executed steps, and these by precision.

    Each of "executed" is a step's name, kind, element type, and the names of the model that it
    came from. `requests` is how many runs keep the device busy.
    """
    steps = steps_of(compiled)
    ran = floats_by_type(steps)
    total = sum(len(names) for names in ran.values()) or 1
    return {
        "devices": [str(name) for name in compiled.get_property("EXECUTION_DEVICES")],
        "threads": _property(compiled, "INFERENCE_NUM_THREADS"),
        "pinning": _property(compiled, "ENABLE_CPU_PINNING"),
        "mode": spec.get("mode", "latency"),
        "streams": _property(compiled, "NUM_STREAMS"),
        "requests": requests,
        "precision": {
            "asked": spec["precision"],
            "steps": {kind: len(names) for kind, names in sorted(ran.items())},
            "share": {kind: round(len(names) / total, 4) for kind, names in sorted(ran.items())},
        },
        "primitives": primitives_of(steps),
        "capabilities": capabilities(device),
        "executed": [
            [step["name"], step["kind"], step["precision"], step["origins"]] for step in steps
        ],
        # There is no switch: the plugin's own graph transformations always run.
        "optimisations": "on",
    }


def _property(compiled: Any, name: str) -> Any:
    """Return a plain property, of AUTO that of the CPU; None where there is no such."""
    known = {str(one) for one in compiled.get_property("SUPPORTED_PROPERTIES")}
    if name in known:
        value = compiled.get_property(name)
    elif "DEVICE_PROPERTIES" in known:
        value = compiled.get_property("DEVICE_PROPERTIES").get("CPU", {}).get(name)
    else:
        value = None
    if value is None:
        return None
    return value if isinstance(value, (bool, int, str)) else str(value)
