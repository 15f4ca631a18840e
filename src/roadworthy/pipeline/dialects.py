"""How a target wants its INT8 graph, by its backend and by the processor that is there."""

from __future__ import annotations

from dataclasses import replace

from roadworthy.backends import registry
from roadworthy.core.cpus import cpu_features
from roadworthy.core.errors import UnavailableError
from roadworthy.core.target import Target
from roadworthy.precision.dialect import Dialect, dialect_for

# What Linux, macOS and Windows call the machines whose INT8 kernels may saturate.
_X86 = frozenset({"AMD64", "i386", "i686", "x86", "x86_64"})


def dialect_of(target: Target) -> Dialect:
    """Return how a target wants its INT8 graph; of TensorRT, as its version 8 does.

    A CPU of another host is asked of which kind it is, which starts a worker there.

    Raises:
        UnavailableError: its backend has no INT8 here.
    """
    found = dialect_for(target.backend, None if target.is_elsewhere else cpu_features())
    if target.device not in (None, "cpu", "CPU"):
        # Reduced weights are for x86 kernels only.
        return replace(found, weight_limit=127)
    if not target.is_elsewhere or target.backend == "tensorrt":
        return found
    machine = _machine_of(target)
    if machine and machine not in _X86:
        return found
    return found.careful(
        f"weights have 7 bits: whether the CPU at {target.where} ({machine or 'unknown'}) has VNNI "
        "isn't known, and without it an x86 CPU adds up pairs of products in 16 bits"
    )


def has_dialect(target: Target) -> bool:
    """Tell whether a target's backend has INT8 here."""
    try:
        dialect_for(target.backend)
    except UnavailableError:
        return False
    return True


def _machine_of(target: Target) -> str:
    """Return what kind of machine a target is on, empty where nobody answers."""
    try:
        return registry.find(target.backend).fingerprint(target).get("machine", "")
    except UnavailableError:
        # The build says so itself, where there is to be one.
        return ""
