"""OpenVINO itself, imported without its telemetry."""

from __future__ import annotations

import importlib
import sys
from functools import lru_cache
from typing import Any

NAME = "openvino"


def _import_without_telemetry() -> Any:
    """Import openvino as if its telemetry package weren't installed.

    Otherwise the import sends an event to Google Analytics and writes a client number to the user's
    home. A None in `sys.modules` makes an import fail (Python's import system says so), and
    openvino takes its own stub then. Others in this process may use the package as they like.
    """
    name = "openvino_telemetry"
    if "openvino" in sys.modules or name in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[name] = None  # type: ignore[assignment]  # documented way to block an import
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[name]


ov = _import_without_telemetry()


@lru_cache(maxsize=None)
def core() -> Any:
    """Return the one OpenVINO core of this process: it has loaded the plugins."""
    return ov.Core()
