"""OpenVINO where the engine runs. Standard library, NumPy and openvino only, Python 3.8+.

Arrays of element types that NumPy lacks come and go as unsigned integers of the same bits, one per
element: uint16 for bfloat16, uint8 for 8 bits and below (a 4-bit value in the low bits).
"""

from __future__ import annotations

import importlib
import os
import platform
import statistics
import sys
import tempfile
from collections import deque
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    Generator,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np

NAME = "openvino"


def _import_without_telemetry() -> Any:
    """Import openvino as if its telemetry package weren't installed.

    Otherwise the import sends an event to Google Analytics and writes a client number to the user's
    home. A None in `sys.modules` makes an import fail (Python's import system says so), and
    openvino takes its own stub then. Others in this process may use the package as they like.
    """
    name = "openvino_telemetry"
    if "openvino" in sys.modules or name in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[name] = None  # type: ignore[assignment]  # documented way to block an import
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[name]


ov = _import_without_telemetry()

# Our word for a precision: OpenVINO's word for it, and the capability that a device must have.
PRECISIONS = {
    "fp32": ("f32", "FP32"),
    "bf16": ("bf16", "BF16"),
    "fp16": ("f16", "FP16"),
    # The Q/DQ of the graph decide; the hint is for what they leave.
    "int8": ("f32", "INT8"),
}
# What plugins call a 16-bit float in the graph that they execute.
_HALVES = {"bf16": "bf16", "f16": "f16", "fp16": "f16"}
_FLOATS = {"f32": "f32", "fp32": "f32", **_HALVES}
# Steps of the executed graph that compute nothing: they hold, move or convert tensors.
_NO_WORK = {"Input", "Output", "Const", "Parameter", "Result", "Reorder", "Convert", "Reshape"}

Ports = Sequence[Tuple[str, int, Any]]


@lru_cache(maxsize=None)
def _core() -> Any:
    """Return the one OpenVINO core of this process: it has loaded the plugins."""
    return ov.Core()


@lru_cache(maxsize=None)
def _devices() -> Tuple[str, ...]:
    """Return the devices that are there. Asking takes milliseconds: every driver is tried."""
    return tuple(str(name) for name in _core().available_devices)


def describe(device: Optional[str]) -> Dict[str, str]:
    """Return what an engine for this device ("CPU", "GPU.0", "NPU", "AUTO") would be tied to."""
    name = _device(device)
    found = [name] if name != "AUTO" else list(_devices())
    return {
        "runtime": NAME,
        "version": str(ov.__version__).split("-")[0],
        "build": str(ov.__version__),
        "device": name,
        "device name": ", ".join(str(_core().get_property(d, "FULL_DEVICE_NAME")) for d in found),
        "machine": platform.machine(),
        "system": platform.system(),
    }


def _device(asked: Optional[str]) -> str:
    """Return OpenVINO's name of a device that is there."""
    found = _devices()
    name = (asked or "CPU").upper()
    # OpenVINO takes "GPU" for the first of several.
    if name != "AUTO" and name not in {part for d in found for part in (d, d.split(".")[0])}:
        raise RuntimeError(
            "OpenVINO finds no device %s here, only %s" % (name, ", ".join([*found, "AUTO"]))
        )
    return name


def build(
    files: Dict[str, bytes], spec: Dict[str, Any], say: Callable[[str], None]
) -> Dict[str, Any]:
    """Compile once, so that a refusal comes now, and read what runs; the engine is the model."""
    say("OpenVINO compiles the model")
    runner = Runner(files, spec)
    proof = runner.proof()
    _BUILT["last"] = (dict(files), dict(spec), runner._compiled)
    runner.close()
    return {"files": files, "log": [], "proof": proof}


# Whoever builds an engine opens it next, as a rule: the compiled model waits here for that one
# opening, or until another engine is opened, so that it needn't be compiled twice.
_BUILT: Dict[str, Tuple[Dict[str, bytes], Dict[str, Any], Any]] = {}


