"""TVM where the engine is built and runs. Standard library, NumPy, onnx and tvm only, Python 3.8+.

ONNX → Relax → fused loop nests → a shared library. TVM's own CPU pipeline leaves the loop nests as
they were written, one scalar at a time on one thread (50 to 100 times slower than other runtimes).
Here each is scheduled by rule: channels last, the innermost axis in vectors, a tile of sums in
registers, the outer axes in parallel; tuning measures some tile sizes and keeps the fastest.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import platform
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

import numpy as np

NAME = "tvm"
LIBRARY, CONTRACT = "model.so", "contract.json"

# Instruction sets that crash a CPU without them: LLVM's name, and Linux' in /proc/cpuinfo.
X86_FEATURES = {
    "sse3": "pni", "ssse3": "ssse3", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "sse4a": "sse4a",
    "popcnt": "popcnt", "lzcnt": "abm", "bmi": "bmi1", "bmi2": "bmi2", "movbe": "movbe",
    "avx": "avx", "avx2": "avx2", "fma": "fma", "f16c": "f16c", "fma4": "fma4", "xop": "xop",
    "adx": "adx", "aes": "aes", "pclmul": "pclmulqdq", "gfni": "gfni", "sha": "sha_ni",
    "vaes": "vaes", "vpclmulqdq": "vpclmulqdq", "avxvnni": "avx_vnni", "avx512f": "avx512f",
    "avx512cd": "avx512cd", "avx512bw": "avx512bw", "avx512dq": "avx512dq", "avx512vl": "avx512vl",
    "avx512ifma": "avx512ifma", "avx512vbmi": "avx512vbmi", "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni", "avx512bf16": "avx512_bf16", "avx512fp16": "avx512_fp16",
    "avx512bitalg": "avx512_bitalg", "avx512vpopcntdq": "avx512_vpopcntdq",
    "amx-tile": "amx_tile", "amx-int8": "amx_int8", "amx-bf16": "amx_bf16",
}  # fmt: skip

# Below so many steps a loop nest is quicker on one thread than handed out to several.
_PARALLEL_FROM = 1 << 14
# Values of an iteration variable's kind in TVM's IterVar, and of a loop's in its For.
_SPATIAL, _SERIAL = 0, 0

Say = Callable[[str], None]


def describe(device: Optional[str]) -> Dict[str, str]:
    """Return what an engine that is built here is tied to."""
    if device not in (None, "cpu"):
        raise RuntimeError("TVM is driven on the CPU only here, not on %r" % device)
    tvm = _tvm()
    codegen = tvm.target.codegen
    return {
        "runtime": NAME,
        "version": str(tvm.__version__),
        "device": "cpu",
        "cpu": str(codegen.llvm_get_system_cpu()),
        "features": " ".join(sorted(_features_here(tvm))),
        "triple": str(codegen.llvm_get_system_triple()),
        "system": platform.system(),
        "machine": platform.machine(),
    }


def _tvm() -> Any:
    """Import TVM with what its thread pool and its caches must know first."""
    # Pinned threads meet on the same cores when two processes pin theirs.
    os.environ.setdefault("TVM_BIND_THREADS", "0")
    return importlib.import_module("tvm")


def _features_here(tvm: Any) -> Set[str]:
    """Return the instruction sets of this CPU by LLVM's names; empty where they can't be told.

    LLVM tells a CPU's name by its family and model; a hypervisor may hide some of its features.
    """
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    for line in text.splitlines():
        if line.startswith("flags"):
            flags = set(line.partition(":")[2].split())
            return {name for name, flag in X86_FEATURES.items() if flag in flags}
    return set()


def _target(tvm: Any, mcpu: str, threads: int) -> Any:
    """Return TVM's target: this CPU without the features that it hasn't got, or one by name."""
    codegen = tvm.target.codegen
    name = mcpu or str(codegen.llvm_get_system_cpu())
    if not codegen.llvm_is_valid_cpu(name, codegen.llvm_get_system_triple()):
        raise RuntimeError("LLVM knows no CPU %r; see `llc -mcpu=help`" % name)
    kind = {"kind": "llvm", "mcpu": name, "num-cores": threads}
    wanted = _features_of(tvm, tvm.target.Target(kind))
    missing = wanted - _features_here(tvm)
    if missing and not mcpu and platform.machine() in ("x86_64", "AMD64"):
        kind["mattr"] = ["-" + feature for feature in sorted(missing)]
    return tvm.target.Target(kind)


def _features_of(tvm: Any, target: Any) -> Set[str]:
    """Return the instruction sets that code for this target may use."""
    return set(map(str, tvm.target.codegen.llvm_get_cpu_features(target))) & set(X86_FEATURES)


# Building


def build(files: Dict[str, bytes], spec: Dict[str, Any], say: Say) -> Dict[str, Any]:
    """Compile an ONNX model into a shared library.

    Args:
        files: the model, and its external data by name.
        spec: "threads", "optimise", "mcpu" (None: this CPU), "tuning_seconds", and of the outputs
            in order "outputs" (names), "dtypes", "shapes" (None for what isn't known).
        say: told each phase.

    Returns:
        "files": the library, and the contract that a `Runner` needs to call it; "log"; "proof".
    """
    tvm = _tvm()
    _need_linker()
    model = _load(files)
    _refuse_unsupported(model)
    target = _target(tvm, spec.get("mcpu") or "", int(spec["threads"]))
    os.environ["TVM_NUM_THREADS"] = str(spec["threads"])
    tvm.get_global_func("runtime.config_threadpool")(1, int(spec["threads"]))
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), target:
        warnings.simplefilter("ignore")
        say("importing the model")
        module, names = _imported(model)
        _check_outputs(module, spec)
        compiler = _Compiler(tvm, target, say)
        library = compiler.compile(
            module, bool(spec["optimise"]), float(spec.get("tuning_seconds") or 0.0)
        )
    contract = {
        "inputs": names,
        "outputs": list(spec["outputs"]),
        "dtypes": list(spec["dtypes"]),
        "machine": platform.machine(),
        "system": platform.system(),
        "mcpu": str(target.attrs["mcpu"]),
        "features": sorted(_features_of(tvm, target)),
        "tvm": str(tvm.__version__),
    }
    return {
        "files": {LIBRARY: library, CONTRACT: json.dumps(contract, indent=1).encode()},
        "log": compiler.log,
        "proof": dict(compiler.proof, precision="fp32", device="cpu", mcpu=contract["mcpu"]),
    }


def _need_linker() -> None:
    if not any(shutil.which(name) for name in ("g++", "clang++", "c++", os.environ.get("CXX", ""))):
        raise RuntimeError(
            "TVM links its libraries with a C++ compiler, and there is none: install g++ or clang"
        )


def _load(files: Dict[str, bytes]) -> Any:
    """Return the model's protobuf with its weights inside, functions inlined, and all nodes named.

    A node without a name goes by its operator and first output.
    """
    onnx = importlib.import_module("onnx")
    with tempfile.TemporaryDirectory(prefix="roadworthy-tvm-") as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        model = onnx.load(str(Path(folder, next(iter(files)))))
    if model.functions:
        model = importlib.import_module("onnx.inliner").inline_local_functions(model)
    for node in _nodes(model.graph):
        node.name = node.name or "%s of %s" % (node.op_type, next(iter(node.output), "nothing"))
        if node.op_type == "Constant":
            _state_as_tensor(onnx, node)
    return model


def _state_as_tensor(onnx: Any, node: Any) -> None:
    """Turn a Constant's value_int, value_floats, … into the `value` that TVM's importer reads."""
    dtypes = {
        **dict.fromkeys(("value_int", "value_ints"), "int64"),
        **dict.fromkeys(("value_float", "value_floats"), "float32"),
    }
    for attribute in node.attribute:
        if attribute.name in dtypes:
            given = onnx.helper.get_attribute_value(attribute)
            tensor = onnx.numpy_helper.from_array(np.array(given, dtypes[attribute.name]))
            attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield all nodes, those of branches and bodies too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g] * attribute.HasField("g") + list(attribute.graphs):
                yield from _nodes(inner)


def _refuse_unsupported(model: Any) -> None:
    """Refuse operators that TVM's importer doesn't know, with the names of their nodes."""
    known = importlib.import_module("tvm.relax.frontend.onnx.onnx_frontend")._get_convert_map()
    unknown: Dict[str, List[str]] = {}
    for node in _nodes(model.graph):
        # The importer goes by the name alone, whatever the domain.
        foreign = node.domain not in ("", "ai.onnx")
        if foreign or (node.op_type not in known and node.op_type not in ("If", "Constant")):
            kind = "%s.%s" % (node.domain, node.op_type) if foreign else node.op_type
            unknown.setdefault(kind, []).append(node.name)
    if unknown:
        listed = ["%s (%s)" % (kind, _some(names)) for kind, names in sorted(unknown.items())]
        raise RuntimeError("TVM has no operator for: %s" % "; ".join(listed))


def _some(names: List[str]) -> str:
    shown = ", ".join("node %r" % name for name in names[:5])
    return shown + (" and %d more" % (len(names) - 5) if len(names) > 5 else "")


def _imported(model: Any) -> Tuple[Any, List[str]]:
    """Return the Relax module, and the input names in the order that its function takes them."""
    frontend = importlib.import_module("tvm.relax.frontend.onnx.onnx_frontend")
    current: List[str] = []

    class Importer(frontend.ONNXGraphImporter):  # type: ignore[misc,name-defined]  # untyped base
        def _convert_operator(self, op_name: str, inputs: Any, attrs: Any, opset: int) -> Any:
            name = attrs["tvm_custom"]["name"]
            current[:] = ["%s (node %r)" % (op_name, name)]
            converted = super()._convert_operator(op_name, inputs, attrs, opset)
            current.clear()
            return converted

    domains = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    importer = Importer({}, "float32")
    try:
        module = importer.from_onnx(model.graph, domains[0] if domains else 1)
    except Exception as error:  # the importer raises whatever its Python code runs into
        where = " at %s" % current[0] if current else ""
        raise RuntimeError("TVM can't import the model%s: %s" % (where, _said(error))) from error
    return module, list(importer._input_names)


def _check_outputs(module: Any, spec: Dict[str, Any]) -> None:
    """Refuse a module whose outputs the importer got wrong, as far as types and shapes tell."""
    returned = module["main"].ret_ty
    types = list(returned.fields) if hasattr(returned, "fields") else [returned]
    for name, dtype, shape, got in zip(spec["outputs"], spec["dtypes"], spec["shapes"], types):
        if not hasattr(got, "dtype") or str(got.dtype) == "":
            continue
        sizes = None if getattr(got, "shape", None) is None else list(got.shape)
        known = [int(size) if hasattr(size, "value") else None for size in sizes or []]
        differs = str(got.dtype) != dtype
        if shape is not None and sizes is not None:
            pairs = list(zip(known, shape))
            differs |= len(known) != len(shape)
            differs |= any(None not in pair and pair[0] != pair[1] for pair in pairs)
        if differs:
            raise RuntimeError(
                "TVM would give output %r as %s%s, the model says %s%s"
                % (name, got.dtype, known, dtype, "" if shape is None else list(shape))
            )


def _said(error: BaseException) -> str:
    """Return the telling line of an exception: TVM's carry whole programs and C++ traces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    return "%s: %s" % (type(error).__name__, text[:300]) if text else type(error).__name__


def _is_foreign(error: BaseException) -> bool:
    """Tell what TVM raised (any class at all: much of it is Python) from our own defects."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") != __name__


class _Compiler:
    """From a Relax module to a library, with an account of what was done to each function."""

    def __init__(self, tvm: Any, target: Any, say: Say) -> None:
        self.tvm = tvm
        self.relax = importlib.import_module("tvm.relax")
        self.target = target
        self.say = say
        self.log: List[str] = []
        self.proof: Dict[str, Any] = {}
        features = _features_of(tvm, target)
        if "avx512f" in features:
            self.scheduler = _Scheduler(tvm, 16, 24)
        else:
            self.scheduler = _Scheduler(tvm, 8 if "avx" in features else 4, 12)

    def compile(self, module: Any, optimise: bool, tuning_seconds: float) -> bytes:
        """Lower, schedule, tune, link; returns the library."""
        self.say("lowering")
        try:
            module = self._lowered(module, optimise)
            if optimise:
                module = self._scheduled(module, tuning_seconds)
            else:
                self.proof["schedule"] = "none"
            self.say("generating code")
            return self._linked(module)
        except Exception as error:
            if not _is_foreign(error):
                raise
            raise RuntimeError("TVM can't compile the model: %s" % _said(error)) from error

    def _lowered(self, module: Any, optimise: bool) -> Any:
        """Return the module as calls of fused loop nests, convolutions with channels last."""
        t = self.relax.transform
        module = self._run(module, [t.DecomposeOpsForInference(), t.FoldConstant()])
        if optimise:
            layouts = {"relax.nn.conv2d": ["NHWC", "HWIO"]}
            legal = t.LegalizeOps({"relax.nn.conv2d_transpose": self._legal_transpose})
            try:
                module = self._run(
                    module,
                    [t.ConvertLayout(layouts), t.CanonicalizeBindings(), t.FoldConstant(), legal],
                )
            except Exception as error:  # a pass of TVM's that fails is left out, and that is said
                self.log.append("channels stay first: %s" % _said(error))
        sampling, sorting = self.relax.backend.DispatchSampling, self.relax.backend.DispatchSortScan
        return self._run(
            module,
            [
                *(sampling(), sorting(), t.LegalizeOps(), t.AnnotateTIROpPattern()),
                *(t.FoldConstant(), t.FuseOps(), t.FuseTIR(), t.DeadCodeElimination()),
            ],
        )

    def _run(self, module: Any, passes: List[Any]) -> Any:
        return self.tvm.transform.Sequential(passes)(module)

    def _linked(self, module: Any) -> bytes:
        generic = importlib.import_module("tvm.relax.backend.cpu_generic.pipeline")
        last = [
            *generic.dataflow_lower_passes(self.target),
            *generic.finalize_passes(self.target),
        ]
        pipeline = self.tvm.transform.Sequential(last)
        executable = self.tvm.compile(module, self.target, relax_pipeline=pipeline)
        with tempfile.TemporaryDirectory(prefix="roadworthy-tvm-") as folder:
            path = Path(folder, LIBRARY)
            self.say("linking")
            executable.export_library(str(path))
            return path.read_bytes()

    def _scheduled(self, module: Any, tuning_seconds: float) -> Any:
        """Return the module with every function scheduled, tuned as far as the budget goes."""
        functions = [
            (name, function)
            for name, function in module.functions.items()
            if isinstance(function, self.tvm.tirx.PrimFunc)
        ]
        done = {}
        counts = {"tiled": 0, "parallel": 0, "plain": 0}
        for name, function in functions:
            done[name] = self.scheduler.schedule(function)
            counts[done[name].kind] += 1
            if done[name].note:
                self.log.append("%s stays plain: %s" % (name.name_hint, done[name].note))
        self.proof["schedule"] = "rules"
        self.proof["functions"] = dict(counts, all=len(functions))
        tuner = _Tuner(self.tvm, self.target, self.scheduler, self.say)
        tunable = {
            name: (function, done[name])
            for name, function in functions
            if done[name].kind == "tiled" and self._is_static(function)
        }
        best = tuner.tune(tunable, tuning_seconds) if tuning_seconds > 0 else {}
        self.proof["tuning"] = tuner.account(len(tunable))
        for name, _ in functions:
            module.update_func(name, best.get(name, done[name].function))
        return module

    def _is_static(self, function: Any) -> bool:
        """Tell whether all parameters are arrays of known sizes, so that it can be measured."""
        sizes = [size for one in function.params for size in getattr(one, "shape", [None])]
        return all(isinstance(size, (int, self.tvm.tirx.IntImm)) for size in sizes)

    def _legal_transpose(self, builder: Any, call: Any) -> Any:
        """Lower a transposed convolution, channels last, to a convolution per output phase.

        With stride s, output y gathers inputs (y+p)//s - t with kernel rows (y+p)%s + t·s, for t
        below ceil(k/s); TVM's own lowering multiplies by the zeros between the inputs instead.
        """
        topi, te = importlib.import_module("tvm.topi"), importlib.import_module("tvm.te")
        attrs, (data, weight) = call.attrs, call.args
        if attrs.data_layout != "NHWC" or int(attrs.groups) != 1:
            raise RuntimeError("grouped transposed convolution")
        if [int(d) for d in attrs.dilation] != [1, 1]:
            raise RuntimeError("dilated transposed convolution")
        (sh, sw), (ph, pw) = map(int, attrs.strides), tuple(map(int, attrs.padding))[:2]
        batch, height, width, channels = map(int, data.ty.shape)
        _, filters, kh, kw = map(int, weight.ty.shape)
        _, out_h, out_w, _ = map(int, call.ty.shape)
        th, tw = -(-kh // sh), -(-kw // sw)
        below = max(0, (out_h - 1 + ph) // sh - (height - 1))
        right = max(0, (out_w - 1 + pw) // sw - (width - 1))

        def compute(x: Any, kernel: Any) -> Any:
            if (th * sh, tw * sw) != (kh, kw):
                kernel = topi.nn.pad(kernel, [0] * 4, [th * sh - kh, tw * sw - kw, 0, 0])
            if th > 1 or tw > 1 or below or right:
                x = topi.nn.pad(x, [0, th - 1, tw - 1, 0], [0, below, right, 0])
            a, b = te.reduce_axis((0, th)), te.reduce_axis((0, tw))
            c = te.reduce_axis((0, channels))

            def one(n: Any, i: Any, j: Any, f: Any) -> Any:
                row, column = (i + ph) // sh - a + th - 1, (j + pw) // sw - b + tw - 1
                taps = kernel[(i + ph) % sh + a * sh, (j + pw) % sw + b * sw, c, f]
                return te.sum(x[n, row, column, c] * taps, axis=[a, b, c])

            return te.compute((batch, out_h, out_w, filters), one, name="conv2d_transpose")

        moved = builder.emit(self.relax.op.permute_dims(weight, [2, 3, 0, 1]))
        return builder.call_te(compute, data, moved, primfunc_name_hint="conv2d_transpose")


# Scheduling


class Tile(NamedTuple):
    """How sums are tiled: vector elements, vectors held in registers, which loop is outermost."""

    vector: int
    registers: int
    channels_outer: bool


class Scheduled(NamedTuple):
    """A scheduled function: "tiled" (vectors, registers, threads), "parallel" or "plain"."""

    function: Any
    kind: str
    note: str = ""
    steps: int = 0


class _Scheduler:
    """The rules. They never change what is computed, nor the order in which anything is summed."""

    def __init__(self, tvm: Any, lanes: int, registers: int) -> None:
        self.tvm = tvm
        self.s_tir = importlib.import_module("tvm.s_tir")
        self.undefined = importlib.import_module("tvm.tirx.analysis").undefined_vars
        self.lanes = lanes
        self.default = Tile(2 * lanes, registers, True)

    def tiles(self) -> List[Tile]:
        """Return what tuning tries beside the default."""
        most = self.default.registers
        return [
            Tile(vectors * self.lanes, registers, outer)
            for outer in (True, False)
            for vectors in (1, 2, 4)
            for registers in (most, most // 2, most // 4)
            if Tile(vectors * self.lanes, registers, outer) != self.default
        ]

    def schedule(self, function: Any, tile: Optional[Tile] = None) -> Scheduled:
        """Return the function scheduled; as it was where TVM refuses a step."""
        try:
            return self._schedule(function, tile or self.default)
        except self.s_tir.schedule.ScheduleError as error:
            lines = [line for line in str(error).splitlines() if line.startswith("Error message")]
            return Scheduled(function, "plain", lines[0] if lines else _said(error))

    def _schedule(self, function: Any, tile: Tile) -> Scheduled:
        sch = self.s_tir.Schedule(function)
        self._inline(sch)
        kinds, steps = [], 0
        blocks = self._blocks(sch)
        for block in blocks:
            if not self._is_map(sch, block):
                kinds.append(self._reduction(sch, block, tile))
                steps += self._steps(sch, sch.get_loops(block))
        for block in self._blocks(sch):
            loops = sch.get_loops(block)
            untouched = all(int(sch.get(loop).kind) == _SERIAL for loop in loops)
            if self._is_map(sch, block) and untouched:
                kinds.append(self._map(sch, block))
        best = "tiled" if "tiled" in kinds else "parallel" if "parallel" in kinds else "plain"
        return Scheduled(sch.mod["main"], best, "", steps)

    def _blocks(self, sch: Any) -> List[Any]:
        return list(sch.get_child_blocks(sch.get_sblock("root")))

    def _is_map(self, sch: Any, block: Any) -> bool:
        """Tell whether a block computes each element by itself."""
        return all(int(var.iter_type) == _SPATIAL for var in sch.get(block).iter_vars)

    def _sizes(self, sch: Any, loops: List[Any]) -> List[int]:
        """Return the loops' extents; 0 for one that isn't known yet."""
        extents = [sch.get(loop).extent for loop in loops]
        return [int(e) if isinstance(e, (int, self.tvm.tirx.IntImm)) else 0 for e in extents]

    def _steps(self, sch: Any, loops: List[Any]) -> int:
        """Return how often the innermost statement runs; what isn't known counts as 64."""
        return int(np.prod([size or 64 for size in self._sizes(sch, loops)], dtype=np.int64))

    def _inline(self, sch: Any) -> None:
        """Compute elementwise steps where they are used; not inside sums, where each term would."""
        changed = True
        while changed:
            changed = False
            for block in self._blocks(sch):
                users = sch.get_consumers(block)
                if not users or not all(self._is_map(sch, b) for b in [block, *users]):
                    continue
                try:
                    sch.compute_inline(block)
                except self.s_tir.schedule.ScheduleError:
                    continue
                changed = True
                break

    def _parallel(self, sch: Any, loops: List[Any], steps: int) -> str:
        if not loops or steps < _PARALLEL_FROM:
            return "plain"
        sch.parallel(sch.fuse(*loops) if len(loops) > 1 else loops[0])
        return "parallel"

    def _map(self, sch: Any, block: Any) -> str:
        """Hand the outer loops to threads; LLVM turns the innermost into vectors by itself."""
        loops = sch.get_loops(block)
        steps = self._steps(sch, loops)
        if len(loops) == 1 and steps >= _PARALLEL_FROM:
            size = self._sizes(sch, loops)[0]
            chunk = _divisor(size, 4096)
            if chunk >= 64:
                loops = list(sch.split(loops[0], [None, chunk]))
        return self._parallel(sch, loops[:-1], steps)

    def _reduction(self, sch: Any, block: Any, tile: Tile) -> str:
        """Tile a sum (product, maximum, …): a block of results in registers, threads outside."""
        statement = sch.get(block)
        spatial = [int(var.iter_type) == _SPATIAL for var in statement.iter_vars]
        loops = sch.get_loops(block)
        if len(loops) != len(spatial) or not any(spatial):
            return "plain"
        outer = [loop for loop, keep in zip(loops, spatial) if keep]
        inner = [loop for loop, keep in zip(loops, spatial) if not keep]
        steps = self._steps(sch, loops)
        ordered = spatial == sorted(spatial, reverse=True)
        width = self._width(sch, statement, outer, tile) if ordered and inner else 0
        if width < 4:
            return self._parallel(sch, outer, steps) if ordered else "plain"
        return self._tiled(sch, block, outer, inner, width, tile, steps)

    def _width(self, sch: Any, statement: Any, outer: List[Any], tile: Tile) -> int:
        """Return how many neighbours to compute in one vector; 0 where they don't lie together."""
        last = [v for v in statement.iter_vars if int(v.iter_type) == _SPATIAL][-1].var
        for read in statement.reads:
            for axis in list(read.region)[:-1]:
                if any(var.same_as(last) for var in self.undefined(axis.min)):
                    return 0
        if len(statement.writes) != 1:
            return 0
        size = self._sizes(sch, outer)[-1]
        return _divisor(size, tile.vector, self.lanes) or _divisor(size, tile.vector)

    def _tiled(
        self, sch: Any, block: Any, outer: List[Any], inner: List[Any], width: int, tile: Tile,
        steps: int,
    ) -> str:  # fmt: skip
        writer = self._writer(sch, block, outer)
        *others, last = outer
        vectors, lane = sch.split(last, [None, width])
        held: List[Any] = []
        if others:
            size = self._sizes(sch, [others[-1]])[0]
            rows = _divisor(size, max(1, tile.registers // -(-width // self.lanes))) if size else 1
            row, kept = sch.split(others.pop(), [None, rows])
            held = [kept]
            others = [*others, row]
        # Channels outside: their weights stay in the cache while the pixels pass.
        first = others[:-2] if tile.channels_outer else others
        outside = [*first, vectors, *others[len(first) :]]
        sch.reorder(*outside, *inner, *held, lane)
        writer = writer or sch.cache_write(block, 0, "local")
        sch.reverse_compute_at(writer, outside[-1])
        if self._sizes(sch, sch.get_loops(writer)[-1:]) == [width]:
            sch.vectorize(sch.get_loops(writer)[-1])
        sch.vectorize(lane)
        for loop in held:
            sch.unroll(loop)
        self._parallel(sch, outside, steps)
        sch.decompose_reduction(block, inner[0])
        return "tiled"

    def _writer(self, sch: Any, block: Any, outer: List[Any]) -> Any:
        """Return the elementwise block that turns the sums into results, if there is just one."""
        users = sch.get_consumers(block)
        if len(users) != 1 or not self._is_map(sch, users[0]) or sch.get_consumers(users[0]):
            return None
        sizes = self._sizes(sch, outer)
        if 0 in sizes or self._sizes(sch, sch.get_loops(users[0])) != sizes:
            return None
        sch.set_scope(block, 0, "local")
        return users[0]


def _divisor(size: int, limit: int, multiple: int = 1) -> int:
    """Return the largest divisor of `size` up to `limit` that is a multiple; 0 if there is none."""
    top = min(size, limit)
    return next((d for d in range(top, 0, -1) if size % d == 0 and d % multiple == 0), 0)


# Tuning


class _Tuner:
    """Measures tiles, the costliest functions first, until the time is used up."""

    def __init__(self, tvm: Any, target: Any, scheduler: _Scheduler, say: Say) -> None:
        self.tvm, self.target, self.scheduler, self.say = tvm, target, scheduler, say
        self.budget = self.seconds = 0.0
        self.measured = self.tuned = self.improved = 0

    def account(self, functions: int) -> Dict[str, Any]:
        """Return what was done, of how many functions, as plain data."""
        return {
            "budget_seconds": self.budget,
            "seconds": round(self.seconds, 1),
            "candidates_measured": self.measured,
            "functions": functions,
            "functions_tuned": self.tuned,
            "functions_improved": self.improved,
        }

    def tune(self, functions: Dict[Any, Tuple[Any, Scheduled]], seconds: float) -> Dict[Any, Any]:
        """Return the functions for which something faster was found."""
        start = time.monotonic()
        self.budget, best = seconds, {}
        costly = sorted(functions, key=lambda name: -functions[name][1].steps)
        for count, name in enumerate(costly, 1):
            if time.monotonic() - start >= seconds:
                break
            plain, now = functions[name]
            first, fastest, found = self._fastest(plain, now, start + seconds)
            if found is not None:
                best[name] = found
            self.say(
                "tuning %d of %d, %s: %.3f ms, was %.3f ms"
                % (count, len(costly), name.name_hint, fastest * 1e3, first * 1e3)
            )
        self.seconds = time.monotonic() - start
        return best

    def _fastest(self, plain: Any, now: Scheduled, until: float) -> Tuple[float, float, Any]:
        """Return the rule's time, the best one, and the function that takes it if it is another."""
        arguments = self._arguments(plain)
        best = self._call(now.function)
        first = fastest = self._seconds(best, arguments)
        seen, found = {str(now.function)}, None
        for tile in self.scheduler.tiles():
            if time.monotonic() >= until:
                break
            tried = self.scheduler.schedule(plain, tile)
            if tried.kind != "tiled" or str(tried.function) in seen:
                continue
            seen.add(str(tried.function))
            call = self._call(tried.function)
            took = self._seconds(call, arguments)
            if took < fastest:
                # The best so far may have met a busy moment: it is measured again beside this one.
                fastest = min(fastest, self._seconds(best, arguments))
            if took < 0.97 * fastest:  # less is noise
                best, fastest, found = call, took, tried.function
        else:
            self.tuned += 1
        self.improved += found is not None
        return first, fastest, found

    def _arguments(self, function: Any) -> List[Any]:
        """Return arrays of the parameters' shapes; zeros, so that indices are valid."""
        tensors = []
        for buffer in function.params:
            shape = [int(size) for size in buffer.shape]
            tensors.append(self.tvm.runtime.tensor(np.zeros(shape, str(buffer.dtype))))
        return tensors

    def _call(self, function: Any) -> Any:
        """Compile one function by itself."""
        self.measured += 1
        module = self.tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
        return self.tvm.compile(module, self.target)["main"]

    def _seconds(self, call: Any, arguments: List[Any]) -> float:
        """Return the best time of several calls."""
        call(*arguments)
        times: List[float] = []
        while len(times) < 5 or (sum(times) < 0.03 and len(times) < 100):
            start = time.perf_counter()
            call(*arguments)
            times.append(time.perf_counter() - start)
        return min(times)


# Running


class Runner:
    """One library, loaded. Refuses before loading what this CPU would crash on."""

    def __init__(self, files: Dict[str, bytes], spec: Dict[str, Any]) -> None:
        tvm = _tvm()
        contract = json.loads(files[CONTRACT].decode())
        _check_fits(tvm, contract)
        os.environ["TVM_NUM_THREADS"] = str(spec["threads"])
        if not spec.get("spinning", True):
            os.environ["TVM_THREAD_POOL_SPIN_COUNT"] = "0"
        tvm.get_global_func("runtime.config_threadpool")(1, int(spec["threads"]))
        relax = importlib.import_module("tvm.relax")
        self._folder = tempfile.TemporaryDirectory(prefix="roadworthy-tvm-")
        path = Path(self._folder.name, LIBRARY)
        path.write_bytes(files[LIBRARY])
        self._tensor = tvm.runtime.tensor
        self._inputs: List[str] = contract["inputs"]
        self._outputs: List[Tuple[str, str]] = list(zip(contract["outputs"], contract["dtypes"]))
        with _plainly("can't open the library"):
            machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
            self._call: Any = machine["main"]

    def run(self, feed: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Run once. TVM gets copies, aligned as it wants them, and its results are copied out."""
        with _plainly("failed"):
            results = self._call(*[self._tensor(feed[name]) for name in self._inputs])
            results = [results] if len(self._outputs) == 1 else list(results)
            answers = {}
            for (name, dtype), result in zip(self._outputs, results):
                answers[name] = _array(name, dtype, result)
        return answers

    def time(self, feed: Dict[str, np.ndarray], runs: int, lead: int) -> Dict[str, List[int]]:
        """Time end to end ("host"), and TVM's call alone ("device"), in nanoseconds."""
        times: Dict[str, List[int]] = {"host": [], "device": []}
        tensors = [self._tensor(feed[name]) for name in self._inputs]
        for count in range(lead + runs):
            start = time.perf_counter_ns()
            self.run(feed)
            middle = time.perf_counter_ns()
            self._call(*tensors)
            end = time.perf_counter_ns()
            if count >= lead:
                times["host"].append(middle - start)
                times["device"].append(end - middle)
        return times

    def close(self) -> None:
        """Give the library back."""
        self._call = None
        self._folder.cleanup()


def _array(name: str, dtype: str, result: Any) -> np.ndarray:
    """Return a result as an array of its own."""
    array = result.numpy() if hasattr(result, "numpy") else np.array(list(result), np.int64)
    if array.dtype.name != dtype:
        raise RuntimeError(
            "TVM gave output %r as %s, the model says %s" % (name, array.dtype, dtype)
        )
    return np.array(array)


@contextlib.contextmanager
def _plainly(what: str) -> Iterator[None]:
    """Turn TVM's exceptions, which carry C++ traces, into one line."""
    try:
        yield
    except Exception as error:  # TVM's own classes, and whatever its bindings raise
        if type(error) is RuntimeError and str(error).startswith("TVM"):
            raise
        raise RuntimeError("TVM %s: %s" % (what, _said(error))) from error


def _check_fits(tvm: Any, contract: Dict[str, Any]) -> None:
    """Refuse a library for another kind of machine: it would die of an illegal instruction."""
    for key, here in (("machine", platform.machine()), ("system", platform.system())):
        if contract[key] != here:
            raise RuntimeError(
                "the library was built for %s, this is %s; build it here" % (contract[key], here)
            )
    if contract["tvm"] != str(tvm.__version__):
        raise RuntimeError(
            "the library was built by TVM %s, this is %s; build it anew"
            % (contract["tvm"], tvm.__version__)
        )
    missing = set(contract["features"]) - _features_here(tvm)
    if missing:
        raise RuntimeError(
            "the library was built for %s and needs %s, which this CPU hasn't got; build it here, "
            "or with the option mcpu=x86-64-v2" % (contract["mcpu"], ", ".join(sorted(missing)))
        )
