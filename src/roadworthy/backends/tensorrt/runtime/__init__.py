"""TensorRT where the GPU is. Standard library, NumPy, tensorrt; CUDA through libcudart by ctypes.

One code base for TensorRT 8.6, 10 and 11: what a version decides (precision, batch mode) branches
on the version, what is only there or not branches on `hasattr`. TensorRT is imported inside
functions: asking a host without it is an answer (ImportError), not a crash.

- The host: `library` (TensorRT itself), `cuda` (libcudart), `device` (the GPU; `describe`).
- Building: `builder`, told by `config`, watched by `log` and `progress`; `adopt` for others' plans.
- Reading: `plan` (engine, layers, profiles), `proof` (which precision really runs).
- Running: `port`, `memory`, `arrays` (tensors) → `binding` (a context with its graphs) → `engine`
  (who has which context; launching) → `hostcalls`, `manycalls` (overlapping, each a `flight`),
  `devicecalls` → `runner`.
"""

from __future__ import annotations

from .arrays import DeviceArray, DeviceView
from .builder import build
from .cuda import cuda_here
from .device import describe
from .library import NAME
from .runner import Runner

__all__ = [
    "NAME",
    "DeviceArray",
    "DeviceView",
    "Runner",
    "build",
    "cuda_here",
    "describe",
]
