"""OpenVINO where the engine runs. Standard library, NumPy and openvino only, Python 3.8+.

Arrays of element types that NumPy lacks come and go as unsigned integers of the same bits, one per
element: uint16 for bfloat16, uint8 for 8 bits and below (a 4-bit value in the low bits).

- `library` (OpenVINO itself), `failure` (what it raises), `device` (what is there; `describe`).
- Compiling: `settings` → `compiling`; `steps` (what is executed) → `proof`, `profile`; `justbuilt`,
  `builder`.
- Running: `ports` (tensors by name), `arrays` (in and out) → `manycalls` (overlapping) → `runner`.
"""

from __future__ import annotations

from .builder import build
from .device import describe
from .library import NAME, ov
from .runner import Runner

__all__ = ["NAME", "Runner", "build", "describe", "ov"]
