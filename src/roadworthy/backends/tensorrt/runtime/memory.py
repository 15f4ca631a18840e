"""Memory that an engine's tensors lie in: pinned on the host, or asked for by TensorRT."""

from __future__ import annotations

import ctypes
from typing import Any, Sequence, Tuple

import numpy as np

from .cuda import Cuda


def bytes_of(shape: Sequence[int], dtype: np.dtype) -> int:
    """Return how many bytes an array takes."""
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


class Pinned:
    """Page-locked host memory seen as an array; copies from it run without the CPU."""

    def __init__(self, cuda: Cuda, shape: Sequence[int], dtype: np.dtype) -> None:
        self._cuda = cuda
        self.nbytes = bytes_of(shape, dtype)
        self.address = cuda.handle("cudaHostAlloc", max(1, self.nbytes), 0)
        raw = (ctypes.c_ubyte * max(1, self.nbytes)).from_address(self.address)
        flat = np.ctypeslib.as_array(raw)[: self.nbytes]
        self.array = flat.view(dtype).reshape(tuple(shape))

    def free(self) -> None:
        """Give it back; the array must not be used any more."""
        if self.address:
            self._cuda.cudaFreeHost(self.address)
        self.address = 0


def make_allocator(trt: Any, cuda: Cuda) -> Any:
    """Return an output allocator: TensorRT asks it for memory when it knows the shape."""

    class Allocator(trt.IOutputAllocator):  # type: ignore[misc]  # of Any: its module is imported late
        def __init__(self) -> None:
            trt.IOutputAllocator.__init__(self)
            self.address, self.size = 0, 0
            self.shape: Tuple[int, ...] = ()

        def reallocate_output(
            self, tensor_name: str, memory: Any, size: int, alignment: int
        ) -> int:
            if size > self.size or not self.address:
                self.free()
                # cudaMalloc aligns to 256 bytes, more than TensorRT ever asks for.
                self.address, self.size = cuda.device_memory(size), max(1, size)
            return self.address

        def notify_shape(self, tensor_name: str, shape: Any) -> None:
            self.shape = tuple(int(size) for size in tuple(shape))

        def free(self) -> None:
            if self.address:
                cuda.cudaFree(self.address)
            self.address, self.size = 0, 0

    return Allocator()
