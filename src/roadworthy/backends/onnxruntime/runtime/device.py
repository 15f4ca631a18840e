"""The device: by which provider ONNX Runtime runs on it, and what an engine for it is tied to."""

from __future__ import annotations

import os
import platform
from typing import Dict, Optional

from .library import NAME, ort

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
PROVIDERS = {"cpu": CPU, "cuda": CUDA}


def describe(device: Optional[str]) -> Dict[str, str]:
    """Return what an engine would be tied to here.

    Raises RuntimeError where this build hasn't got the device: it would use the CPU in silence.
    """
    provider = PROVIDERS.get(device or "cpu")
    if provider is None:
        raise RuntimeError(
            "ONNX Runtime has no device %r here, only %s" % (device, ", ".join(PROVIDERS))
        )
    if provider not in ort.get_available_providers():
        raise RuntimeError("this build of ONNX Runtime has no %s" % provider)
    return {
        "runtime": NAME,
        "version": ort.__version__,
        "provider": provider,
        "machine": platform.machine(),
        "system": platform.system(),
    }


def affinity() -> int:
    """How many CPUs this process may use, where the host side didn't say."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
