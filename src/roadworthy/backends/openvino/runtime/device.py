"""The devices: which are there, what they can, and what an engine for one is tied to."""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from typing import Dict, List, Optional, Tuple

from .library import NAME, core, ov


@lru_cache(maxsize=None)
def devices() -> Tuple[str, ...]:
    """Return the devices that are there. Asking takes milliseconds: every driver is tried."""
    return tuple(str(name) for name in core().available_devices)


def describe(device: Optional[str]) -> Dict[str, str]:
    """Return what an engine for this device ("CPU", "GPU.0", "NPU", "AUTO") would be tied to."""
    name = device_name(device)
    found = [name] if name != "AUTO" else list(devices())
    return {
        "runtime": NAME,
        "version": str(ov.__version__).split("-")[0],
        "build": str(ov.__version__),
        "device": name,
        "device name": ", ".join(str(core().get_property(d, "FULL_DEVICE_NAME")) for d in found),
        "machine": platform.machine(),
        "system": platform.system(),
    }


def device_name(asked: Optional[str]) -> str:
    """Return OpenVINO's name of a device that is there."""
    found = devices()
    name = (asked or "CPU").upper()
    # OpenVINO takes "GPU" for the first of several.
    if name != "AUTO" and name not in {part for d in found for part in (d, d.split(".")[0])}:
        raise RuntimeError(
            "OpenVINO finds no device %s here, only %s" % (name, ", ".join([*found, "AUTO"]))
        )
    return name


def capabilities(device: str) -> List[str]:
    """Return what a device computes in, as OpenVINO words it; of several, what all of them can."""
    found: List[str] = []
    for number, name in enumerate(devices() if device == "AUTO" else [device]):
        able = [str(one) for one in core().get_property(name, "OPTIMIZATION_CAPABILITIES")]
        found = [one for one in found if one in able] if number else able
    return found


def affinity() -> int:
    """How many CPUs this process may use, where the host side didn't say."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
