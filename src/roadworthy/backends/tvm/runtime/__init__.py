"""TVM where the engine is built and runs. Standard library, NumPy, onnx and tvm only, Python 3.8+.

ONNX → Relax → fused loop nests → a shared library. TVM's own CPU pipeline leaves the loop nests as
they were written, one scalar at a time on one thread (50 to 100 times slower than other runtimes).
Here each is scheduled by rule: channels last, the innermost axis in vectors, a tile of sums in
registers, the outer axes in parallel; tuning measures some tile sizes and keeps the fastest, and
the tuned library only if as a whole it is faster than the rule's.

- `machine` (TVM, this CPU; `describe`), `contract` (what ships), `failure` (what TVM raises).
- Building: `builder` → `model` (ONNX to Relax; `quirks`: what TVM would read wrongly) → `compiler`
  → `schedules`, `tuning`, `choice` (rule's or tuned).
- Running: `runner`; `calls` (where the time goes).
"""

from __future__ import annotations

from .builder import build
from .machine import NAME, describe
from .runner import Runner

__all__ = ["NAME", "Runner", "build", "describe"]
