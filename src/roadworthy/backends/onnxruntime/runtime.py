"""ONNX Runtime where the engine runs. Standard library, NumPy and onnxruntime only, Python 3.8+.

Arrays of element types that NumPy lacks come and go as unsigned integers of the same bits, one per
element: uint16 for bfloat16, uint8 for 8 bits and below (a 4-bit value in the low bits).
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import statistics
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

import numpy as np

# Newer builds keep a telemetry store in the user's home unless told not to before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

NAME = "onnxruntime"
# What `build` calls the graph that is executed.
OPTIMISED = "optimised.onnx"
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
    """Open the model once, so that a refusal comes now; the engine is the model itself.

    The file `OPTIMISED` among the files isn't part of it: the graph that is really executed,
    without its large weights. Where ONNX Runtime can't write that, the log says why.
    """
    with tempfile.TemporaryDirectory(prefix="roadworthy-") as folder:
        path = Path(folder, OPTIMISED)
        try:
            runner = Runner(files, spec, keep_graph=path)
            log, executed = [], {OPTIMISED: path.read_bytes()}
        except Exception as error:  # if the model is at fault, it fails again
            runner = Runner(files, spec)
            log, executed = ["the optimised graph can't be written: %s" % error], {}
    provider = runner.session.get_providers()[0]
    runner.close()
    return {"files": {**files, **executed}, "log": log, "proof": {"provider": provider}}


class Runner:
    """One ONNX Runtime session over in-memory files.

    `spec`: "device" (None is the CPU), "threads" (None takes what the process may use),
    "optimise", "spinning".
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        spec: Mapping[str, Any],
        keep_graph: Optional[Path] = None,
    ) -> None:
        """Open the session; `keep_graph` is where to write the graph that it executes."""
        self._files, self._spec = files, spec
        self._provider = PROVIDERS[spec.get("device") or "cpu"]
        options = self._options()
        if keep_graph is not None:
            _keep_graph(options, keep_graph)
        self.session = self._opened(options)
        self.outputs = [output.name for output in self.session.get_outputs()]
        self._foreign_inputs = _foreign(self.session.get_inputs())
        self._foreign_outputs = _foreign(self.session.get_outputs())

    def _options(self) -> ort.SessionOptions:
        options = session_options(
            self._spec.get("threads") or _affinity(),
            self._spec.get("optimise", True),
            self._spec.get("spinning", True),
            self._provider,
        )
        if not self._spec.get("arena", True):
            # Memory goes back after each run: many sessions would each keep their own peak.
            options.enable_cpu_mem_arena = False
            options.enable_mem_pattern = False
        return options

    def _opened(self, options: ort.SessionOptions) -> ort.InferenceSession:
        """Open a session on the provider that was asked for, and on no other."""
        providers: List[Any] = [self._provider]
        if self._provider == "CUDAExecutionProvider":
            # FP32 means FP32 here.
            providers = [(self._provider, {"use_tf32": "0"})]
        session = _open(self._files, options, providers)
        # Otherwise a provider that fails while running is replaced by another in silence.
        session.disable_fallback()
        got = session.get_providers()
        if got[0] != self._provider:
            raise RuntimeError(
                "asked for %s, but the session runs on %s" % (self._provider, ", ".join(got))
            )
        return session

    def run(self, feed: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Run once. The results own their memory: ONNX Runtime allocates them for each call."""
        return self._run(self.session, feed)

    def _run(self, session: ort.InferenceSession, feed: Dict[str, Any]) -> Dict[str, np.ndarray]:
        if self._foreign_inputs:
            feed = {
                name: _ort_value(array, *self._foreign_inputs[name])
                if name in self._foreign_inputs
                else array
                for name, array in feed.items()
            }
        if self._foreign_outputs:
            return self._run_bound(session, feed)
        return dict(zip(self.outputs, session.run(self.outputs, feed)))

    def _run_bound(
        self, session: ort.InferenceSession, feed: Dict[str, Any]
    ) -> Dict[str, np.ndarray]:
        """Run with outputs that `session.run` can't turn into NumPy arrays: copy their bytes."""
        binding = session.io_binding()
        for name, value in feed.items():
            if isinstance(value, ort.OrtValue):
                binding.bind_ortvalue_input(name, value)
            else:
                binding.bind_cpu_input(name, value)
        for name in self.outputs:
            binding.bind_output(name, "cpu")
        session.run_with_iobinding(binding)
        answers = {}
        for name, value in zip(self.outputs, binding.get_outputs()):
            if name in self._foreign_outputs:
                answers[name] = _raw_array(value, self._foreign_outputs[name][1])
            else:
                # A copy: a bound result may share an input's memory.
                answers[name] = np.array(value.numpy())
        return answers

    def profile(self, feed: Dict[str, np.ndarray], runs: int) -> List[Dict[str, Any]]:
        """Return the executed nodes with their median time, in the order of execution.

        A session of its own has the profiler, so that `run` stays as fast as it is. Times come in
        whole microseconds. A row has also what tells where a fused node came from: "index" (of the
        node in the graph), "inside" (the If, Loop or Scan that executed it, else empty), and the
        names of its "inputs" and "outputs" in the optimised graph (empty where it can't be told).
        """
        if self._provider != "CPUExecutionProvider":
            raise RuntimeError(
                "ONNX Runtime's profiler tells how long kernels take to launch on %s, not to run"
                % self._provider
            )
        with tempfile.TemporaryDirectory(prefix="roadworthy-") as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder, "profile"))
            graph = Path(folder, OPTIMISED)
            _keep_graph(options, graph)
            session = self._opened(options)
            try:
                for _ in range(runs + 1):
                    self._run(session, feed)
            finally:
                # It writes the file, which must not come after the folder is gone.
                trace = Path(session.end_profiling())
                del session
            events = json.loads(trace.read_text(encoding="utf-8"))
            nodes = _tensors_by_node(graph.read_bytes())
        return _rows(_by_run(events, runs), nodes)

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


