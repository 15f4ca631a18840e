"""Look at this machine: which targets and features are here, and what would bring the others."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roadworthy.backends import registry
from roadworthy.core.target import Target
from roadworthy.measure.environment import environment

# Feature: (what it gives, packages, extra)
_FEATURES = (
    ("PyTorch sources", ("torch", "onnxscript", "safetensors"), "torch"),
    ("images, masks, predict", ("PIL",), "vision"),
    ("second simplifier", ("onnxslim",), "slim"),
)
_DEVICES = {"onnxruntime": ("cpu", "cuda")}


@dataclass(frozen=True)
class Finding:
    """One target or feature: here or not, why, and the command that brings it."""

    kind: str
    name: str
    ok: bool
    detail: str
    remedy: str | None = None
    asked: bool = False


@dataclass(frozen=True)
class Examination:
    """All that was found."""

    environment: Mapping[str, Any]
    targets: tuple[Finding, ...]
    features: tuple[Finding, ...]

    def to_json(self) -> Mapping[str, Any]:
        """Return the `result` of the command line's JSON document."""
        return {
            "environment": self.environment,
            "targets": list(self.targets),
            "features": list(self.features),
        }


def examine(asked: Sequence[str]) -> Examination:
    """Examine the targets that were asked for, or all known ones, and every optional feature.

    Raises:
        UsageError: a target of another form, or of no known backend.
    """
    targets = [Target.parse(text) for text in asked] or [
        Target(name, None if device == "cpu" else device)
        for name in registry.names()
        for device in _DEVICES.get(name, ("cpu",))
    ]
    return Examination(
        environment(),
        tuple(_target(target, asked=bool(asked)) for target in targets),
        tuple(_feature(*feature) for feature in _FEATURES),
    )


def _target(target: Target, *, asked: bool) -> Finding:
    backend = registry.find(target.backend)
    support = backend.supports(target)
    detail = support.reason
    if support.ok:
        # To ask again may start another process.
        detail = support.version or backend.fingerprint(target).get("version", "")
    return Finding("target", str(target), support.ok, detail, support.remedy, asked)


def _feature(what: str, packages: tuple[str, ...], extra: str) -> Finding:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if not missing:
        return Finding("feature", what, True, ", ".join(packages))
    return Finding(
        "feature",
        what,
        False,
        f"missing: {', '.join(missing)}",
        f'pip install "roadworthy[{extra}]"',
    )
