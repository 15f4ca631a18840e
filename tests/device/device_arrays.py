"""Run by the interpreter that has TensorRT: arrays that stay on the GPU, in and out.

    python device_arrays.py RUNTIME ENGINE.plan     (input "image" 2x1x64x64, output "y")

Prints "right" when `run_device` answers as `run` does, with results of ours and of the caller's.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from pathlib import Path

import numpy as np

# RUNTIME is the folder `roadworthy/backends/tensorrt/runtime`; here is no roadworthy. Last, because
# the files beside it are no modules of this interpreter's.
sys.path.append(str(Path(sys.argv[1]).parent))
runtime = importlib.import_module(Path(sys.argv[1]).name)

runner = runtime.Runner({"engine.plan": Path(sys.argv[2]).read_bytes()}, {})
assert not runner.device_refusal, runner.device_refusal
cuda = runtime.cuda_here()
image = np.random.default_rng(0).standard_normal((2, 1, 64, 64)).astype(np.float32)
expected = runner.run({"image": image})["y"]


def sent(array: np.ndarray, stream: int | None = None):
    held = runtime.DeviceArray(cuda, array.shape, array.dtype, stream)
    address = ctypes.c_void_p(array.ctypes.data)
    cuda.cudaMemcpyAsync(held.address, address, array.nbytes, 1, runner._stream)
    cuda.cudaStreamSynchronize(runner._stream)
    return held


def fetched(held) -> np.ndarray:
    array = np.empty(held.shape, held.dtype)
    cuda.cudaMemcpyAsync(array.ctypes.data, held.address, array.nbytes, 2, runner._stream)
    cuda.cudaStreamSynchronize(runner._stream)
    return array


x = sent(image)
for _ in range(3):
    np.testing.assert_array_equal(fetched(runner.run_device({"image": x})["y"]), expected)
y = sent(np.zeros_like(expected))
for turn in range(4):
    other = sent(np.full_like(image, turn))
    runner.run_device({"image": other})
    assert runner.run_device({"image": x}, {"y": y})["y"] is y
    np.testing.assert_array_equal(fetched(y), expected)
assert any("compute" in binding.graphs for binding in runner._bindings.values()), runner.notes
stream = cuda.handle("cudaStreamCreateWithFlags", 1)
for _ in range(3):
    queued = runner.run_device({"image": x}, stream=stream)["y"]
    cuda.cudaStreamSynchronize(stream)
    np.testing.assert_array_equal(fetched(queued), expected)
del queued
np.testing.assert_array_equal(runner.run({"image": image})["y"], expected)
assert not runner.notes, runner.notes
runner.close()
runner.close()
print("right")