# Operators that execute a graph of their own: their time contains that of the nodes in it.
_CONTAINERS = {"If", "Loop", "Scan", "SequenceMap"}
# ONNX Runtime's word for an element type, and ours. What isn't here keeps its name.
_TYPES = {"float": "fp32", "double": "fp64", "float16": "fp16", "bfloat16": "bf16"}
_SUFFIX = "_kernel_time"

Tensors = Dict[str, Tuple[List[str], List[str]]]


def _keep_graph(options: ort.SessionOptions, path: Path) -> None:
    """Have the session write what it really executes; the weights beside it, to be thrown away."""
    options.optimized_model_filepath = str(path)
    for key, value in (("file_name", path.name + ".weights"), ("min_size_in_bytes", "64")):
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_" + key, value
        )


def _by_run(events: List[Dict[str, Any]], runs: int) -> List[List[Dict[str, Any]]]:
    """Return the node events of each run but the first, which warms up; they end with the run's."""
    found: List[List[Dict[str, Any]]] = [[]]
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(_SUFFIX):
            found[-1].append(event)
        elif event["name"] == "model_run":
            found.append([])
    if len(found) != runs + 2:
        # Its buffer holds a million events.
        raise RuntimeError(
            "ONNX Runtime's profiler kept %d of %d runs: ask for fewer" % (len(found) - 2, runs)
        )
    return found[1:-1]


def _rows(runs: List[List[Dict[str, Any]]], nodes: Tensors) -> List[Dict[str, Any]]:
    """Return one row per executed node; what a node took several times in a run is added up."""
    taken: Dict[Tuple[str, str], List[float]] = {}
    told: Dict[Tuple[str, str], Dict[str, Any]] = {}
    for number, run in enumerate(runs):
        for inside, event, own in _owned(run):
            key = (inside, event["name"][: -len(_SUFFIX)])
            told.setdefault(key, event["args"])
            taken.setdefault(key, [0.0] * len(runs))[number] += own
    medians = {key: statistics.median(values) for key, values in taken.items()}
    total = sum(medians.values()) or 1.0
    rows = []
    for (inside, name), median in medians.items():
        args = told[inside, name]
        inputs, outputs = ([], []) if inside else nodes.get(name, ([], []))
        rows.append(
            {
                "name": name,
                "onnx": [],
                "kind": args["op_name"],
                "precision": _precision(args),
                "tactic": args["provider"],
                "median_us": median,
                "share": median / total,
                "index": int(args["node_index"]),
                "inside": inside,
                "inputs": inputs,
                "outputs": outputs,
            }
        )
    return rows


def _owned(run: List[Dict[str, Any]]) -> List[Tuple[str, Dict[str, Any], float]]:
    """Return (container, event, microseconds without what it contains) in the order of starts.

    Events are written when they end: those that started within a container stand before it.
    """
    done: List[Tuple[str, Dict[str, Any], float]] = []
    for event in run:
        own = float(event["dur"])
        first = len(done)
        if event["args"]["op_name"] in _CONTAINERS:
            while first and done[first - 1][1]["ts"] >= event["ts"]:
                first -= 1
            inner, name = done[first:], event["name"][: -len(_SUFFIX)]
            own = max(0.0, own - sum(row[2] for row in inner))
            done[first:] = [
                (name + "/" + inside if inside else name, e, t) for inside, e, t in inner
            ]
        done.insert(first, ("", event, own))
    return done


def _precision(args: Mapping[str, Any]) -> str:
    """Return the element type of a node's first input, else of its first output."""
    for side in ("input_type_shape", "output_type_shape"):
        for kinds in args.get(side, ()):
            for kind in kinds:
                return str(_TYPES.get(kind, kind))
    return ""


def _tensors_by_node(model: bytes) -> Tensors:
    """Return inputs and outputs by node name, for the names that only one node has.

    Reads the protocol buffers themselves, as there need be no onnx here: ModelProto.graph is field
    7, GraphProto.node 1, and NodeProto's input, output and name are 1, 2 and 3 (onnx.proto).
    """
    found: Tensors = {}
    twice = {""}
    for graph in (part for field, part in _fields(memoryview(model)) if field == 7):
        for node in (part for field, part in _fields(graph) if field == 1):
            texts: Dict[int, List[str]] = {1: [], 2: [], 3: []}
            for field, part in _fields(node):
                if field in texts:
                    texts[field].append(bytes(part).decode("utf-8", "replace"))
            name = "".join(texts[3])
            if name in found:
                twice.add(name)
            found[name] = texts[1], texts[2]
    return {name: tensors for name, tensors in found.items() if name not in twice}


def _fields(message: memoryview) -> Iterator[Tuple[int, memoryview]]:
    """Yield number and content of a message's fields that have a length."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        size = {0: 0, 1: 8, 5: 4}.get(tag & 7)
        if size is None:
            size, at = _varint(message, at)
            yield tag >> 3, message[at : at + size]
        elif not tag & 7:
            _, at = _varint(message, at)
        at += size


def _varint(message: memoryview, at: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, at
