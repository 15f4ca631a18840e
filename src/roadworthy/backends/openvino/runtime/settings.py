"""What the plugins are told."""

from __future__ import annotations

from typing import Any, Dict, Mapping

from .device import affinity, capabilities, devices
from .failure import some

# Our word for a precision: OpenVINO's word for it, and the capability that a device must have.
PRECISIONS = {
    "fp32": ("f32", "FP32"),
    "bf16": ("bf16", "BF16"),
    "fp16": ("f16", "FP16"),
    # The Q/DQ of the graph decide; the hint is for what they leave.
    "int8": ("f32", "INT8"),
}


def properties(device: str, spec: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the plugin's settings; what could change answers or speed in silence is stated."""
    hint, capability = PRECISIONS[spec["precision"]]
    for name in devices() if device == "AUTO" else [device]:
        able = capabilities(name)
        if capability not in able:
            # Told f16, a CPU that has bf16 takes that instead, and says nothing.
            raise RuntimeError("OpenVINO's %s has no %s here, only %s" % (name, hint, some(able)))
    told: Dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": hint,
        "PERFORMANCE_HINT": spec.get("mode", "latency").upper(),
    }
    if spec["precision"] in ("fp32", "int8"):
        # Also no quantised activations or attention caches, which are on by default.
        told["EXECUTION_MODE_HINT"] = "ACCURACY"
    if device == "AUTO":
        # Otherwise the first runs are the CPU's, the later ones another device's.
        told["ENABLE_STARTUP_FALLBACK"] = False
        # AUTO has no threads of its own: it hands them on to the CPU, should it take that.
        if "CPU" in devices():
            told["DEVICE_PROPERTIES"] = {"CPU": _threads(spec, told["PERFORMANCE_HINT"])}
    if device == "CPU":
        told.update(_threads(spec, told["PERFORMANCE_HINT"]))
    if spec.get("cache_dir"):
        told["CACHE_DIR"] = spec["cache_dir"]
    return told


def _threads(spec: Mapping[str, Any], hint: str) -> Dict[str, Any]:
    """Return what the CPU is told of its threads."""
    told: Dict[str, Any] = {
        "INFERENCE_NUM_THREADS": spec.get("threads") or affinity(),
        # The number of threads that was asked for, also if two of them share a core.
        "ENABLE_HYPER_THREADING": True,
        # Pinned threads of two processes or containers meet on the same first cores, and each
        # takes twice as long.
        "ENABLE_CPU_PINNING": bool(spec.get("pinning")),
    }
    if hint == "LATENCY":
        told["NUM_STREAMS"] = 1
    return told
