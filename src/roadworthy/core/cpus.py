"""How many CPUs this process may really use: a container of 2 on a host of 64 has 2."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cpus() -> int:
    """Return how many CPUs this process may use, at least 1: affinity, cut by the cgroup's quota.

    A quota of 1.5 CPUs counts as 2.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    quotas = [quota for quota in map(_quota, cgroup_folders("cpu")) if quota is not None]
    return max(1, min([count, *quotas]))


def cpu_features() -> frozenset[str] | None:
    """Return this CPU's instruction sets in Linux's names; None where the system doesn't tell."""
    for line in (read_text(Path("/proc/cpuinfo")) or "").splitlines():
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(values.split())
    return None


def cgroup_folders(controller: str) -> list[Path]:
    """Return this process's cgroup and all above it, version 2 or 1: each may set a limit.

    In a container the group's own path may not be visible; then the mounted root is the group.
    """
    text = read_text(Path("/proc/self/cgroup"))
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
    text = read_text(folder / "cpu.max")
    if text is None:
        quota, period = (
            read_text(folder / "cpu.cfs_quota_us"),
            read_text(folder / "cpu.cfs_period_us"),
        )
        text = f"{quota} {period}"
    words = text.split()
    if len(words) != 2 or not all(word.isdigit() for word in words):
        return None
    return max(1, -(-int(words[0]) // int(words[1])))


def read_text(path: Path) -> str | None:
    """Return a file of the system's as text, None where it can't be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
