"""The machine and the packages that a measurement was made with: no names of hosts or people."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from roadworthy.core.cpus import cgroup_folders, read_text, usable_cpus

# Distributions whose version can change an answer or a time.
PACKAGES = (
    "roadworthy",
    "apache-tvm",
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxscript",
    "onnxsim",
    "onnxslim",
    "openvino",
    "pillow",
    "safetensors",
    "tensorrt",
    "torch",
)


def environment() -> dict[str, Any]:
    """Return what a certificate says of the machine, as plain JSON values.

    `cpus_usable` is what this process may use (affinity cut by the cgroup's quota), `memory_bytes`
    the machine's memory or the cgroup's limit if that is less, `load_1min` the load average at
    this moment: above 0.5 or so on an idle-looking machine, times are someone else's too. What
    can't be told on this system is None. Nothing is imported: versions come from the metadata.
    """
    return {
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "cpus_usable": usable_cpus(),
        "memory_bytes": _memory(),
        "system": platform.system(),
        "release": platform.release(),
        "distribution": _distribution(),
        "machine": platform.machine(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": package_versions(),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def package_versions() -> dict[str, str]:
    """Return the installed ones of `PACKAGES` with their versions."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_model() -> str | None:
    """Return the processor's name as it calls itself."""
    if platform.system() == "Linux":
        return (
            _linux_cpu_model(read_text(Path("/proc/cpuinfo")) or "") or platform.processor() or None
        )
    if platform.system() == "Darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() or None
    return platform.processor() or None


def _linux_cpu_model(cpuinfo: str) -> str | None:
    """The first `model name` (x86), `Model` or `cpu` (Arm, POWER) of /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    for key in ("model name", "Model", "cpu"):
        if fields.get(key):
            return fields[key]
    return None


def _memory() -> int | None:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    for folder in cgroup_folders("memory"):
        for file in ("memory.max", "memory.limit_in_bytes"):
            text = read_text(folder / file)
            if text and text.strip().isdigit():
                total = min(total, int(text))
    return total


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except (AttributeError, OSError):
        return platform.mac_ver()[0] or None
