"""CUDA's runtime library, libcudart, through ctypes: found, loaded, every call checked."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

_P, _I, _U, _Z = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint, ctypes.c_size_t
_PP, _PI = ctypes.POINTER(_P), ctypes.POINTER(_I)
_CALLS: Dict[str, Sequence[Any]] = {
    "cudaGetDeviceCount": (_PI,),
    "cudaGetDevice": (_PI,),
    "cudaSetDevice": (_I,),
    "cudaDriverGetVersion": (_PI,),
    "cudaRuntimeGetVersion": (_PI,),
    "cudaDeviceGetAttribute": (_PI, _I, _I),
    "cudaMemGetInfo": (ctypes.POINTER(_Z), ctypes.POINTER(_Z)),
    "cudaMalloc": (_PP, _Z),
    "cudaFree": (_P,),
    "cudaMallocAsync": (_PP, _Z, _P),
    "cudaFreeAsync": (_P, _P),
    "cudaHostAlloc": (_PP, _Z, _U),
    "cudaFreeHost": (_P,),
    "cudaMemcpyAsync": (_P, _P, _Z, _I, _P),
    "cudaStreamCreateWithFlags": (_PP, _U),
    "cudaStreamDestroy": (_P,),
    "cudaStreamSynchronize": (_P,),
    "cudaStreamWaitEvent": (_P, _P, _U),
    "cudaStreamBeginCapture": (_P, _I),
    "cudaStreamEndCapture": (_P, _PP),
    # Not cudaGraphInstantiate: its arguments changed between CUDA 11 and 12.
    "cudaGraphInstantiateWithFlags": (_PP, _P, ctypes.c_ulonglong),
    "cudaGraphLaunch": (_P, _P),
    "cudaGraphDestroy": (_P,),
    "cudaGraphExecDestroy": (_P,),
    "cudaEventCreateWithFlags": (_PP, _U),
    "cudaEventRecord": (_P, _P),
    "cudaEventSynchronize": (_P,),
    "cudaEventElapsedTime": (ctypes.POINTER(ctypes.c_float), _P, _P),
    "cudaEventDestroy": (_P,),
}
HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE = 1, 2, 3
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
NON_BLOCKING, THREAD_LOCAL, NO_TIMING = 1, 1, 2
# The handle of the stream that work without one is queued on (driver_types.h, cudaStreamLegacy).
LEGACY_STREAM = 1


class CudaError(RuntimeError):
    """A CUDA call failed; `code` is CUDA's number."""

    def __init__(self, call: str, code: int, meaning: str) -> None:
        super().__init__("CUDA: %s failed with error %d: %s" % (call, code, meaning))
        self.code = code


class Cuda:
    """libcudart, every call checked: `cuda.cudaSetDevice(0)` returns nothing or raises."""

    def __init__(self, library: Any, path: str) -> None:
        self.path = path
        self._library = library
        library.cudaGetErrorString.restype = ctypes.c_char_p
        for name, types in _CALLS.items():
            setattr(self, name, self._checked(name, types))

    def _checked(self, name: str, types: Sequence[Any]) -> Callable[..., None]:
        # CUDA 12.8 and later call it so in their headers; the old name may go.
        later = getattr(self._library, name + "_v2", None) if "Elapsed" in name else None
        function = later or getattr(self._library, name)
        function.argtypes, function.restype = list(types), _I

        def call(*arguments: Any) -> None:
            code = function(*arguments)
            if code:
                raise self.error(name, code)

        return call

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def error(self, call: str, code: int) -> CudaError:
        """Return the exception for an error code; the pending error is cleared."""
        self._library.cudaGetLastError()
        meaning = self._library.cudaGetErrorString(code) or b"unknown error"
        return CudaError(call, code, meaning.decode("utf-8", "replace"))

    def number(self, call: str, *arguments: int) -> int:
        """Return what a call writes as an int."""
        value = _I()
        getattr(self, call)(ctypes.byref(value), *arguments)
        return value.value

    def handle(self, call: str, *arguments: Any) -> int:
        """Return what a call writes as a pointer."""
        value = _P()
        getattr(self, call)(ctypes.byref(value), *arguments)
        return value.value or 0

    def device_memory(self, size: int) -> int:
        """Allocate device memory; at least one byte, because TensorRT refuses null addresses."""
        return self.handle("cudaMalloc", max(1, size))

    def end_capture(self, stream: int) -> int:
        """Return the graph captured from a stream."""
        value = _P()
        self.cudaStreamEndCapture(stream, ctypes.byref(value))
        return value.value or 0

    def elapsed_ns(self, start: int, end: int) -> int:
        """Return the time between two recorded events."""
        value = ctypes.c_float()
        self.cudaEventElapsedTime(ctypes.byref(value), start, end)
        return round(value.value * 1e6)

    def capability(self, device: int) -> str:
        """Return the compute capability as "9.0"."""
        return "%d.%d" % (
            self.number("cudaDeviceGetAttribute", _CAPABILITY_MAJOR, device),
            self.number("cudaDeviceGetAttribute", _CAPABILITY_MINOR, device),
        )


def cudart_candidates(folders: Optional[Sequence[str]] = None) -> List[str]:
    """Return where libcudart may be: by soname first, then pip packages and usual folders."""
    found = [os.environ["ROADWORTHY_LIBCUDART"]] if "ROADWORTHY_LIBCUDART" in os.environ else []
    if folders is None:
        found += ["libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0"]
        folders = [entry for entry in sys.path if entry and Path(entry).is_dir()]
        folders += ["/usr/local", "/usr/lib", "/opt"]
    for folder in folders:
        for pattern in (
            "nvidia/cu[0-9]*/lib/libcudart.so.*",
            "nvidia/cuda_runtime/lib/libcudart.so.*",
            "torch/lib/libcudart*.so.*",
            "cuda*/lib64/libcudart.so.*",
            "cuda*/targets/*/lib/libcudart.so.*",
            "*-linux-gnu/libcudart.so.*",
            "nvidia/*/lib*/libcudart.so.*",
        ):
            found += sorted(map(str, Path(folder).glob(pattern)), reverse=True)
    return list(OrderedDict.fromkeys(found))


def load_cuda(candidates: Optional[Sequence[str]] = None) -> Cuda:
    """Return the first CUDA runtime that sees a device.

    Several may be installed, and one newer than the driver refuses every call.

    Raises:
        RuntimeError: no libcudart, no driver, or no device, said in one sentence.
    """
    problem = ""
    for path in cudart_candidates() if candidates is None else candidates:
        try:
            cuda = Cuda(ctypes.CDLL(path), path)
        except (OSError, AttributeError):
            continue
        try:
            if cuda.number("cudaGetDeviceCount") > 0:
                return cuda
            problem = "the driver sees no GPU"
        except CudaError as error:
            problem = "%s (%s)" % (error, path)
    if problem:
        raise RuntimeError(
            "there is no usable NVIDIA GPU here: %s; check the driver with nvidia-smi" % problem
        )
    raise RuntimeError(
        "CUDA's runtime library libcudart.so was not found here; install it with "
        "pip install nvidia-cuda-runtime, or name it in ROADWORTHY_LIBCUDART"
    )


_cuda_lock = threading.Lock()
_cuda_here: List[Cuda] = []


def cuda_here() -> Cuda:
    """Return this process's CUDA runtime, found once."""
    with _cuda_lock:
        if not _cuda_here:
            _cuda_here.append(load_cuda())
        return _cuda_here[0]