def _just_built(files: Mapping[str, bytes], spec: Mapping[str, Any]) -> Any:
    """Return the compiled model of these very files and settings, once, else None."""
    built_files, built_spec, compiled = _BUILT.pop("last", ({}, {}, None))
    same = built_spec == spec and list(built_files) == list(files)
    if same and all(content is files[name] for name, content in built_files.items()):
        return compiled
    return None


class Runner:
    """One compiled model and one request over in-memory files.

    `spec`: "device" (None is the CPU), "precision" ("fp32", "bf16", "fp16"), "threads" (None takes
    what the process may use), "shapes" (input name to a list of sizes or [low, high],
    high None if unbounded), "inputs" and "outputs" (their names), "pinning", "cache_dir" (None: no
    cache), "mode" ("latency", "throughput").
    """

    def __init__(self, files: Mapping[str, bytes], spec: Mapping[str, Any]) -> None:
        self._files, self._spec = files, spec
        self._device = _device(spec.get("device"))
        self._compiled = _just_built(files, spec)
        with _plainly():
            if self._compiled is None:
                self._compiled = self._compile(profiling=False)
                self._check_precision(_floats_by_type(_steps(self._compiled)))
            self._request = self._compiled.create_infer_request()
            # As many runs as OpenVINO says keep the device busy; 1 on a CPU for latency.
            self._most = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._idle: List[Any] = []
        self._flying: List[Any] = []
        self._inputs: Ports = _ports(self._compiled.inputs, spec)
        self._outputs = _outputs(self._compiled.outputs, spec["outputs"])

    def _compile(self, profiling: bool) -> Any:
        model = _read(self._files)
        _reshape(model, self._spec)
        properties = _properties(self._device, self._spec)
        properties["PERF_COUNT"] = profiling
        return _core().compile_model(model, self._device, properties)

    def _check_precision(self, ran: Mapping[str, List[str]]) -> None:
        """Raise unless what was asked for is what is executed."""
        asked = PRECISIONS[self._spec["precision"]][0]
        strays = sorted(set(ran) - {asked, "f32"})
        if strays and not self._model_has_halves():
            raise RuntimeError(
                "%s was asked for, but OpenVINO executes %s in %s"
                % (asked, _some(ran[strays[0]]), strays[0])
            )
        if asked != "f32" and asked not in ran:
            raise RuntimeError(
                "%s was asked for, but OpenVINO executes no step in it; in f32: %s"
                % (asked, _some(ran.get("f32", [])) or "none either")
            )

    def _model_has_halves(self) -> bool:
        """Tell whether the model itself states 16-bit floats, so that they are nobody's choice."""
        model = _read(self._files)
        kinds = {ov.Type.f16, ov.Type.bf16}
        return any(
            output.get_element_type() in kinds for op in model.get_ops() for output in op.outputs()
        )

    def proof(self) -> Dict[str, Any]:
        """Return what really runs: devices, threads, the executed steps, and these by precision.

        Each of "executed" is a step's name, kind, element type, and the names of the model that it
        came from.
        """
        steps = _steps(self._compiled)
        ran = _floats_by_type(steps)
        able = _capabilities(self._device)
        total = sum(len(names) for names in ran.values()) or 1
        return {
            "devices": [str(name) for name in self._compiled.get_property("EXECUTION_DEVICES")],
            "threads": _property(self._compiled, "INFERENCE_NUM_THREADS"),
            "pinning": _property(self._compiled, "ENABLE_CPU_PINNING"),
            "mode": self._spec.get("mode", "latency"),
            "streams": _property(self._compiled, "NUM_STREAMS"),
            "requests": self._most,
            "precision": {
                "asked": self._spec["precision"],
                "steps": {kind: len(names) for kind, names in sorted(ran.items())},
                "share": {k: round(len(names) / total, 4) for k, names in sorted(ran.items())},
            },
            "primitives": _primitives(steps),
            "capabilities": able,
            "executed": [
                [step["name"], step["kind"], step["precision"], step["origins"]] for step in steps
            ],
            # There is no switch: the plugin's own graph transformations always run.
            "optimisations": "on",
        }

    def run(self, feed: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Run once. The results are copies: OpenVINO uses its own buffers again."""
        kept = _lend(self._request, self._inputs, feed)
        with _plainly():
            self._request.infer(share_outputs=True)
        answers = self._answers(self._request)
        # Not before: an output may be an input's own memory.
        del kept
        return answers

    def run_many(
        self, feeds: Iterable[Dict[str, np.ndarray]]
    ) -> Generator[Dict[str, np.ndarray], None, None]:
        """Yield the answers to feeds in order; as many runs overlap as the proof's "requests".

        Feeds are copied: whoever makes them may use its arrays again while a run reads them. A
        failure, be it to make a feed or to run it, comes after the answers to those before it.
        """
        source = iter(feeds)
        flying: Deque[Tuple[Any, Any]] = deque()
        failure: Optional[BaseException] = None
        ready: Optional[Dict[str, np.ndarray]] = None
        more = True
        try:
            while True:
                while more and len(flying) < self._most:
                    try:
                        flying.append(self._launch(next(source)))
                    except StopIteration:
                        more = False
                    except Exception as error:
                        failure, more = error, False
                if ready is not None:
                    yield ready
                if not flying:
                    break
                ready = self._land(*flying.popleft())
            if failure is not None:
                raise failure
        finally:
            for request, _ in flying:
                self._stop(request)

    def _launch(self, feed: Mapping[str, np.ndarray]) -> Tuple[Any, Any]:
        """Start a run; return its request, and what must be kept until it has ended."""
        with _plainly():
            request = self._idle.pop() if self._idle else self._compiled.create_infer_request()
            copies = {name: array.copy() for name, array in feed.items()}
            kept = _lend(request, self._inputs, copies)
            request.start_async(share_inputs=True)
        self._flying.append(request)
        return request, (copies, kept)

    def _land(self, request: Any, kept: Any) -> Dict[str, np.ndarray]:
        """Wait for a run's answers; `kept` is the memory that it reads, and may answer with."""
        with _plainly():
            request.wait()
        self._flying.remove(request)
        answers = self._answers(request)
        self._idle.append(request)
        del kept
        return answers

    def _stop(self, request: Any) -> None:
        """End a run that nobody waits for any more; its memory may only go then."""
        if request in self._flying:
            self._flying.remove(request)
            with suppress(Exception):  # that it was cancelled, or why it failed
                request.cancel()
                request.wait()
            self._idle.append(request)

    def _answers(self, request: Any) -> Dict[str, np.ndarray]:
        return {name: self._take(request, index, kind) for name, index, kind in self._outputs}

    def _take(self, request: Any, index: int, kind: Any) -> np.ndarray:
        tensor = request.get_output_tensor(index)
        if _is_packed(kind):
            return _unpack(tensor.data, kind.bitwidth, tuple(tensor.shape))
        array = np.array(tensor.data)
        if kind in _RAW:
            # The binding shows bfloat16 as float16, of which NumPy would read other numbers.
            array = array.view(_RAW[kind])
        return array

    def profile(self, feed: Dict[str, np.ndarray], runs: int) -> List[Dict[str, Any]]:
        """Return the executed steps with their median time, in the order of execution.

        "onnx" holds the names that OpenVINO keeps from the model: those of nodes, but of outputs
        where a node makes an output of the model or has no name. Counters cost time, so a second
        compilation has them and `run` hasn't.
        """
        with _plainly():
            compiled = self._compile(profiling=True)
            request = compiled.create_infer_request()
            kept = _lend(request, self._inputs, feed)
            taken: Dict[str, List[float]] = {}
            kinds: Dict[str, str] = {}
            for number in range(runs + 1):
                request.infer(share_outputs=True)
                for step in request.profiling_info if number else ():  # the first one warms up
                    if step.status == ov.ProfilingInfo.Status.EXECUTED:
                        micro = step.real_time.total_seconds() * 1e6
                        taken.setdefault(step.node_name, []).append(micro)
                        kinds[step.node_name] = step.node_type
        del kept
        origins = {step["name"]: step for step in _steps(compiled)}
        medians = {name: statistics.median(values) for name, values in taken.items()}
        total = sum(medians.values()) or 1.0
        return [
            {
                "name": name,
                "onnx": origins.get(name, {}).get("origins", []),
                "kind": kinds[name],
                "precision": _precision(origins.get(name, {}).get("precision", "")),
                "tactic": origins.get(name, {}).get("primitive", ""),
                "median_us": median,
                "share": median / total,
            }
            for name, median in medians.items()
        ]

    def close(self) -> None:
        """Release the requests and the compiled model, after what still runs has ended."""
        for request in list(self._flying):
            self._stop(request)
        self._idle.clear()
        self.__dict__.pop("_request", None)
        self.__dict__.pop("_compiled", None)


def _properties(device: str, spec: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the plugin's settings; what could change answers or speed in silence is stated."""
    hint, capability = PRECISIONS[spec["precision"]]
    for name in _devices() if device == "AUTO" else [device]:
        able = _capabilities(name)
        if capability not in able:
            # Told f16, a CPU that has bf16 takes that instead, and says nothing.
            raise RuntimeError("OpenVINO's %s has no %s here, only %s" % (name, hint, _some(able)))
    properties: Dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": hint,
        "PERFORMANCE_HINT": spec.get("mode", "latency").upper(),
    }
    if spec["precision"] in ("fp32", "int8"):
        # Also no quantised activations or attention caches, which are on by default.
        properties["EXECUTION_MODE_HINT"] = "ACCURACY"
    if device == "AUTO":
        # Otherwise the first runs are the CPU's, the later ones another device's.
        properties["ENABLE_STARTUP_FALLBACK"] = False
    if device == "CPU":
        properties["INFERENCE_NUM_THREADS"] = spec.get("threads") or _affinity()
        # The number of threads that was asked for, also if two of them share a core.
        properties["ENABLE_HYPER_THREADING"] = True
        if properties["PERFORMANCE_HINT"] == "LATENCY":
            properties["NUM_STREAMS"] = 1
        # Pinned threads of two processes or containers meet on the same first cores, and each
        # takes twice as long.
        properties["ENABLE_CPU_PINNING"] = bool(spec.get("pinning"))
    if spec.get("cache_dir"):
        properties["CACHE_DIR"] = spec["cache_dir"]
    return properties


def _capabilities(device: str) -> List[str]:
    """Return what a device computes in, as OpenVINO words it; of several, what all of them can."""
    found: List[str] = []
    for number, name in enumerate(_devices() if device == "AUTO" else [device]):
        able = [str(one) for one in _core().get_property(name, "OPTIMIZATION_CAPABILITIES")]
        found = [one for one in found if one in able] if number else able
    return found


def _affinity() -> int:
    """How many CPUs this process may use, where the host side didn't say."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _read(files: Mapping[str, bytes]) -> Any:
    """Read the first file; the others are its external data, found by name beside it."""
    names = list(files)
    if len(names) == 1:
        return _core().read_model(files[names[0]])
    with tempfile.TemporaryDirectory(prefix="roadworthy-") as folder:
        for name in names:
            Path(folder, name).write_bytes(files[name])
        # On Windows a folder whose files are mapped can't be removed.
        _core().set_property({"ENABLE_MMAP": False})
        return _core().read_model(str(Path(folder, names[0])))


def _reshape(model: Any, spec: Mapping[str, Any]) -> None:
    """Give the inputs the signature's sizes and ranges, where the model leaves more open."""
    wanted = {}
    for name, index, _ in _ports(model.inputs, spec):
        port, axes = model.inputs[index], spec["shapes"].get(name)
        if axes is not None and port.get_partial_shape() != _shape(axes):
            wanted[port] = _shape(axes)
    if wanted:
        model.reshape(wanted)


def _shape(axes: Sequence[Any]) -> Any:
    return ov.PartialShape([_dimension(axis) for axis in axes])


def _dimension(axis: Any) -> Any:
    if isinstance(axis, int):
        return ov.Dimension(axis)
    low, high = axis
    return ov.Dimension(low, -1 if high is None else high)


def _ports(ports: Sequence[Any], spec: Mapping[str, Any]) -> Ports:
    """Return (name, index, element type) of the inputs; those that nothing uses are gone.

    1. By name.
    2. An input that becomes an output unchanged goes by the output's name in OpenVINO. If as many
       names are left as ports, they belong together in order, which OpenVINO keeps.
    3. Otherwise only if the shapes leave no choice.
    """
    found = {
        index: name
        for index, port in enumerate(ports)
        for name in spec["inputs"]
        if name in port.get_names()
    }
    lost = [name for name in spec["inputs"] if name not in found.values()]
    strangers = [index for index in range(len(ports)) if index not in found]
    if len(lost) == len(strangers):
        found.update(zip(strangers, lost))
    else:
        for index in strangers:
            shape = ports[index].get_partial_shape()
            fitting = [name for name in lost if _fits(spec["shapes"].get(name), shape)]
            if len(fitting) != 1 or len(strangers) != 1:
                raise RuntimeError(
                    "OpenVINO renamed the input %s, and any of %s could be it"
                    % (" or ".join(ports[index].get_names()), _some(fitting))
                )
            found[index] = fitting[0]
    return [(found[index], index, port.get_element_type()) for index, port in enumerate(ports)]


def _fits(axes: Optional[Sequence[Any]], shape: Any) -> bool:
    return axes is None or bool(_shape(axes).compatible(shape))


def _outputs(ports: Sequence[Any], names: Sequence[str]) -> Ports:
    found = []
    for name in names:
        hits = [index for index, port in enumerate(ports) if name in port.get_names()]
        if not hits:
            raise RuntimeError("OpenVINO lost the output %r while it read the model" % name)
        found.append((name, hits[0], ports[hits[0]].get_element_type()))
    return found


# Element types that NumPy lacks, and the unsigned integers that they travel as.
_RAW = {
    ov.Type.bf16: np.uint16,
    ov.Type.f8e4m3: np.uint8,
    ov.Type.f8e5m2: np.uint8,
    ov.Type.f8e8m0: np.uint8,
}


def _lend(request: Any, inputs: Ports, feed: Mapping[str, np.ndarray]) -> List[np.ndarray]:
    """Have the next run read the arrays where they are.

    Returns what must be kept until it has: a tensor doesn't keep the memory alive that it shows.
    """
    kept = []
    for name, index, kind in inputs:
        array = feed[name]
        if _is_packed(kind):
            array = _pack(array, kind.bitwidth)
        elif not array.flags.writeable or not array.flags.aligned:
            array = array.copy()
        if kind in _RAW or _is_packed(kind):
            tensor = ov.Tensor(array, ov.Shape(feed[name].shape), kind)
        else:
            tensor = ov.Tensor(array, shared_memory=True)
        request.set_input_tensor(index, tensor)
        kept.append(array)
    return kept


def _is_packed(kind: Any) -> bool:
    """Tell whether several values of this element type share a byte."""
    return bool(kind.bitwidth < 8 and kind != ov.Type.boolean)


def _pack(array: np.ndarray, bits: int) -> np.ndarray:
    """Put values of less than a byte together, the first in a byte's lowest bits (ONNX's order)."""
    each = 8 // bits
    padded = np.zeros(-(-array.size // each) * each, np.uint8)
    padded[: array.size] = array.reshape(-1) & (2**bits - 1)
    shifts = np.arange(each, dtype=np.uint8) * np.uint8(bits)
    packed: np.ndarray = np.bitwise_or.reduce(padded.reshape(-1, each) << shifts, axis=1)
    return packed


def _unpack(content: np.ndarray, bits: int, shape: Tuple[int, ...]) -> np.ndarray:
    """Take bytes apart into values of less than a byte; inverse of `_pack`."""
    shifts = np.arange(8 // bits, dtype=np.uint8) * np.uint8(bits)
    flat = np.ascontiguousarray(content).view(np.uint8).reshape(-1)
    values: np.ndarray = (flat[:, np.newaxis] >> shifts) & np.uint8(2**bits - 1)
    return values.reshape(-1)[: int(np.prod(shape, dtype=np.int64))].reshape(shape)


def _steps(compiled: Any) -> List[Dict[str, Any]]:
    """Return the executed graph: name, kind, precision, primitive and origin of every step."""
    steps = []
    for op in compiled.get_runtime_model().get_ordered_ops():
        told = {key: str(value.astype(str)) for key, value in op.get_rt_info().items()}
        origins = told.get("originalLayersNames", "")
        steps.append(
            {
                "name": op.get_friendly_name(),
                "kind": told.get("layerType", op.get_type_name()),
                "precision": told.get("runtimePrecision", "").lower(),
                "primitive": told.get("primitiveType", ""),
                "origins": origins.split(",") if origins else [],
            }
        )
    return steps


def _precision(kind: str) -> str:
    """Return the usual word for OpenVINO's name of an element type: fp32 for f32, int8 for i8."""
    for short, usual in (("bf", "bf"), ("fp", "fp"), ("f", "fp"), ("i", "int"), ("u", "uint")):
        if kind.startswith(short) and kind[len(short) :].isdigit():
            return usual + kind[len(short) :]
    return kind


def _floats_by_type(steps: Sequence[Mapping[str, Any]]) -> Dict[str, List[str]]:
    """Return the names of the steps that compute with floats, by type."""
    found: Dict[str, List[str]] = {}
    for step in steps:
        kind = _FLOATS.get(step["precision"])
        if kind and step["kind"] not in _NO_WORK:
            found.setdefault(kind, []).append(step["name"])
    return found


def _primitives(steps: Sequence[Mapping[str, Any]]) -> Dict[str, int]:
    """Return how many steps each kind of kernel executes."""
    counts: Dict[str, int] = {}
    for step in steps:
        if step["kind"] not in _NO_WORK and step["primitive"]:
            counts[step["primitive"]] = counts.get(step["primitive"], 0) + 1
    return dict(sorted(counts.items()))


def _property(compiled: Any, name: str) -> Any:
    """Return a plain property, None where this plugin hasn't got it."""
    if name not in {str(one) for one in compiled.get_property("SUPPORTED_PROPERTIES")}:
        return None
    value = compiled.get_property(name)
    return value if isinstance(value, (bool, int, str)) else str(value)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" and %d more" % (len(names) - 3) if len(names) > 3 else "")


@contextmanager
def _plainly() -> Iterator[None]:
    """Raise OpenVINO's errors as RuntimeError with the sentence that matters first."""
    try:
        yield
    except Exception as error:
        foreign = isinstance(error, (RuntimeError, ValueError)) or (
            type(error).__module__.startswith("openvino")
        )
        if not foreign:
            raise
        raise RuntimeError(_message(str(error))) from error


def _message(text: str) -> str:
    """Return what was wrong, without the lines that only tell where in OpenVINO it was raised."""
    lines = [line.strip().lstrip("- ") for line in text.splitlines()]
    useful = [line for line in lines if line and not line.startswith(_NO_NEWS)]
    # "Check 'x == y' failed at file:12:" stands before its own explanation, if there is one.
    told = [line for line in useful if not line.startswith("Check '")] or useful
    return " ".join(told[:4]) or text.strip()


_NO_NEWS = (
    "Exception from ",
    "FrontEnd API failed with ",
    "Model wasn't fully converted",
    "Summary:",
    "To facilitate the conversion of unsupported operations",
)
