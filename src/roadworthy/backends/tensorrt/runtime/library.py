"""TensorRT itself: the module, imported late, and what a version has."""

from __future__ import annotations

import importlib
from typing import Any, Tuple

NAME = "tensorrt"


def import_tensorrt() -> Any:
    """Return the tensorrt module, or raise ImportError."""
    return importlib.import_module("tensorrt")


def version_of(trt: Any) -> Tuple[int, int]:
    """Return TensorRT's version as (major, minor)."""
    major, minor = trt.__version__.split(".")[:2]
    return int(major), int(minor)


def named(trt: Any, enum: str, name: str) -> Any:
    """Return a member of an enum, or say that this version has none of that name."""
    members = getattr(trt, enum, None)
    if not hasattr(members, name):
        raise RuntimeError("TensorRT %s has no %s.%s" % (trt.__version__, enum, name))
    return getattr(members, name)
