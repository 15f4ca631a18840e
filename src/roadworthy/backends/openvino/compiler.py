"""OpenVINO on the host: what it supports, the engine it ships, its names turned into ONNX's.

The engine is the ONNX file itself with stated settings: OpenVINO reads it, and what it compiles is
bound to one CPU. The option `cache_dir` keeps that beside the machine it belongs to.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from roadworthy.backends.base import CompileOptions, Engine, Say, Support, main_file, quiet
from roadworthy.backends.exchange import Exchanging
from roadworthy.backends.openvino.exchange import Exchange
from roadworthy.backends.openvino.names import name_origins
from roadworthy.backends.openvino.options import OpenVinoOptions
from roadworthy.backends.openvino.proof import proof_of
from roadworthy.backends.openvino.squares import apart
from roadworthy.backends.place import open_place, open_runner
from roadworthy.backends.session import Session
from roadworthy.core.cpus import usable_cpus
from roadworthy.core.errors import RoadworthyError, UnavailableError
from roadworthy.core.signature import Axis, Signature
from roadworthy.core.target import Target
from roadworthy.graph.serial import to_files

if TYPE_CHECKING:
    import onnx_ir as ir

RUNTIME = "roadworthy.backends.openvino.runtime"
# INT8 is in the graph, as Q/DQ, before it comes here (ADR 0001); what is left is FP32.
PRECISIONS = ("fp32", "bf16", "fp16", "int8")


class OpenVinoBackend:
    """OpenVINO on the devices that it finds: CPU always; GPU, NPU and AUTO where they are."""

    name = "openvino"

    def supports(self, target: Target) -> Support:
        """Tell whether this device, version and place are to be had."""
        try:
            found = self.fingerprint(target)
        except RoadworthyError as error:
            return Support(False, error.what, error.remedy)
        return Support.of_version(target, found["version"], "OpenVINO", "openvino")

    def check_options(self, options: CompileOptions) -> None:
        """See `Backend`."""
        OpenVinoOptions.parse(options)

    def compile(
        self,
        model: ir.Model,
        signature: Signature,
        target: Target,
        options: CompileOptions,
        say: Say = quiet,
    ) -> Engine:
        """Compile once where the target is, so that a refusal comes now and not later.

        Raises:
            UnavailableError: no such device, version, precision or dtype.
            CompileError: OpenVINO refuses the model, or runs it in another precision.
        """
        spec = _spec(signature, target, options)
        support = self.supports(target)
        if not support.ok:
            raise UnavailableError(support.reason, where=str(target), remedy=support.remedy)
        Exchange(signature)
        with open_place(RUNTIME, target.where) as place:
            built = place.build(to_files(apart(model), "model.onnx"), spec, say)
            fingerprint = place.describe(target.device)
        proof = proof_of(built.proof, built.files)
        return Engine(target, signature, built.files, options, fingerprint, built.log, proof)

    def fingerprint(self, target: Target) -> dict[str, str]:
        """Return what an OpenVINO engine was verified with."""
        with open_place(RUNTIME, target.where) as place:
            return place.describe(target.device)

    def open(self, engine: Engine) -> Session:
        """Open an engine where its target says, on its device and in its precision."""
        exchange = Exchange(engine.signature)
        spec = _spec(engine.signature, engine.target, engine.options)
        runner = open_runner(RUNTIME, engine.target.where, False, engine.files, spec)
        return Session(
            engine.signature,
            Exchanging(runner, exchange, partial(name_origins, files=main_file(engine.files))),
        )


def _spec(signature: Signature, target: Target, options: CompileOptions) -> dict[str, Any]:
    """Return what the runtime is told. Elsewhere it counts its own CPUs."""
    if options.precision not in PRECISIONS:
        raise UnavailableError(
            f"OpenVINO has no precision {options.precision}",
            where="--precision",
            remedy=f"choose one of: {', '.join(PRECISIONS)}",
        )
    own = OpenVinoOptions.parse(options)
    here = usable_cpus() if target.where is None else None
    return {
        "device": target.device,
        "precision": options.precision,
        "threads": options.threads or here,
        "shapes": {
            spec.name: [_axis(axis) for axis in spec.shape]
            for spec in signature.inputs
            if spec.shape is not None
        },
        "inputs": [spec.name for spec in signature.inputs],
        "outputs": [spec.name for spec in signature.outputs],
        "pinning": own.pinning,
        "cache_dir": own.cache_dir,
        "mode": own.mode,
    }


def _axis(axis: Axis) -> int | list[int | None]:
    """A size, or [low, high]; an open axis may be empty."""
    if isinstance(axis, int):
        return axis
    return [0, None] if axis.is_open else [axis.low, axis.high]


BACKEND = OpenVinoBackend()
