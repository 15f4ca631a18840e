"""The GPU: by which number, and what an engine built for it is tied to."""

from __future__ import annotations

import ctypes
import platform
import re
from typing import Dict, Optional

from .cuda import Cuda, cuda_here
from .library import NAME, import_tensorrt


def device_index(device: Optional[str]) -> int:
    """Return the GPU's number: None, "gpu" and "cuda" are 0; "1", "cuda:1" and "gpu:1" are 1."""
    match = re.match(r"^(?:(?:cuda|gpu)(?::(\d+))?|(\d+))?$", device or "")
    if match is None:
        raise RuntimeError("TensorRT runs on a GPU by number, such as cuda:0, not on %r" % device)
    return int(match.group(1) or match.group(2) or 0)


def describe(device: Optional[str]) -> Dict[str, str]:
    """Return what an engine built here now would be tied to.

    Raises:
        ImportError: TensorRT isn't installed.
        RuntimeError: no CUDA runtime, driver or such GPU. (TensorRT itself would crash there.)
    """
    trt = import_tensorrt()
    cuda = cuda_here()
    index = device_index(device)
    select_device(cuda, index)
    return {
        "runtime": NAME,
        "version": trt.__version__,
        "device_name": _device_name(index),
        "compute_capability": cuda.capability(index),
        "driver": _driver(cuda),
        "cuda": _dotted(cuda.number("cudaRuntimeGetVersion")),
        "system": platform.system(),
        "machine": platform.machine(),
    }


def check_device(cuda: Cuda, index: int) -> None:
    """Raise RuntimeError where there is no such GPU."""
    count = cuda.number("cudaGetDeviceCount")
    if index >= count:
        raise RuntimeError("there is no GPU %d here, only %d of them, from 0" % (index, count))


def select_device(cuda: Cuda, index: int) -> None:
    """Make this thread work on a GPU, or say that there is no such one."""
    check_device(cuda, index)
    cuda.cudaSetDevice(index)


def _dotted(version: int) -> str:
    return "%d.%d" % (version // 1000, version % 1000 // 10)


def _device_name(index: int) -> str:
    """Ask the driver: its call, unlike the runtime's, has no struct that changes with versions."""
    driver = ctypes.CDLL("libcuda.so.1")
    name, device = ctypes.create_string_buffer(256), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), index):
        return "unknown"
    driver.cuDeviceGetName(name, len(name), device)
    return name.value.decode("utf-8", "replace")


def _driver(cuda: Cuda) -> str:
    """Return the driver's version as nvidia-smi shows it, or the CUDA version that it speaks."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        text = ctypes.create_string_buffer(96)
        if nvml.nvmlInit_v2() == 0 and nvml.nvmlSystemGetDriverVersion(text, len(text)) == 0:
            return text.value.decode("ascii", "replace")
    except (OSError, AttributeError):
        pass
    return "CUDA %s" % _dotted(cuda.number("cudaDriverGetVersion"))
