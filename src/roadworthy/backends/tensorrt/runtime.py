"""TensorRT where the GPU is. Standard library, NumPy, tensorrt; CUDA through libcudart by ctypes.

One code base for TensorRT 8.6, 10 and 11: what a version decides (precision, batch mode) branches
on the version, what is only there or not branches on `hasattr`. TensorRT is imported inside
functions: asking a host without it is an answer (ImportError), not a crash.

Sections: CUDA · log and progress · describe · build · proof · tensors · bindings · Runner.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import platform
import re
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

NAME = "tensorrt"
PLAN = "engine.plan"
LAYERS = "layers.json"
TIMING_CACHE = "timing.cache"

# Bindings (shapes and addresses with their own context and CUDA graph) kept by one runner.
MOST_BINDINGS = 4


def _tensorrt() -> Any:
    """Return the tensorrt module, or raise ImportError."""
    return importlib.import_module("tensorrt")


def _version(trt: Any) -> Tuple[int, int]:
    major, minor = trt.__version__.split(".")[:2]
    return int(major), int(minor)


# ---- CUDA ---------------------------------------------------------------------------------------

_P, _I, _U, _Z = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint, ctypes.c_size_t
_PP, _PI = ctypes.POINTER(_P), ctypes.POINTER(_I)
_CALLS: Dict[str, Sequence[Any]] = {
    "cudaGetDeviceCount": (_PI,),
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
_HOST_TO_DEVICE, _DEVICE_TO_HOST = 1, 2
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_NON_BLOCKING, _THREAD_LOCAL, _NO_TIMING = 1, 1, 2


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


# ---- log and progress ---------------------------------------------------------------------------


class Lines:
    """What TensorRT said: (severity letter, text). Bounded; errors are kept apart."""

    def __init__(self, most: int = 4000) -> None:
        self.all: List[str] = []
        self.errors: List[str] = []
        self.warnings: List[str] = []
        self._most = most

    def add(self, letter: str, text: str) -> None:
        """Take one line."""
        kept = {"E": self.errors, "F": self.errors, "W": self.warnings}.get(letter)
        if kept is not None and text not in kept and len(kept) < 100:
            kept.append(text)
        if len(self.all) < self._most:
            self.all.append("[%s] %s" % (letter, text))

    def reason(self, fallback: str) -> str:
        """Return the errors as one text, without TensorRT's file positions; they are done then."""
        lines = list(self.errors or self.warnings[-3:])
        self.errors.clear()
        # TensorRT wraps its own messages: "6: [x.cpp::f::12] Error Code 6: … (text)".
        told = [re.sub(r"^(\d+: )?\[[\w./:<>~]+\] ?", "", line) for line in lines]
        return "; ".join(OrderedDict.fromkeys(told[:6])) or fallback


def make_log(trt: Any, lines: Lines) -> Any:
    """Return an ILogger that collects; TensorRT calls it from several threads."""

    class Log(trt.ILogger):  # type: ignore[misc]  # of Any: its module is imported late
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            letter = str(severity).rsplit(".", 1)[-1][0]
            if letter != "V":
                lines.add("F" if "INTERNAL" in str(severity) else letter, msg)

    return Log()


class Heartbeat:
    """Says the phase and the elapsed time every few seconds while a long call works."""

    def __init__(self, say: Callable[[str], None], every: float = 2.0) -> None:
        self.phase = "starting"
        self._say, self._every = say, every
        self._start = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def _beat(self) -> None:
        while not self._stop.wait(self._every):
            self.tell()

    def tell(self) -> None:
        """Say where it stands, now."""
        self._say("%s, %.0f s" % (self.phase, time.monotonic() - self._start))

    def enter(self, phase: str) -> None:
        """Say that another phase has begun."""
        self.phase = phase
        self.tell()

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()


def attach_monitor(trt: Any, config: Any, beat: Heartbeat) -> Any:
    """Let TensorRT 10 and later tell the heartbeat its phases; returns what must stay alive."""
    if hasattr(trt, "IProgressMonitor"):

        class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # of Any: imported late
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)
                self._steps: Dict[str, int] = {}

            def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
                self._steps[phase_name] = num_steps
                beat.phase = phase_name

            def phase_finish(self, phase_name: str) -> None:
                self._steps.pop(phase_name, None)

            def step_complete(self, phase_name: str, step: int) -> bool:
                beat.phase = "%s %d/%d" % (phase_name, step + 1, self._steps.get(phase_name, 0))
                return True

        monitor = Monitor()
        config.progress_monitor = monitor
        return monitor
    return None


# ---- describe -----------------------------------------------------------------------------------


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
    trt = _tensorrt()
    cuda = cuda_here()
    index = device_index(device)
    _select(cuda, index)
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


def _select(cuda: Cuda, index: int) -> None:
    count = cuda.number("cudaGetDeviceCount")
    if index >= count:
        raise RuntimeError("there is no GPU %d here, only %d of them, from 0" % (index, count))
    cuda.cudaSetDevice(index)


