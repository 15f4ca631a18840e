"""Arrays on the GPU: results of ours, and where the caller's lie."""

from __future__ import annotations

import ctypes
from typing import Any, Dict, Optional, Sequence

import numpy as np

from .cuda import LEGACY_STREAM, Cuda
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


class _DLTensor(ctypes.Structure):
    """DLPack's DLTensor (dlpack.h, version 0.8)."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


_DL_CUDA = 2
# DLPack's (type code, bits): bfloat16 travels as raw bits, as everywhere here.
_DL_TYPES = {
    (0, 8): "int8",
    (0, 32): "int32",
    (0, 64): "int64",
    (1, 8): "uint8",
    (2, 16): "float16",
    (2, 32): "float32",
    (4, 16): "uint16",
    (6, 8): "bool",
}


# The array interface before version 3 doesn't say on which stream an array is made.
UNTOLD = -1


class DeviceView:
    """Where a caller's GPU array lies. `owner` keeps its memory alive.

    `ready_on` is the stream to wait for before it is used: None: no wait is needed, UNTOLD: it
    isn't said. A producer that speaks DLPack is told of `queue`, and makes it wait itself.
    """

    def __init__(self, name: str, value: Any, queue: int) -> None:
        self.owner: Any = value
        self.ready_on: Optional[int] = None
        if hasattr(value, "__cuda_array_interface__"):
            said = value.__cuda_array_interface__
            self.ready_on = said.get("stream") if said.get("version", 0) >= 3 else UNTOLD
            self.address = int(said["data"][0])
            self.shape = tuple(int(size) for size in said["shape"])
            # "V2" is how bfloat16 is told there: raw bits, as everywhere here.
            self.dtype = np.dtype("uint16" if said["typestr"][1:] == "V2" else said["typestr"])
            strides = said.get("strides")
            compact = strides is None or self._is_compact(
                [int(stride) // self.dtype.itemsize for stride in strides]
            )
        elif hasattr(value, "__dlpack__"):
            compact = self._read_dlpack(name, value, queue)
        else:
            raise RuntimeError(
                "%r is a %s, which is no GPU array: it has neither __cuda_array_interface__ nor "
                "__dlpack__" % (name, type(value).__name__)
            )
        if not compact:
            raise RuntimeError("%r is not contiguous; make it so first" % name)

    def _read_dlpack(self, name: str, value: Any, queue: int) -> bool:
        if value.__dlpack_device__()[0] != _DL_CUDA:
            raise RuntimeError("%r is not a GPU array" % name)
        self.owner = capsule = value.__dlpack__(stream=queue or LEGACY_STREAM)  # 0 is none
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        tensor = ctypes.cast(pointer(capsule, b"dltensor"), ctypes.POINTER(_DLTensor)).contents
        kind = (int(tensor.code), int(tensor.bits))
        if tensor.device_type != _DL_CUDA or kind not in _DL_TYPES or tensor.lanes != 1:
            raise RuntimeError("%r is not a GPU array of a type that TensorRT takes" % name)
        self.address = int(tensor.data or 0) + int(tensor.byte_offset)
        self.shape = tuple(int(tensor.shape[axis]) for axis in range(tensor.ndim))
        self.dtype = np.dtype(_DL_TYPES[kind])
        if not tensor.strides:
            return True
        return self._is_compact([int(tensor.strides[axis]) for axis in range(tensor.ndim)])

    def _is_compact(self, strides: Sequence[int]) -> bool:
        """Tell whether elements lie in C order without gaps; strides in elements."""
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(list(strides))):
            if size > 1 and stride != expected:
                return False
            expected *= size
        return True
