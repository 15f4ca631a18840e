"""ONNX Runtime itself."""

from __future__ import annotations

import os

# Newer builds keep a telemetry store in the user's home unless told not to before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

__all__ = ["NAME", "ort"]

NAME = "onnxruntime"
