"""ONNX Runtime on the host: what it supports, the engine it ships, errors in our words.

The engine is the ONNX file itself with stated session options (ADR 0002).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from roadworthy.backends.base import CompileOptions, Engine, Say, Support, main_file, quiet
from roadworthy.backends.exchange import Exchanging
from roadworthy.backends.onnxruntime.exchange import Exchange
from roadworthy.backends.onnxruntime.origins import name_origins
from roadworthy.backends.onnxruntime.proof import proof_of
from roadworthy.backends.place import open_place, open_runner
from roadworthy.backends.session import Session
from roadworthy.core.cpus import usable_cpus
from roadworthy.core.errors import RoadworthyError, UnavailableError, UsageError
from roadworthy.core.signature import Signature
from roadworthy.core.target import Target
from roadworthy.graph.serial import to_files

if TYPE_CHECKING:
    import onnx_ir as ir

RUNTIME = "roadworthy.backends.onnxruntime.runtime"
# The runtime's name of the graph that it executes, among the built files; it doesn't ship.
OPTIMISED = "optimised.onnx"
# INT8 is in the graph, as Q/DQ, before it comes here (ADR 0001).
PRECISIONS = ("fp32", "int8")


class OnnxRuntimeBackend:
    """ONNX Runtime, on the CPU always, on CUDA where its CUDA build is installed."""

    name = "onnxruntime"

    def supports(self, target: Target) -> Support:
        """Tell whether this device, version and place are to be had."""
        try:
            found = self.fingerprint(target)
        except RoadworthyError as error:
            return Support(False, error.what, _remedy(target, error))
        return Support.of_version(target, found["version"], "ONNX Runtime", "onnxruntime")

    def check_options(self, options: CompileOptions) -> None:
        """See `Backend`."""
        if options.extra:
            raise UsageError(
                f"ONNX Runtime has no option {options.extra[0][0]!r}",
                where="--option",
                remedy="it has none: leave --option out",
            )

    def compile(
        self,
        model: ir.Model,
        signature: Signature,
        target: Target,
        options: CompileOptions,
        say: Say = quiet,
    ) -> Engine:
        """Serialise the model and open it once, so that a refusal comes now and not later."""
        _check_precision(options)
        self.check_options(options)
        support = self.supports(target)
        if not support.ok:
            raise UnavailableError(support.reason, where=str(target), remedy=support.remedy)
        Exchange(signature)
        with open_place(RUNTIME, target.where) as place:
            built = place.build(to_files(model, "model.onnx"), _spec(target, options), say)
            fingerprint = place.describe(target.device)
        files = {name: content for name, content in built.files.items() if name != OPTIMISED}
        executed = built.files.get(OPTIMISED)
        proof = proof_of(built.proof, files, executed, fingerprint["machine"])
        return Engine(target, signature, files, options, fingerprint, built.log, proof)

    def fingerprint(self, target: Target) -> dict[str, str]:
        """Return what an ONNX Runtime engine was verified with."""
        with open_place(RUNTIME, target.where) as place:
            return place.describe(target.device)

    def open(self, engine: Engine) -> Session:
        """Open an engine where its target says, on the device it was asked for and no other."""
        exchange = Exchange(engine.signature)
        target = engine.target
        runner = open_runner(
            RUNTIME, target.where, False, engine.files, _spec(target, engine.options)
        )
        return Session(
            engine.signature,
            Exchanging(runner, exchange, partial(name_origins, files=main_file(engine.files))),
        )


def _spec(target: Target, options: CompileOptions) -> dict[str, Any]:
    """Return what the runtime is told. Elsewhere it counts its own CPUs."""
    here = usable_cpus() if target.where is None else None
    return {
        "device": target.device,
        "threads": options.threads or here,
        "optimise": options.optimise,
        "spinning": options.spinning,
    }


def _check_precision(options: CompileOptions) -> None:
    if options.precision not in PRECISIONS:
        raise UnavailableError(
            f"ONNX Runtime can't be built for precision {options.precision} yet",
            where="--precision",
            remedy="use --precision fp32",
        )


def _remedy(target: Target, error: RoadworthyError) -> str | None:
    """Return the command that brings what is missing."""
    if target.where is not None:
        return error.remedy
    if target.device == "cuda":
        return "pip uninstall -y onnxruntime && pip install onnxruntime-gpu"
    return error.remedy or "choose the device cpu or cuda"


BACKEND = OnnxRuntimeBackend()
