"""Arrays on the GPU: results of ours, and where the caller's lie."""

from __future__ import annotations

from typing import Any, Dict, Optional, Sequence

import numpy as np

from .cuda import Cuda
from .memory import bytes_of


class DeviceArray:
    """An output that stays on the GPU: `__cuda_array_interface__` version 3, freed with it.

    Made without a stream of the caller's, it is freed by a call that waits for the device;
    made on the caller's stream, in that stream's order.
    """

    def __init__(
        self, cuda: Cuda, shape: Sequence[int], dtype: np.dtype, stream: Optional[int]
    ) -> None:
        self.shape, self.dtype = tuple(shape), dtype
        self._cuda, self._stream = cuda, stream
        size = max(1, bytes_of(shape, dtype))
        if stream is None:
            self.address = cuda.device_memory(size)
        else:
            self.address = cuda.handle("cudaMallocAsync", size, stream)

    @property
    def __cuda_array_interface__(self) -> Dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "version": 3,
            "strides": None,
            "stream": self._stream or None,
        }

    def __del__(self) -> None:
        address, self.address = getattr(self, "address", 0), 0
        if not address:
            return
        if self._stream is None:
            self._cuda.cudaFree(address)
        else:
            self._cuda.cudaFreeAsync(address, self._stream)


# The array interface before version 3 doesn't say on which stream an array is made.
UNTOLD = -1


class DeviceView:
    """Where a caller's GPU array lies. `owner` keeps its memory alive.

    `ready_on` is the stream to wait for before it is used: None: no wait is needed, UNTOLD: it
    isn't said.
    """

    def __init__(self, name: str, value: Any) -> None:
        if not hasattr(value, "__cuda_array_interface__"):
            raise RuntimeError(
                "%r is a %s, which is no GPU array: it has no __cuda_array_interface__"
                % (name, type(value).__name__)
            )
        said = value.__cuda_array_interface__
        self.owner: Any = value
        self.ready_on: Optional[int] = said.get("stream") if said.get("version", 0) >= 3 else UNTOLD
        self.address = int(said["data"][0])
        self.shape = tuple(int(size) for size in said["shape"])
        # "V2" is how bfloat16 is told there: raw bits, as everywhere here.
        self.dtype = np.dtype("uint16" if said["typestr"][1:] == "V2" else said["typestr"])
        strides = said.get("strides")
        if strides is not None and not self._is_compact(
            [int(stride) // self.dtype.itemsize for stride in strides]
        ):
            raise RuntimeError("%r is not contiguous; make it so first" % name)

    def _is_compact(self, strides: Sequence[int]) -> bool:
        """Tell whether elements lie in C order without gaps; strides in elements."""
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(list(strides))):
            if size > 1 and stride != expected:
                return False
            expected *= size
        return True
