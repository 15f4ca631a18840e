"""From a trained network to a fast engine, with proof that its answers are still right.

    import roadworthy

    roadworthy.deploy("unet.py:unet", weights="unet.safetensors", samples="scenes", out="unet.rw")
    with roadworthy.load("unet.rw") as model:
        answers = model.run({"image": x})

Everything heavy is imported when it is used, so that importing this package is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roadworthy.api import LoadedBundle, compile, deploy, load, verify_bundle
    from roadworthy.core.errors import (
        BudgetError,
        InputError,
        RoadworthyError,
        UnavailableError,
        UsageError,
        WrongAnswersError,
    )
    from roadworthy.core.signature import Dim, Signature, TensorSpec
    from roadworthy.torch_module import EngineModule

__all__ = [
    "BudgetError",
    "Dim",
    "EngineModule",
    "InputError",
    "LoadedBundle",
    "RoadworthyError",
    "Signature",
    "TensorSpec",
    "UnavailableError",
    "UsageError",
    "WrongAnswersError",
    "compile",
    "deploy",
    "load",
    "verify_bundle",
]

_HOMES = {
    "BudgetError": "roadworthy.core.errors",
    "Dim": "roadworthy.core.signature",
    "EngineModule": "roadworthy.torch_module",
    "InputError": "roadworthy.core.errors",
    "LoadedBundle": "roadworthy.api",
    "RoadworthyError": "roadworthy.core.errors",
    "Signature": "roadworthy.core.signature",
    "TensorSpec": "roadworthy.core.signature",
    "UnavailableError": "roadworthy.core.errors",
    "UsageError": "roadworthy.core.errors",
    "WrongAnswersError": "roadworthy.core.errors",
    "compile": "roadworthy.api",
    "deploy": "roadworthy.api",
    "load": "roadworthy.api",
    "verify_bundle": "roadworthy.api",  # `verify` is a folder of this package
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'roadworthy' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