def _dotted(version: int) -> str:
    return "%d.%d" % (version // 1000, version % 1000 // 10)


def _device_name(index: int) -> str:
    """Ask the driver: its call, unlike the runtime's, has no struct that changes with versions."""
    driver = ctypes.CDLL("libcuda.so.1")
    name, device = ctypes.create_string_buffer(256), _I()
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


# ---- build --------------------------------------------------------------------------------------


def build(
    files: Dict[str, bytes], spec: Dict[str, Any], say: Callable[[str], None]
) -> Dict[str, Any]:
    """Compile an ONNX model (the first file) to a plan; or, with spec["task"] "adopt", read one.

    spec: precision "fp32" | "tf32" | "fp16" | "bf16"; device; typing "weak" | "strong";
    graph_types [ONNX element types in the graph]; profiles [{input: [min, opt, max]}];
    values {shape input: [min, opt, max]}; nodes [[name, op type]] of the main graph; workspace
    (bytes or None); level; tactics [names]; aux_streams; verbosity; compatibility; timing_cache
    (bytes or None); weight_bytes.

    Returns:
        files {engine.plan, layers.json, timing.cache}, log, proof.
    """
    trt, cuda = _tensorrt(), cuda_here()
    _select(cuda, device_index(spec.get("device")))
    if spec.get("task") == "adopt":
        return _adopt(trt, next(iter(files.values())))
    _check_precision(trt, spec)
    with Heartbeat(say) as beat:
        lines, start = Lines(), time.monotonic()
        plan, timing = _try_build(trt, files, spec, lines, beat)
        if plan is None and spec.get("timing_cache"):
            # A cache of one build may be refused by the next ("Myelin error from unknown graph").
            first = lines.reason("no reason given")
            lines = Lines()
            lines.add("W", "built again without the timing cache, because: %s" % first)
            plan, timing = _try_build(trt, files, dict(spec, timing_cache=None), lines, beat)
        if plan is None:
            raise RuntimeError(
                "TensorRT %s could not build this model: %s"
                % (trt.__version__, lines.reason("it gave no reason"))
            )
        seconds = time.monotonic() - start
        beat.enter("inspecting")
        layers = _layers_of(trt, plan)
    proof = prove(layers, spec, len(plan))
    proof.update(seconds=round(seconds, 3), version=trt.__version__, plan_bytes=len(plan))
    built = {PLAN: plan, LAYERS: json.dumps(layers).encode("utf-8")}
    if timing:
        built[TIMING_CACHE] = timing
    return {"files": built, "log": lines.all, "proof": proof}


def _is_strong(trt: Any, spec: Dict[str, Any]) -> bool:
    """Tell whether the graph's own types decide: always from 11 on, on wish in 10."""
    major = _version(trt)[0]
    return major >= 11 or (major == 10 and spec.get("typing") == "strong")


def _check_precision(trt: Any, spec: Dict[str, Any]) -> None:
    precision, types = spec["precision"], spec.get("graph_types", ())
    if _is_strong(trt, spec):
        wanted = {"fp16": "float16", "bf16": "bfloat16"}.get(precision)
        if wanted and wanted not in types:
            raise RuntimeError(
                "TensorRT %s computes in the types that the graph states, and this graph has no "
                "%s tensor: %s can't be had from it; lower the graph to %s first, or use "
                "TensorRT 8.6 or 10" % (trt.__version__, wanted, precision, wanted)
            )
    elif precision == "bf16" and _version(trt) < (9, 0):
        raise RuntimeError(
            "TensorRT %s has no bf16; use 9 or later, or fp16, or tf32" % trt.__version__
        )


def _try_build(
    trt: Any, files: Dict[str, bytes], spec: Dict[str, Any], lines: Lines, beat: Heartbeat
) -> Tuple[Optional[bytes], Optional[bytes]]:
    """Return plan and timing cache, or (None, None) with the reason in `lines`."""
    log = make_log(trt, lines)
    trt.init_libnvinfer_plugins(log, "")
    builder = trt.Builder(log)
    network = builder.create_network(_network_flags(trt, spec))
    config = builder.create_builder_config()
    beat.enter("parsing")
    parser = trt.OnnxParser(network, log)
    _parse(parser, files, spec, lines)
    if not network.num_outputs:
        raise RuntimeError("the network has no outputs after parsing")
    _configure(trt, config, spec)
    _set_precision(trt, config, spec)
    _add_profiles(builder, network, config, spec)
    cache = _set_timing_cache(config, spec.get("timing_cache"), lines)
    monitor = attach_monitor(trt, config, beat)
    beat.enter("building")
    memory = builder.build_serialized_network(network, config)
    del monitor
    if memory is None:
        return None, None
    timing = bytes(cache.serialize()) if cache is not None else None
    return bytes(memory), timing


def _network_flags(trt: Any, spec: Dict[str, Any]) -> int:
    flag = trt.NetworkDefinitionCreationFlag
    major = _version(trt)[0]
    if major < 10:
        return 1 << int(flag.EXPLICIT_BATCH)
    if major == 10 and _is_strong(trt, spec):
        return 1 << int(flag.STRONGLY_TYPED)
    return 0


def _parse(parser: Any, files: Dict[str, bytes], spec: Dict[str, Any], lines: Lines) -> None:
    """Parse, or raise RuntimeError naming every node that TensorRT refused."""
    names = list(files)
    if len(names) == 1:
        parsed = parser.parse(files[names[0]])
    else:
        with tempfile.TemporaryDirectory(prefix="roadworthy-") as folder:
            for name, content in files.items():
                Path(folder, name).write_bytes(content)
            parsed = parser.parse_from_file(str(Path(folder, names[0])))
    if parsed and not parser.num_errors:
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    told = list(OrderedDict.fromkeys(parser_error(error, spec) for error in errors))
    raise RuntimeError(
        "TensorRT can't take this model: %s"
        % ("; ".join(told) or lines.reason("its parser gave no reason"))
    )


def parser_error(error: Any, spec: Dict[str, Any]) -> str:
    """Return a parser's error as "node NAME (Op): text"; 8.6 knows only the node's index."""
    text = re.sub(r"\s+", " ", str(error.desc())).strip()
    text = re.sub(r"^Assertion failed: ", "", text) or "no reason given"
    nodes, index = spec.get("nodes") or [], int(error.node())
    name, kind = "", ""
    if hasattr(error, "node_name"):
        name, kind = str(error.node_name()), str(error.node_operator())
    if not name and 0 <= index < len(nodes):
        name, kind = nodes[index]
    if name:
        return "node %r (%s): %s" % (name, kind, text)
    return "node %d: %s" % (index, text) if index >= 0 else text


def _configure(trt: Any, config: Any, spec: Dict[str, Any]) -> None:
    """Set everything that isn't precision or shape."""
    if spec.get("workspace"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(spec["workspace"]))
    if spec.get("level") is not None and hasattr(config, "builder_optimization_level"):
        config.builder_optimization_level = int(spec["level"])
    if spec.get("aux_streams") is not None and hasattr(config, "max_aux_streams"):
        config.max_aux_streams = int(spec["aux_streams"])
    verbosity = trt.ProfilingVerbosity
    config.profiling_verbosity = {
        "detailed": verbosity.DETAILED,
        "layer_names": verbosity.LAYER_NAMES_ONLY,
        "none": verbosity.NONE,
    }[spec.get("verbosity", "detailed")]
    sources = 0
    for name in spec.get("tactics", ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")):
        sources |= 1 << int(_named(trt, "TacticSource", name))
    config.set_tactic_sources(sources)
    compatibility = spec.get("compatibility", "none").upper()
    if compatibility != "NONE":
        level = _named(trt, "HardwareCompatibilityLevel", compatibility)
        config.hardware_compatibility_level = level
    if hasattr(trt, "PreviewFeature") and _version(trt)[0] < 10:
        # Several contexts of one session share a profile; the default from 10 on.
        _enable_preview(trt, config, "PROFILE_SHARING_0806")


def _enable_preview(trt: Any, config: Any, name: str) -> None:
    if hasattr(trt.PreviewFeature, name):
        config.set_preview_feature(getattr(trt.PreviewFeature, name), True)


def _named(trt: Any, enum: str, name: str) -> Any:
    """Return a member of an enum, or say that this version has none of that name."""
    members = getattr(trt, enum, None)
    if not hasattr(members, name):
        raise RuntimeError("TensorRT %s has no %s.%s" % (trt.__version__, enum, name))
    return getattr(members, name)


def _set_precision(trt: Any, config: Any, spec: Dict[str, Any]) -> None:
    """Set the flags of this version's dialect; TF32, TensorRT's default, only where asked for.

    TF32 has as many mantissa bits as FP16 and more than BF16, so it is fit for what those leave.
    """
    flag, types, precision = trt.BuilderFlag, spec.get("graph_types", ()), spec["precision"]
    if precision == "fp32":
        config.clear_flag(flag.TF32)
    else:
        config.set_flag(flag.TF32)
    if _version(trt)[0] < 11 and not _is_strong(trt, spec):
        if precision == "fp16" or "float16" in types:
            config.set_flag(flag.FP16)
        if precision == "bf16" or ("bfloat16" in types and _version(trt)[0] >= 9):
            config.set_flag(_named(trt, "BuilderFlag", "BF16"))
        if "int8" in types and spec.get("quantized"):
            config.set_flag(flag.INT8)


def _add_profiles(builder: Any, network: Any, config: Any, spec: Dict[str, Any]) -> None:
    """Add the optimisation profiles; every dynamic input must have its range in each."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    values = spec.get("values") or {}
    missing = [item.name for item in inputs if item.is_shape_tensor and item.name not in values]
    if missing:
        raise RuntimeError(
            "the values of input %s decide shapes inside the network, and their range isn't "
            "known; state it with --option 'values=%s:MIN;OPT;MAX'"
            % (", ".join(missing), missing[0])
        )
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    # Sizes that depend on the data make a network dynamic, whatever its inputs: 8.6 can't run an
    # engine of it that has no profile.
    data_dependent = any(min(_dims(item.shape) or [-1], default=0) < 0 for item in outputs)
    profiles = spec.get("profiles") or ([{}] if values or data_dependent else [])
    dynamic = [item.name for item in inputs if any(size < 0 for size in tuple(item.shape))]
    if dynamic and not profiles:
        raise RuntimeError("input %s is dynamic, and no range was given" % ", ".join(dynamic))
    for ranges in profiles:
        profile = builder.create_optimization_profile()
        for item in inputs:
            if item.is_shape_tensor:
                profile.set_shape_input(item.name, *[list(value) for value in values[item.name]])
            elif item.name in ranges:
                profile.set_shape(item.name, *[tuple(shape) for shape in ranges[item.name]])
            elif item.name in dynamic:
                raise RuntimeError("input %s has no range in a profile" % item.name)
            else:
                profile.set_shape(item.name, *[tuple(item.shape)] * 3)
        if config.add_optimization_profile(profile) < 0:
            raise RuntimeError("TensorRT refused the optimisation profile %s" % ranges)


def _set_timing_cache(config: Any, content: Optional[bytes], lines: Lines) -> Any:
    """Use a timing cache; one that another device or version wrote is left aside."""
    if content:
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
        lines.add("W", "the timing cache doesn't fit this device or version; starting a new one")
    cache = config.create_timing_cache(b"")
    if cache is None or not config.set_timing_cache(cache, False):
        return None
    return cache


def _adopt(trt: Any, plan: bytes) -> Dict[str, Any]:
    """Describe a plan that somebody else built: inputs, outputs, profiles, layers."""
    lines = Lines()
    log = make_log(trt, lines)
    runtime, engine = _deserialise(trt, plan, log, lines)
    layers = _inspect(trt, engine)
    proof = _census(layers)
    profiles = range(engine.num_optimization_profiles)
    tensors = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        tensors.append(
            {
                "name": name,
                "input": is_input,
                "dtype": engine.get_tensor_dtype(name).name,
                "shape": _dims(engine.get_tensor_shape(name)) or [],
                "ranges": [_range(trt, engine, name, profile) for profile in profiles]
                if is_input
                else [],
            }
        )
    proof.update(asked="as built", tensors=tensors, version=trt.__version__, plan_bytes=len(plan))
    del engine, runtime
    content = json.dumps(layers).encode("utf-8")
    return {"files": {PLAN: plan, LAYERS: content}, "log": lines.all, "proof": proof}


def _range(trt: Any, engine: Any, name: str, profile: int) -> List[List[int]]:
    """Return min, opt and max shape of an input in a profile; empty for inputs by value."""
    if engine.get_tensor_location(name) == trt.TensorLocation.HOST:
        return []
    fixed = _dims(engine.get_tensor_shape(name))
    if fixed is not None and min(fixed, default=0) >= 0:
        # In a plan without a profile the profile's shapes are unknown.
        return [fixed, fixed, fixed]
    shapes = [_dims(shape) for shape in engine.get_tensor_profile_shape(name, profile)]
    return [shape for shape in shapes if shape is not None]


def _dims(dims: Any) -> Optional[List[int]]:
    """Return sizes, or None where TensorRT doesn't know even their number (it says -1 of them)."""
    try:
        return [int(size) for size in tuple(dims)]
    except ValueError:
        return None


# ---- proof: what really runs --------------------------------------------------------------------


def _deserialise(trt: Any, plan: bytes, log: Any, lines: Lines) -> Tuple[Any, Any]:
    """Return (runtime, engine); TensorRT answers None and says why only in its log."""
    trt.init_libnvinfer_plugins(log, "")
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        known = "" if plan[:4] in (b"ftrt", b"ptrt") else " (it doesn't start like a plan)"
        raise RuntimeError(
            "TensorRT %s can't load this plan%s: %s"
            % (trt.__version__, known, lines.reason("it gave no reason"))
        )
    return runtime, engine


def _layers_of(trt: Any, plan: bytes) -> List[Dict[str, Any]]:
    lines = Lines()
    runtime, engine = _deserialise(trt, plan, make_log(trt, lines), lines)
    layers = _inspect(trt, engine)
    del engine, runtime
    return layers


def _inspect(trt: Any, engine: Any) -> List[Dict[str, Any]]:
    """Return the inspector's layers; a plan built without details gives names only.

    With dynamic shapes, formats are only known for a context: the first profile at its optimum.
    """
    inspector = engine.create_engine_inspector()
    context = engine.create_execution_context()
    if context is not None and _set_optimum(trt, engine, context):
        inspector.execution_context = context
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    # Not strict: 8.6 writes raw control characters between the nodes of a fused layer.
    layers = json.loads(text, strict=False).get("Layers", [])
    return [layer if isinstance(layer, dict) else {"Name": str(layer)} for layer in layers]


def _set_optimum(trt: Any, engine: Any, context: Any) -> bool:
    """Set the first profile's optimal shapes; False where inputs are read by value."""
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        if engine.get_tensor_mode(name) != trt.TensorIOMode.INPUT:
            continue
        known = _range(trt, engine, name, 0)
        if len(known) != 3 or not context.set_input_shape(name, tuple(known[1])):
            return False
    return True


# In the order in which a layer that shows several is named: the smallest decides what it computes.
_FORMATS = (
    ("fp8", re.compile(r"\bFP8\b", re.I)),
    ("int8", re.compile(r"\bINT8\b", re.I)),
    ("fp16", re.compile(r"\b(FP16|Half)\b", re.I)),
    ("bf16", re.compile(r"\b(BF16|BFloat16)\b", re.I)),
    ("fp32", re.compile(r"\b(FP32|Float)\b", re.I)),
)
_KERNELS = (
    ("int8", re.compile(r"i8i8|int8|imma", re.I)),
    ("fp16", re.compile(r"f16f16|fp16|hmma|h884|h1688", re.I)),
    ("bf16", re.compile(r"bf16", re.I)),
    ("tf32", re.compile(r"tf32", re.I)),
    ("fp32", re.compile(r"f32f32|fp32|sgemm|ffma", re.I)),
)
_OPAQUE = re.compile(r"ForeignNode|^__myl|myelin", re.I)


def layer_precision(layer: Dict[str, Any]) -> str:
    """Return what a layer of the inspector computes in: by its tensors, TF32 by its kernel.

    With dynamic shapes 8.6 may tell no formats ("N/A due to dynamic shapes"); then the type of the
    weights tells, or else the kernel's name.
    """
    tensors = list(layer.get("Inputs", ())) + list(layer.get("Outputs", ()))
    formats = " ".join(str(t.get("Format/Datatype", "")) for t in tensors if isinstance(t, dict))
    tactic = str(layer.get("TacticName", ""))
    for name, pattern in _FORMATS:
        if pattern.search(formats):
            if name == "fp32" and "tf32" in tactic.lower():
                return "tf32"
            return name
    weights = layer.get("Weights")
    kind = str(weights.get("Type", "")) if isinstance(weights, dict) else ""
    return _by_pattern(_FORMATS, kind, tactic) or _by_pattern(_KERNELS, tactic, tactic) or "other"


def _by_pattern(patterns: Sequence[Any], text: str, tactic: str) -> str:
    for name, pattern in patterns:
        if pattern.search(text):
            return "tf32" if name == "fp32" and "tf32" in tactic.lower() else str(name)
    return ""


def _census(layers: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Count layers per precision; copies and reformats apart, they compute nothing."""
    counts: Dict[str, int] = {}
    opaque: Dict[str, int] = {}
    copies = 0
    for layer in layers:
        if layer.get("LayerType") in ("Reformat", "NoOp", "Constant"):
            copies += 1
            continue
        precision = layer_precision(layer)
        counts[precision] = counts.get(precision, 0) + 1
        if _OPAQUE.search(str(layer.get("LayerType", "")) + " " + str(layer.get("Name", ""))):
            opaque[precision] = opaque.get(precision, 0) + 1
    total = sum(counts.values()) or 1
    return {
        "layers": counts,
        "share": {name: round(count / total, 4) for name, count in counts.items()},
        "copies": copies,
        # Fused subgraphs whose inside the inspector doesn't show, by what they take and give.
        "opaque": opaque,
    }


def prove(layers: List[Dict[str, Any]], spec: Dict[str, Any], plan_bytes: int) -> Dict[str, Any]:
    """Return what runs in which precision, or raise when it isn't what was asked for."""
    asked = spec["precision"]
    proof = _census(layers)
    proof["asked"] = asked
    counts, in_graph = proof["layers"], spec.get("graph_types", ())
    if spec.get("verbosity", "detailed") != "detailed":
        raise RuntimeError("the precision of an engine can't be shown without detailed verbosity")
    if asked in ("fp16", "bf16") and not counts.get(asked):
        # Inside a fused subgraph only the size of its weights tells.
        weights = int(spec.get("weight_bytes") or 0)
        halved = proof["opaque"] and weights > 1 << 20 and plan_bytes < 0.75 * weights
        if not halved:
            raise RuntimeError(
                "%s was asked for, but no layer of the engine runs in it: %s; ask for fp32, or "
                "look at the build log" % (asked, _counted(counts))
            )
        proof["by_size"] = "weights take %.2f of their FP32 size" % (plan_bytes / weights)
    smaller = [n for n in ("fp8", "fp16", "bf16", "int8") if counts.get(n)]
    if asked in ("fp32", "tf32") and smaller and not _stated(in_graph, smaller):
        raise RuntimeError(
            "%s was asked for, but layers of the engine run in less: %s" % (asked, _counted(counts))
        )
    if asked == "fp32" and counts.get("tf32"):
        raise RuntimeError("fp32 was asked for, but kernels of the engine use TF32")
    return proof


def _stated(types: Sequence[str], smaller: Sequence[str]) -> bool:
    """Tell whether the graph itself states these types."""
    names = {"fp16": "float16", "bf16": "bfloat16", "int8": "int8", "fp8": "float8_e4m3fn"}
    return all(names[name] in types for name in smaller)


def _counted(counts: Dict[str, int]) -> str:
    return ", ".join("%d in %s" % (n, name) for name, n in sorted(counts.items())) or "none"


def onnx_names(layer: Dict[str, Any]) -> List[str]:
    """Return the ONNX nodes that a layer came from: by its metadata, else by its name."""
    marked = re.findall(r"\[ONNX Layer: ([^\]]*)\]", str(layer.get("Metadata", "")))
    if marked:
        return list(OrderedDict.fromkeys(marked))
    name = str(layer.get("Name", ""))
    inside = re.match(r"^\{ForeignNode\[(.*)\]\}$", name)
    if inside:
        return inside.group(1).split("...")
    parts = re.sub(r"^PWN\((.*)\)$", r"\1", name)
    names = [part.strip() for part in re.split(r" \+ |, | \|\| ", parts)]
    return [re.sub(r"^PWN\(|\)$", "", part) for part in names if part]


# ---- tensors ------------------------------------------------------------------------------------

# TensorRT's name of a type: NumPy's; raw bits where NumPy has no such type.
_NUMPY = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
    "BF16": "uint16",
    "FP8": "uint8",
}
_INT32 = np.iinfo(np.int32)


class Port:
    """One input or output of an engine: TensorRT's dtype, and the one the caller has."""

    def __init__(self, trt: Any, engine: Any, name: str, wanted: Optional[str]) -> None:
        kind = engine.get_tensor_dtype(name).name
        if kind not in _NUMPY:
            raise RuntimeError("tensor %r is %s, which NumPy can't hold" % (name, kind))
        self.name = name
        self.dtype = np.dtype(_NUMPY[kind])
        self.wanted = np.dtype(wanted) if wanted else self.dtype
        # TensorRT before 10 has no INT64: values travel as INT32 and are checked on both ways.
        self.narrow = self.wanted == np.int64 and self.dtype == np.int32
        if self.wanted != self.dtype and not self.narrow:
            raise RuntimeError(
                "tensor %r is %s in the engine, the model says %s" % (name, self.dtype, self.wanted)
            )
        self.on_host = engine.get_tensor_location(name) == trt.TensorLocation.HOST
        if engine.get_tensor_components_per_element(name) > 1:
            raise RuntimeError("tensor %r has a packed format, which can't be bound" % name)

    def into(self, target: np.ndarray, array: np.ndarray) -> None:
        """Copy the caller's array into a buffer of the engine's dtype."""
        if self.narrow and array.size and array.dtype == np.int64:
            low, high = int(array.min()), int(array.max())
            if low < _INT32.min or high > _INT32.max:
                raise RuntimeError(
                    "input %r holds %d, and this TensorRT computes INT64 as INT32"
                    % (self.name, low if low < _INT32.min else high)
                )
        np.copyto(target, array, casting="unsafe" if self.narrow else "no")

    def out_of(self, source: np.ndarray) -> np.ndarray:
        """Return a copy in the caller's dtype."""
        if not self.narrow:
            return np.array(source)
        if source.size and (source.max() == _INT32.max or source.min() == _INT32.min):
            raise RuntimeError(
                "output %r reaches the limit of INT32, in which this TensorRT computes INT64: "
                "its values may have been cut off" % self.name
            )
        return source.astype(np.int64)


def _bytes_of(shape: Sequence[int], dtype: np.dtype) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


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


def make_profiler(trt: Any, times: Dict[str, List[float]]) -> Any:
    """Return a profiler that adds each layer's microseconds to `times`."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]  # of Any: its module is imported late
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times.setdefault(layer_name, []).append(ms * 1e3)

    return Profiler()


class Pinned:
    """Page-locked host memory seen as an array; copies from it run without the CPU."""

    def __init__(self, cuda: Cuda, shape: Sequence[int], dtype: np.dtype) -> None:
        self._cuda = cuda
        self.nbytes = _bytes_of(shape, dtype)
        self.address = cuda.handle("cudaHostAlloc", max(1, self.nbytes), 0)
        raw = (ctypes.c_ubyte * max(1, self.nbytes)).from_address(self.address)
        flat = np.ctypeslib.as_array(raw)[: self.nbytes]
        self.array = flat.view(dtype).reshape(tuple(shape))

    def free(self) -> None:
        """Give it back; the array must not be used any more."""
        if self.address:
            self._cuda.cudaFreeHost(self.address)
        self.address = 0


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
        size = max(1, _bytes_of(shape, dtype))
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
        ("data", _P),
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


class DeviceView:
    """Where a caller's GPU array lies. `owner` keeps its memory alive."""

    def __init__(self, name: str, value: Any) -> None:
        self.owner: Any = value
        if hasattr(value, "__cuda_array_interface__"):
            said = value.__cuda_array_interface__
            self.address = int(said["data"][0])
            self.shape = tuple(int(size) for size in said["shape"])
            # "V2" is how bfloat16 is told there: raw bits, as everywhere here.
            self.dtype = np.dtype("uint16" if said["typestr"][1:] == "V2" else said["typestr"])
            strides = said.get("strides")
            compact = strides is None or self._is_compact(
                [int(stride) // self.dtype.itemsize for stride in strides]
            )
        elif hasattr(value, "__dlpack__"):
            compact = self._read_dlpack(name, value)
        else:
            raise RuntimeError(
                "%r is a %s, which is no GPU array: it has neither __cuda_array_interface__ nor "
                "__dlpack__" % (name, type(value).__name__)
            )
        if not compact:
            raise RuntimeError("%r is not contiguous; make it so first" % name)

    def _read_dlpack(self, name: str, value: Any) -> bool:
        self.owner = capsule = value.__dlpack__()
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = _P, [ctypes.py_object, ctypes.c_char_p]
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


# ---- bindings: one context with its shapes and addresses ----------------------------------------


class Context:
    """An execution context, and which profile and shapes it is set to."""

    def __init__(self, trt: Any, engine: Any, lines: Lines) -> None:
        self.raw = engine.create_execution_context()
        if self.raw is None:
            raise RuntimeError(
                "TensorRT could not make an execution context: %s"
                % lines.reason("most likely the GPU's memory is full")
            )
        self._lines = lines
        self._engine = engine
        self._shapes: Dict[str, Tuple[int, ...]] = {}

    def shape(self, profile: int, shapes: Dict[str, Tuple[int, ...]], stream: int) -> bool:
        """Set profile and input shapes. False: another context holds this profile (before 10)."""
        raw = self.raw
        if raw.active_optimization_profile != profile:
            if not raw.set_optimization_profile_async(profile, stream):
                return False
            self._shapes = {}
        for name, shape in shapes.items():
            if self._shapes.get(name) == shape:
                continue
            if not raw.set_input_shape(name, shape):
                raise RuntimeError(
                    "TensorRT refused shape %s of input %r: %s"
                    % (list(shape), name, self._lines.reason("no reason given"))
                )
            self._shapes[name] = shape
        return True

    def address(self, name: str, address: int) -> None:
        """Bind a tensor to memory."""
        if not self.raw.set_tensor_address(name, address):
            raise RuntimeError("TensorRT refused an address for tensor %r" % name)

    def output_shape(self, name: str) -> Tuple[int, ...]:
        """Return an output's shape; -1 where only running tells."""
        sizes = _dims(self.raw.get_tensor_shape(name))
        return (-1,) if sizes is None else tuple(sizes)

    def enqueue(self, stream: int) -> None:
        """Start one inference."""
        if not self.raw.execute_async_v3(stream):
            raise RuntimeError("TensorRT failed to run: %s" % self._lines.reason("no reason given"))


class Binding:
    """A context set to shapes and addresses, with CUDA graphs of what it does.

    A captured graph is only valid while its context stays as it was, so a binding that has one
    keeps the context to itself.
    """

    def __init__(self, cuda: Cuda, context: Context) -> None:
        self.cuda, self.context = cuda, context
        self.device: Dict[str, int] = {}
        self.staged: Dict[str, Pinned] = {}
        self.host: Dict[str, np.ndarray] = {}
        self.allocators: Dict[str, Any] = {}
        self.graphs: Dict[str, int] = {}

    def capture(self, key: str, work: Callable[[int], None], stream: int) -> Optional[str]:
        """Record `work(stream)` as a graph. Returns why not, or None; afterwards all is usable."""
        cuda = self.cuda
        problem, graph = None, 0
        try:
            cuda.cudaStreamBeginCapture(stream, _THREAD_LOCAL)
        except CudaError as error:
            return str(error)
        try:
            work(stream)
        except RuntimeError as error:
            problem = str(error)
        try:
            graph = cuda.end_capture(stream)
        except CudaError as error:
            problem = problem or str(error)
        if graph and problem is None:
            try:
                self.graphs[key] = cuda.handle("cudaGraphInstantiateWithFlags", graph, 0)
            except CudaError as error:
                problem = str(error)
        if graph:
            cuda.cudaGraphDestroy(graph)
        return problem

    def free(self) -> None:
        """Give memory and graphs back; the context stays."""
        for graph in self.graphs.values():
            self.cuda.cudaGraphExecDestroy(graph)
        for address in self.device.values():
            self.cuda.cudaFree(address)
        for staged in self.staged.values():
            staged.free()
        for allocator in self.allocators.values():
            allocator.free()
        for each in (self.graphs, self.device, self.staged, self.allocators, self.host):
            each.clear()


# ---- Runner -------------------------------------------------------------------------------------


class Runner:
    """One plan on one GPU, from one thread at a time.

    Each set of input shapes gets its own buffers, context and CUDA graph; the last few are kept.
    `notes` says what didn't go as intended (a graph that couldn't be captured, say).

    spec: device; graphs (bool); inputs and outputs {name: NumPy dtype the caller has}, where
    missing: the engine's own.
    """

    def __init__(self, files: Dict[str, bytes], spec: Dict[str, Any]) -> None:
        trt, cuda = _tensorrt(), cuda_here()
        self._trt, self._cuda = trt, cuda
        self._index = device_index(spec.get("device"))
        _select(cuda, self._index)
        self.notes: List[str] = []
        self._lines = Lines()
        self._log = make_log(trt, self._lines)
        self._runtime, self._engine = _deserialise(
            trt, next(iter(files.values())), self._log, self._lines
        )
        self._use_graphs = bool(spec.get("graphs", True))
        wanted = dict(spec.get("inputs") or {}, **(spec.get("outputs") or {}))
        self._inputs: Dict[str, Port] = {}
        self._outputs: Dict[str, Port] = {}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            is_input = self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            ports = self._inputs if is_input else self._outputs
            ports[name] = Port(trt, self._engine, name, wanted.get(name))
        order = [name for name in spec.get("outputs") or {} if name in self._outputs]
        self._order = order or list(self._outputs)
        self._ranges = self._profile_ranges()
        self._bindings: OrderedDict[Any, Binding] = OrderedDict()
        self._seen: OrderedDict[Any, None] = OrderedDict()
        self._free: List[Context] = [Context(trt, self._engine, self._lines)]
        self._most = MOST_BINDINGS
        self._loose: Optional[Binding] = None
        self._last_stream = self._stream = cuda.handle("cudaStreamCreateWithFlags", _NON_BLOCKING)
        self._event = cuda.handle("cudaEventCreateWithFlags", _NO_TIMING)

    # -- arrays in host memory

    def run(self, feed: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Run once from host memory to host memory; the results are the caller's."""
        binding = self._bound(feed)
        self._load(binding, feed)
        self._launch(binding, "whole", self._stream)
        self._cuda.cudaStreamSynchronize(self._stream)
        return self._results(binding)

    def _bound(self, feed: Dict[str, np.ndarray]) -> Binding:
        """Return the binding for these shapes, made on their first use."""
        key: Any = tuple(
            (feed[name].shape, feed[name].tobytes() if port.on_host else None)
            for name, port in self._inputs.items()
        )
        binding = self._bindings.get(key)
        if binding is not None:
            self._bindings.move_to_end(key)
            return binding
        binding = self._make(feed)
        self._bindings[key] = binding
        return binding

    def _make(self, feed: Dict[str, np.ndarray]) -> Binding:
        cuda = self._cuda
        binding = self._shaped({name: feed[name].shape for name in self._inputs})
        try:
            for name, port in self._inputs.items():
                if port.on_host:
                    binding.host[name] = np.empty(feed[name].shape, port.dtype)
                    port.into(binding.host[name], feed[name])
                    binding.context.address(name, binding.host[name].ctypes.data)
                    continue
                binding.staged[name] = Pinned(cuda, feed[name].shape, port.dtype)
                binding.device[name] = cuda.device_memory(binding.staged[name].nbytes)
                binding.context.address(name, binding.device[name])
            self._bind_outputs(binding)
            self._load(binding, feed)
            self._work(binding, self._stream)
            cuda.cudaStreamSynchronize(self._stream)
            if self._use_graphs and not binding.allocators and not binding.host:
                self._capture(binding, "whole", lambda stream: self._work(binding, stream))
        except BaseException:
            self._release(binding)
            raise
        return binding

    def _shaped(self, shapes: Dict[str, Tuple[int, ...]]) -> Binding:
        """Return a binding whose context is set to these shapes; the oldest makes room."""
        profile = self._profile_for(shapes)
        while len(self._bindings) >= self._most:
            self._evict()
        if not self._free:
            self._free.append(Context(self._trt, self._engine, self._lines))
        context = self._free.pop()
        try:
            while not context.shape(profile, shapes, self._stream):
                # Plans from before 10 may let one context alone use a profile.
                self._most = 1
                if not self._bindings and self._loose is None:
                    raise RuntimeError("TensorRT refused profile %d of the plan" % profile)
                del context
                self._make_room()
                context = self._free.pop()
            self._cuda.cudaStreamSynchronize(self._stream)
        except BaseException:
            self._free.append(context)
            raise
        return Binding(self._cuda, context)

    def _make_room(self) -> None:
        """Get the only context back from whoever has it."""
        while self._bindings:
            self._evict()
        if self._loose is not None:
            self._release(self._loose)
            self._loose = None

    def _evict(self) -> None:
        _, oldest = self._bindings.popitem(last=False)
        self._release(oldest)

    def _release(self, binding: Binding) -> None:
        # What is still queued may use the memory and the graphs that go now.
        self._cuda.cudaStreamSynchronize(self._stream)
        self._cuda.cudaStreamSynchronize(self._last_stream)
        binding.free()
        self._free.append(binding.context)

    def _bind_outputs(self, binding: Binding) -> None:
        """Give every output memory: of its shape, or an allocator where only running tells."""
        unknown = list(binding.context.raw.infer_shapes())
        if unknown:
            raise RuntimeError("the shape or values of %s are not known" % ", ".join(unknown))
        for name, port in self._outputs.items():
            shape = binding.context.output_shape(name)
            if any(size < 0 for size in shape):
                allocator = make_allocator(self._trt, self._cuda)
                if not binding.context.raw.set_output_allocator(name, allocator):
                    raise RuntimeError("TensorRT refused an allocator for output %r" % name)
                binding.allocators[name] = allocator
            elif port.on_host:
                binding.host[name] = np.empty(shape, port.dtype)
                binding.context.address(name, binding.host[name].ctypes.data)
            else:
                binding.staged[name] = Pinned(self._cuda, shape, port.dtype)
                binding.device[name] = self._cuda.device_memory(binding.staged[name].nbytes)
                binding.context.address(name, binding.device[name])

    def _load(self, binding: Binding, feed: Dict[str, np.ndarray]) -> None:
        for name, port in self._inputs.items():
            if not port.on_host:
                port.into(binding.staged[name].array, feed[name])

    def _work(self, binding: Binding, stream: int) -> None:
        """Copy in, compute, copy out; outputs of unknown size are fetched later."""
        copy = self._cuda.cudaMemcpyAsync
        for name in self._inputs:
            staged = binding.staged.get(name)
            if staged is not None and staged.nbytes:
                address = binding.device[name]
                copy(address, staged.address, staged.nbytes, _HOST_TO_DEVICE, stream)
        binding.context.enqueue(stream)
        for name in self._outputs:
            staged = binding.staged.get(name)
            if staged is not None and staged.nbytes:
                address = binding.device[name]
                copy(staged.address, address, staged.nbytes, _DEVICE_TO_HOST, stream)

    def _results(self, binding: Binding) -> Dict[str, np.ndarray]:
        answers = {}
        for name in self._order:
            port = self._outputs[name]
            if name in binding.allocators:
                answers[name] = port.out_of(self._fetched(binding.allocators[name], port))
            elif name in binding.host:
                answers[name] = port.out_of(binding.host[name])
            else:
                answers[name] = port.out_of(binding.staged[name].array)
        return answers

    def _fetched(self, allocator: Any, port: Port) -> np.ndarray:
        array = np.empty(allocator.shape, port.dtype)
        if array.nbytes:
            self._cuda.cudaMemcpyAsync(
                array.ctypes.data, allocator.address, array.nbytes, _DEVICE_TO_HOST, self._stream
            )
            self._cuda.cudaStreamSynchronize(self._stream)
        return array

    # -- launching

    def _capture(self, binding: Binding, key: str, work: Callable[[int], None]) -> None:
        problem = binding.capture(key, work, self._stream)
        if problem:
            self._note("no CUDA graph, runs are enqueued one by one: %s" % problem)
            self._use_graphs = False

    def _launch(self, binding: Binding, key: str, stream: int) -> None:
        """Start work on a stream: its graph where there is one, else step by step."""
        if stream != self._last_stream:
            # Both use the same activation memory: the later one waits for the earlier one.
            self._cuda.cudaEventRecord(self._event, self._last_stream)
            self._cuda.cudaStreamWaitEvent(stream, self._event, 0)
            self._last_stream = stream
        graph = binding.graphs.get(key)
        if graph is not None:
            self._cuda.cudaGraphLaunch(graph, stream)
        elif key == "whole":
            self._work(binding, stream)
        else:
            binding.context.enqueue(stream)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    # -- profiles

    def _profile_ranges(self) -> List[Dict[str, List[List[int]]]]:
        """Return per profile: input → [min, opt, max] shapes; inputs by value aren't in it."""
        return [
            {
                name: _range(self._trt, self._engine, name, profile)
                for name, port in self._inputs.items()
                if not port.on_host
            }
            for profile in range(self._engine.num_optimization_profiles)
        ]

    def _profile_for(self, shapes: Dict[str, Tuple[int, ...]]) -> int:
        """Return the profile that takes these shapes and was tuned nearest to them."""
        best: Optional[Tuple[float, int]] = None
        for index, ranges in enumerate(self._ranges):
            distance = 0.0
            for name, known in ranges.items():
                if not known:
                    continue
                shape, (low, opt, high) = shapes[name], known
                if len(shape) != len(low) or any(
                    not a <= size <= b for a, size, b in zip(low, shape, high)
                ):
                    break
                distance += sum(abs(np.log((s + 1) / (o + 1))) for s, o in zip(shape, opt))
            else:
                best = min(best or (distance, index), (distance, index))
        if best is None:
            told = ["%s" % {n: [r[0], r[2]] for n, r in p.items() if r} for p in self._ranges]
            raise RuntimeError(
                "no optimisation profile takes %s; the plan has %s"
                % ({n: list(s) for n, s in shapes.items()}, "; ".join(told))
            )
        return best[1]

    # -- arrays in device memory

    def run_device(
        self,
        feed: Dict[str, Any],
        outputs: Optional[Dict[str, Any]] = None,
        stream: Optional[int] = None,
    ) -> Dict[str, Any]:
        """Run from GPU arrays to GPU arrays without a copy, in this process.

        Args:
            feed: objects with `__cuda_array_interface__` or `__dlpack__` (CUDA tensors of
                PyTorch, CuPy, …), contiguous, of the engine's dtypes.
            outputs: the same, to be written; None: new `DeviceArray`s, which PyTorch takes with
                `torch.as_tensor`.
            stream: a CUDA stream's handle: the work is queued there and this call returns at
                once. None: the call waits until the results are there.

        The second call with the same shapes and addresses captures a CUDA graph; keep the arrays
        (copy into them) for the best speed.
        """
        views = {name: DeviceView(name, feed[name]) for name in self._inputs}
        given = {name: DeviceView(name, value) for name, value in (outputs or {}).items()}
        key = (
            "device",
            tuple((view.address, view.shape) for view in views.values()),
            tuple((name, view.address) for name, view in given.items()),
        )
        queue = self._stream if stream is None else stream
        binding = self._bindings.get(key)
        if binding is not None and binding.graphs:
            self._bindings.move_to_end(key)
            self._launch(binding, "compute", queue)
            made: Dict[str, Any] = {}
        else:
            binding, made = self._run_loose(key, views, given, queue, stream)
        if stream is None:
            self._cuda.cudaStreamSynchronize(queue)
        return {name: made.get(name, (outputs or {}).get(name)) for name in self._order}

    def _run_loose(
        self,
        key: Any,
        views: Dict[str, DeviceView],
        given: Dict[str, DeviceView],
        queue: int,
        stream: Optional[int],
    ) -> Tuple[Binding, Dict[str, Any]]:
        """Enqueue with these addresses; met a second time, they get a context and a graph."""
        keep = self._use_graphs and key in self._seen and len(given) == len(self._outputs)
        self._check_device(views)
        shapes = {name: view.shape for name, view in views.items()}
        if keep:
            binding = self._shaped(shapes)
        else:
            self._remember(key)
            binding = self._loose_binding(shapes)
        for name, view in views.items():
            binding.context.address(name, view.address)
        made: Dict[str, Any] = {}
        for name, port in self._outputs.items():
            shape = binding.context.output_shape(name)
            if any(size < 0 for size in shape) or port.on_host:
                raise RuntimeError(
                    "output %r has a shape that depends on the data; use run() for this network"
                    % name
                )
            if name in given:
                if given[name].shape != shape or given[name].dtype != port.dtype:
                    raise RuntimeError(
                        "output %r is %s %s, not %s %s"
                        % (name, port.dtype, list(shape), given[name].dtype, given[name].shape)
                    )
                address = given[name].address
            else:
                made[name] = DeviceArray(self._cuda, shape, port.dtype, stream)
                address = made[name].address
            binding.context.address(name, address)
        self._launch(binding, "compute", queue)
        if keep:
            self._cuda.cudaStreamSynchronize(queue)
            self._capture(binding, "compute", binding.context.enqueue)
            if binding.graphs:
                self._bindings[key] = binding
            else:
                self._release(binding)
        return binding, made

    def _check_device(self, views: Dict[str, DeviceView]) -> None:
        for name, view in views.items():
            port = self._inputs[name]
            if port.on_host:
                raise RuntimeError("input %r is read by its value; use run()" % name)
            if view.dtype != port.dtype:
                raise RuntimeError(
                    "input %r is %s on the GPU, the engine takes %s"
                    % (name, view.dtype, port.dtype)
                )

    def _loose_binding(self, shapes: Dict[str, Tuple[int, ...]]) -> Binding:
        """Return the binding for changing addresses; it never has a graph."""
        if self._loose is None:
            self._loose = self._shaped(shapes)
            return self._loose
        profile = self._profile_for(shapes)
        # Its last work may still run, and shapes are read when it is enqueued, not later.
        if not self._loose.context.shape(profile, shapes, self._last_stream):
            raise RuntimeError("TensorRT refused profile %d of the plan" % profile)
        return self._loose

    def _remember(self, key: Any) -> None:
        self._seen[key] = None
        while len(self._seen) > 64:
            self._seen.popitem(last=False)

    # -- measuring

    def time(self, feed: Dict[str, np.ndarray], runs: int, lead: int) -> Dict[str, List[int]]:
        """Time runs in nanoseconds, after `lead` that don't count.

        Returns:
            "host": end to end, copies included, one run after another; "device": computing
            alone, between events around each of the runs queued back to back; "enqueue": what
            starting each of those took the CPU; "latency": copy in, compute, copy out between
            events, one run at a time.
        """
        for _ in range(max(1, lead)):
            self.run(feed)
        host = []
        for _ in range(runs):
            start = time.perf_counter_ns()
            self.run(feed)
            host.append(time.perf_counter_ns() - start)
        binding = self._bound(feed)
        times = {"host": host, "latency": self._latencies(binding, runs)}
        times.update(self._device_times(binding, runs, lead))
        return times

    def _latencies(self, binding: Binding, runs: int) -> List[int]:
        cuda = self._cuda
        first, last = (cuda.handle("cudaEventCreateWithFlags", 0) for _ in range(2))
        times = []
        try:
            for _ in range(runs):
                cuda.cudaEventRecord(first, self._stream)
                self._launch(binding, "whole", self._stream)
                cuda.cudaEventRecord(last, self._stream)
                cuda.cudaEventSynchronize(last)
                times.append(cuda.elapsed_ns(first, last))
        finally:
            cuda.cudaEventDestroy(first)
            cuda.cudaEventDestroy(last)
        return times

    def _device_times(self, binding: Binding, runs: int, lead: int) -> Dict[str, List[int]]:
        cuda, stream = self._cuda, self._stream
        if binding.graphs and "compute" not in binding.graphs:
            self._capture(binding, "compute", binding.context.enqueue)
        events = [cuda.handle("cudaEventCreateWithFlags", 0) for _ in range(runs + 1)]
        enqueue = []
        try:
            for _ in range(lead):
                self._launch(binding, "compute", stream)
            cuda.cudaEventRecord(events[0], stream)
            for event in events[1:]:
                start = time.perf_counter_ns()
                self._launch(binding, "compute", stream)
                enqueue.append(time.perf_counter_ns() - start)
                cuda.cudaEventRecord(event, stream)
            cuda.cudaStreamSynchronize(stream)
            device = [cuda.elapsed_ns(events[n], events[n + 1]) for n in range(runs)]
        finally:
            for event in events:
                cuda.cudaEventDestroy(event)
        return {"device": device, "enqueue": enqueue}

    def profile(self, feed: Dict[str, np.ndarray], runs: int) -> List[Dict[str, Any]]:
        """Return the layers in order with their median time, on the ONNX nodes' names.

        Layer times are measured one by one, without a graph; their sum is above a run's time.
        """
        times: Dict[str, List[float]] = {}
        self.run(feed)
        binding = self._bound(feed)
        self._forget(binding)
        profiler = make_profiler(self._trt, times)
        binding.context.raw.profiler = profiler
        for index in range(runs + 1):
            self._work(binding, self._stream)
            self._cuda.cudaStreamSynchronize(self._stream)
            if index == 0:
                times.clear()
        # A profiler can't be taken off a context: this one isn't used again.
        binding.free()
        del binding
        return self._told(times)

    def _forget(self, binding: Binding) -> None:
        """Take a binding out of the kept ones without giving its context back."""
        for key in [key for key, value in self._bindings.items() if value is binding]:
            del self._bindings[key]

    def _told(self, times: Dict[str, List[float]]) -> List[Dict[str, Any]]:
        layers = {str(layer.get("Name")): layer for layer in self.inspect()}
        medians = {name: float(np.median(values)) for name, values in times.items()}
        total = sum(medians.values()) or 1.0
        return [
            {
                "name": name,
                "onnx": onnx_names(layers.get(name, {"Name": name})),
                "kind": str(layers.get(name, {}).get("LayerType", "")),
                "precision": layer_precision(layers.get(name, {})),
                "tactic": str(layers.get(name, {}).get("TacticName", "")),
                "median_us": round(median, 3),
                "share": round(median / total, 5),
            }
            for name, median in medians.items()
        ]

    def inspect(self) -> List[Dict[str, Any]]:
        """Return the engine inspector's layers."""
        return _inspect(self._trt, self._engine)

    def close(self) -> None:
        """Give all GPU memory back. May be called twice."""
        if self.__dict__.pop("_engine", None) is None:
            return
        cuda = self._cuda
        cuda.cudaStreamSynchronize(self._last_stream)
        cuda.cudaStreamSynchronize(self._stream)
        for binding in list(self._bindings.values()):
            binding.free()
        self._bindings.clear()
        self._free.clear()
        self._loose = None
        cuda.cudaEventDestroy(self._event)
        cuda.cudaStreamDestroy(self._stream)
        # Contexts before the engine, the engine before its runtime: TensorRT's order.
        del self._runtime
