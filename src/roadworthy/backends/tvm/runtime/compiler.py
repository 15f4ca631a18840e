"""From a Relax module to a shared library: lowered, scheduled, tuned, linked."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List

from .arithmetic import dtypes_of
from .choice import kept, opened
from .contract import LIBRARY
from .failure import is_foreign, said
from .machine import features_of
from .schedules import Scheduler
from .tuning import Tuner


class Compiler:
    """From a Relax module to a library, with an account of what was done to each function."""

    def __init__(self, tvm: Any, target: Any, say: Callable[[str], None]) -> None:
        self.tvm = tvm
        self.relax = importlib.import_module("tvm.relax")
        self.target = target
        self.say = say
        self.log: List[str] = []
        self.proof: Dict[str, Any] = {}
        self.features = features = features_of(tvm, target)
        if "avx512f" in features:
            self.scheduler = Scheduler(tvm, 16, 24)
        else:
            self.scheduler = Scheduler(tvm, 8 if "avx" in features else 4, 12)

    def compile(self, module: Any, optimise: bool, tuning_seconds: float) -> bytes:
        """Lower, schedule, tune, link; returns the library."""
        self.say("lowering")
        try:
            module = self._lowered(module, optimise)
            self.proof["layers"] = dtypes_of(self.tvm, module, self.features)
            if not optimise:
                self.proof["schedule"] = "none"
                return self._linked(module)
            tunable = self._schedule(module)
            library = self._linked(module)
            return self._tuned(module, tunable, library, tuning_seconds)
        except Exception as error:
            if not is_foreign(error):
                raise
            raise RuntimeError("TVM can't compile the model: %s" % said(error)) from error

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
                self.log.append("channels stay first: %s" % said(error))
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
        self.say("generating code")
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

    def _schedule(self, module: Any) -> Dict[Any, Any]:
        """Schedule every function by rule; return those that can be tuned, as they were and are."""
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
        for name, _ in functions:
            module.update_func(name, done[name].function)
        return {
            name: (function, done[name])
            for name, function in functions
            if done[name].kind == "tiled" and self._is_static(function)
        }

    def _tuned(self, module: Any, tunable: Dict[Any, Any], library: bytes, seconds: float) -> bytes:
        """Return the library tuned as far as the time goes, or the rule's where that is faster."""
        tuner = Tuner(self.tvm, self.target, self.scheduler, self.say)
        best: Dict[Any, Any] = {}
        if seconds > 0 and not self._is_static(module["main"]):
            self.log.append(
                "not tuned: axes vary, so that the whole can't be timed against the rule's"
            )
        elif seconds > 0:
            best = tuner.tune(tunable, seconds)
        found: Dict[str, Any] = {"kept": "rules", "rules_ms": None, "tuned_ms": None}
        if best:
            module = module.clone()
            for name, function in best.items():
                module.update_func(name, function)
            tuned = self._linked(module)
            found = self._compared(module["main"], library, tuned)
            library = tuned if found["kept"] == "tuned" else library
        self.proof["tuning"] = {**tuner.account(len(tunable)), **found}
        return library

    def _compared(self, main: Any, rules: bytes, tuned: bytes) -> Dict[str, Any]:
        """Return which of two libraries is faster as a whole, and both times; see `choice`."""
        with tempfile.TemporaryDirectory(prefix="roadworthy-tvm-") as folder:
            calls = []
            for name, content in (("rules.so", rules), ("tuned.so", tuned)):
                path = Path(folder, name)
                path.write_bytes(content)
                calls.append(opened(self.tvm, str(path), main))
            self.say("comparing the tuned whole with the rule's")
            found = kept(calls[0], calls[1])
            calls.clear()
        said = (
            "the whole takes %(rules_ms)g ms by rule and %(tuned_ms)g ms tuned: kept %(kept)s"
            % found
        )
        self.say(said)
        self.log.append(said)
        return found

    def _is_static(self, function: Any) -> bool:
        """Tell whether all parameters are arrays of known sizes, so that it can be measured."""
        shapes = [_shape(parameter) for parameter in function.params]
        sizes = [size for shape in shapes for size in ([None] if shape is None else shape)]
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


def _shape(parameter: Any) -> Any:
    """Return the shape of what a function takes; None where it isn't an array, or not known."""
    return getattr(parameter if hasattr(parameter, "shape") else parameter.ty, "shape", None)
