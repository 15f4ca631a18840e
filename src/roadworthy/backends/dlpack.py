"""GPU arrays of libraries that speak only DLPack, told as `__cuda_array_interface__` tells them."""

from __future__ import annotations

import ctypes
from typing import Any

_CUDA = 2
_LEGACY_STREAM = 1
# By DLPack's (type code, bits). Others are raw bits: so PyTorch tells bfloat16 there.
_TYPES = {
    **{(0, bits): f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{(1, bits): f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{(2, bits): f"<f{bits // 8}" for bits in (16, 32, 64)},
    (6, 8): "|b1",
}


class _Tensor(ctypes.Structure):
    """DLPack's DLTensor (dlpack.h, version 0.8)."""

    _fields_ = (
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
    )


_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


class DlpackArray:
    """Has the memory of an array that was taken by DLPack, and `__cuda_array_interface__`.

    The array is asked for its capsule once, here: some give it away only once. Its library makes
    `stream` wait until the values are there (None: the legacy default stream, for which the taker
    waits).
    """

    def __init__(self, value: Any, stream: int | None) -> None:
        told = stream or _LEGACY_STREAM  # 0 is none of DLPack's
        # Unused, it gives the memory back when it goes.
        self._capsule = value.__dlpack__(stream=told)
        tensor = _Tensor.from_address(_pointer(self._capsule, b"dltensor"))
        size = tensor.bits * tensor.lanes // 8
        strides = tensor.strides
        self.__cuda_array_interface__ = {
            "shape": tuple(tensor.shape[: tensor.ndim]),
            "typestr": _TYPES.get((tensor.code, tensor.bits), f"|V{size}"),
            "data": ((tensor.data or 0) + tensor.byte_offset, False),
            "strides": tuple(n * size for n in strides[: tensor.ndim]) if strides else None,
            "version": 3,
            "stream": told,
        }


def is_dlpack(value: Any) -> bool:
    """Tell whether it is an array on a GPU that can be taken by DLPack."""
    return hasattr(value, "__dlpack__") and value.__dlpack_device__()[0] == _CUDA
