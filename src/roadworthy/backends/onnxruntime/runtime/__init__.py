"""ONNX Runtime where the engine runs. Standard library, NumPy and onnxruntime only, Python 3.8+.

Arrays of element types that NumPy lacks come and go as unsigned integers of the same bits, one per
element: uint16 for bfloat16, uint8 for 8 bits and below (a 4-bit value in the low bits).

- `library` (ONNX Runtime itself), `device` (providers; `describe`), `session` (opened on the
  provider that was asked for), `foreign` (tensors of types that NumPy lacks) → `runner`.
- Building: `builder`. The profile: `trace` (what the profiler wrote), `graph` (what was executed).
"""

from __future__ import annotations

from .builder import build
from .device import describe
from .library import NAME
from .runner import Runner
from .session import session_options

__all__ = ["NAME", "Runner", "build", "describe", "session_options"]
