"""ONNX Runtime where the engine runs. Standard library, NumPy and onnxruntime only, Python 3.8+.

Arrays of element types that NumPy lacks come and go as unsigned integers of the same bits, one per
element: uint16 for bfloat16, uint8 for 8 bits and below (a 4-bit value in the low bits).
"""

from __future__ import annotations

import ctypes
import os
import platform
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import numpy as np

# Newer builds keep a telemetry store in the user's home unless told not to before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

NAME = "onnxruntime"
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

# What NumPy lacks: ONNX Runtime's word for it, ONNX's number of it (TensorProto.DataType), bits.
FOREIGN_TYPES: Dict[str, Tuple[int, int]] = {
    "tensor(bfloat16)": (16, 16),
    "tensor(float8e4m3fn)": (17, 8),
    "tensor(float8e4m3fnuz)": (18, 8),
    "tensor(float8e5m2)": (19, 8),
    "tensor(float8e5m2fnuz)": (20, 8),
    "tensor(uint4)": (21, 4),
    "tensor(int4)": (22, 4),
    "tensor(float4e2m1)": (23, 4),
    "tensor(float8e8m0)": (24, 8),
    "tensor(uint2)": (25, 2),
    "tensor(int2)": (26, 2),
}


def _affinity() -> int:
    """How many CPUs this process may use, where the host side didn't say."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def session_options(
    threads: int, optimise: bool, spinning: bool, provider: str
) -> ort.SessionOptions:
    """Return ONNX Runtime's session options for ours; nothing is left to its defaults."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Only fatal lines: every error is raised as well, and said once is enough.
    options.log_severity_level = 4
    options.graph_optimization_level = (
        ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        if optimise
        else ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    if provider == "CUDAExecutionProvider":
        # Asked for CUDA: an operator that only the CPU has is an error, not a silent detour.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def describe(device: Optional[str]) -> Dict[str, str]:
    """Return what an engine would be tied to here.

    Raises RuntimeError where this build hasn't got the device: it would use the CPU in silence.
    """
    provider = PROVIDERS.get(device or "cpu")
    if provider is None:
        raise RuntimeError(
            "ONNX Runtime has no device %r here, only %s" % (device, ", ".join(PROVIDERS))
        )
    if provider not in ort.get_available_providers():
        raise RuntimeError("this build of ONNX Runtime has no %s" % provider)
    return {
        "runtime": NAME,
        "version": ort.__version__,
        "provider": provider,
        "machine": platform.machine(),
        "system": platform.system(),
    }


def build(
    files: Dict[str, bytes], spec: Dict[str, Any], say: Callable[[str], None]
) -> Dict[str, Any]:
    """Open the model once, so that a refusal comes now; the engine is the model itself."""
    runner = Runner(files, spec)
    provider = runner.session.get_providers()[0]
    runner.close()
    return {"files": files, "log": [], "proof": {"provider": provider}}


class Runner:
    """One ONNX Runtime session over in-memory files.

    `spec`: "device" (None is the CPU), "threads" (None takes what the process may use),
    "optimise", "spinning".
    """

    def __init__(self, files: Mapping[str, bytes], spec: Mapping[str, Any]) -> None:
        provider = PROVIDERS[spec.get("device") or "cpu"]
        options = session_options(
            spec.get("threads") or _affinity(),
            spec.get("optimise", True),
            spec.get("spinning", True),
            provider,
        )
        providers: List[Any] = [provider]
        if provider == "CUDAExecutionProvider":
            # FP32 means FP32 here.
            providers = [(provider, {"use_tf32": "0"})]
        self.session = _open(files, options, providers)
        # Otherwise a provider that fails while running is replaced by another in silence.
        self.session.disable_fallback()
        got = self.session.get_providers()
        if got[0] != provider:
            raise RuntimeError(
                "asked for %s, but the session runs on %s" % (provider, ", ".join(got))
            )
        self.outputs = [output.name for output in self.session.get_outputs()]
        self._foreign_inputs = _foreign(self.session.get_inputs())
        self._foreign_outputs = _foreign(self.session.get_outputs())

    def run(self, feed: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Run once. The results own their memory: ONNX Runtime allocates them for each call."""
        if self._foreign_inputs:
            feed = {
                name: _ort_value(array, *self._foreign_inputs[name])
                if name in self._foreign_inputs
                else array
                for name, array in feed.items()
            }
        if self._foreign_outputs:
            return self._run_bound(feed)
        return dict(zip(self.outputs, self.session.run(self.outputs, feed)))

    def _run_bound(self, feed: Dict[str, Any]) -> Dict[str, np.ndarray]:
        """Run with outputs that `session.run` can't turn into NumPy arrays: copy their bytes."""
        binding = self.session.io_binding()
        for name, value in feed.items():
            if isinstance(value, ort.OrtValue):
                binding.bind_ortvalue_input(name, value)
            else:
                binding.bind_cpu_input(name, value)
        for name in self.outputs:
            binding.bind_output(name, "cpu")
        self.session.run_with_iobinding(binding)
        answers = {}
        for name, value in zip(self.outputs, binding.get_outputs()):
            if name in self._foreign_outputs:
                answers[name] = _raw_array(value, self._foreign_outputs[name][1])
            else:
                # A copy: a bound result may share an input's memory.
                answers[name] = np.array(value.numpy())
        return answers

    def close(self) -> None:
        """Release the session."""
        self.__dict__.pop("session", None)


def _open(
    files: Mapping[str, bytes], options: ort.SessionOptions, providers: List[Any]
) -> ort.InferenceSession:
    """Open the first file; the others are its external data, found by name beside it."""
    names = list(files)
    if len(names) == 1:
        return ort.InferenceSession(files[names[0]], options, providers=providers)
    with tempfile.TemporaryDirectory(prefix="roadworthy-") as folder:
        for name in names:
            Path(folder, name).write_bytes(files[name])
        # ONNX Runtime has copied or pre-packed the weights once the session stands.
        return ort.InferenceSession(str(Path(folder, names[0])), options, providers=providers)


def _foreign(arguments: List[Any]) -> Dict[str, Tuple[int, int]]:
    """Return number and bits of those inputs or outputs whose element type NumPy lacks."""
    return {
        argument.name: FOREIGN_TYPES[argument.type]
        for argument in arguments
        if argument.type in FOREIGN_TYPES
    }


def _ort_value(array: np.ndarray, number: int, bits: int) -> ort.OrtValue:
    """Copy raw values into an ONNX Runtime tensor of this element type."""
    value = ort.OrtValue.ortvalue_from_shape_and_type(list(array.shape), number, "cpu", 0)
    content = np.ascontiguousarray(_pack(array, bits) if bits < 8 else array)
    _check_size(value, content.nbytes)
    ctypes.memmove(value.data_ptr(), content.ctypes.data, content.nbytes)
    return value


def _raw_array(value: ort.OrtValue, bits: int) -> np.ndarray:
    """Copy a tensor's raw values out of ONNX Runtime."""
    shape = tuple(value.shape())
    count = int(np.prod(shape, dtype=np.int64))
    content = np.empty(-(-count * bits // 8), np.uint8)
    _check_size(value, content.nbytes)
    ctypes.memmove(content.ctypes.data, value.data_ptr(), content.nbytes)
    if bits < 8:
        return _unpack(content, bits)[:count].reshape(shape)
    return content.view(np.uint16 if bits == 16 else np.uint8).reshape(shape)


def _check_size(value: ort.OrtValue, size: int) -> None:
    """Copying another number of bytes would read or write what isn't ours."""
    if value.tensor_size_in_bytes() != size:
        raise RuntimeError(
            "a %s of shape %s takes %d bytes in ONNX Runtime, not %d"
            % (value.data_type(), value.shape(), value.tensor_size_in_bytes(), size)
        )


def _pack(array: np.ndarray, bits: int) -> np.ndarray:
    """Put values of 2 or 4 bits together, the first in a byte's lowest bits (ONNX's order)."""
    each = 8 // bits
    padded = np.zeros(-(-array.size // each) * each, np.uint8)
    padded[: array.size] = array.reshape(-1) & (2**bits - 1)
    shifts = np.arange(each, dtype=np.uint8) * np.uint8(bits)
    packed: np.ndarray = np.bitwise_or.reduce(padded.reshape(-1, each) << shifts, axis=1)
    return packed


def _unpack(content: np.ndarray, bits: int) -> np.ndarray:
    """Take bytes apart into values of 2 or 4 bits; inverse of `_pack`, padding included."""
    shifts = np.arange(8 // bits, dtype=np.uint8) * np.uint8(bits)
    values: np.ndarray = (content[:, np.newaxis] >> shifts) & np.uint8(2**bits - 1)
    return values.reshape(-1)
