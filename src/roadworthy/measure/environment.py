"""The machine and the packages that a measurement was made with: no names of hosts or people."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

# Distributions whose version can change an answer or a time.
PACKAGES = (
    "roadworthy",
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

_CGROUP = Path("/sys/fs/cgroup")


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


def usable_cpus() -> int:
    """Return how many CPUs this process may use, at least 1: affinity, cut by the cgroup's quota.

    A quota of 1.5 CPUs counts as 2.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    quotas = [quota for quota in map(_quota, _cgroup_folders("cpu")) if quota is not None]
    return max(1, min([count, *quotas]))


def cpu_model() -> str | None:
    """Return the processor's name as it calls itself."""
    if platform.system() == "Linux":
        return _linux_cpu_model(_read(Path("/proc/cpuinfo")) or "") or platform.processor() or None
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
    for folder in _cgroup_folders("memory"):
        for file in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / file)
            if text and text.strip().isdigit():
                total = min(total, int(text))
    return total


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except (AttributeError, OSError):
        return platform.mac_ver()[0] or None


def _cgroup_folders(controller: str) -> list[Path]:
    """Return this process's cgroup and all above it, version 2 or 1: each may set a limit.

    In a container the group's own path may not be visible; then the mounted root is the group.
    """
    text = _read(Path("/proc/self/cgroup"))
    if text is None:
        return []
    folders: list[Path] = []
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _CGROUP / controllers if controllers else _CGROUP
        group = root / path.lstrip("/")
        folders += [folder for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return folders


def _quota(folder: Path) -> int | None:
    """Return the whole CPUs that one cgroup grants; None without a limit."""
    text = _read(folder / "cpu.max")
    if text is None:
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        text = f"{quota} {period}"
    words = text.split()
    if len(words) != 2 or not all(word.isdigit() for word in words):
        return None
    return max(1, -(-int(words[0]) // int(words[1])))


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
