"""TVM on the host: what it supports, the library it ships, refusals with the axes that vary."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from roadworthy.backends.base import CompileOptions, Engine, Say, Support, quiet
from roadworthy.backends.exchange import Exchange, Exchanging
from roadworthy.backends.place import Place
from roadworthy.backends.session import Session
from roadworthy.backends.shared import KeptWorkers, Workers
from roadworthy.backends.tvm.options import TvmOptions
from roadworthy.backends.tvm.proof import proof_of
from roadworthy.core.cpus import usable_cpus
from roadworthy.core.errors import (
    CompileError,
    MissingExtraError,
    RoadworthyError,
    UnavailableError,
)
from roadworthy.core.signature import Signature
from roadworthy.core.target import Target
from roadworthy.graph.serial import to_files

if TYPE_CHECKING:
    import onnx_ir as ir

RUNTIME = "roadworthy.backends.tvm.runtime"
DTYPES = frozenset(
    {"bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64"}
    | {"uint8", "uint16", "uint32", "uint64"}
)


class TvmBackend:
    """TVM on the CPU."""

    name = "tvm"

    def __init__(self) -> None:
        self._workers = Workers(RUNTIME)

    def supports(self, target: Target) -> Support:
        """Tell whether this device, version and place are to be had; starts a worker to ask."""
        try:
            found = self.fingerprint(target)
        except RoadworthyError as error:
            return Support(False, error.what, error.remedy)
        return _version_fits(target, found)

    def check_options(self, options: CompileOptions) -> None:
        """See `Backend`."""
        TvmOptions.parse(options)

    def compile(
        self,
        model: ir.Model,
        signature: Signature,
        target: Target,
        options: CompileOptions,
        say: Say = quiet,
    ) -> Engine:
        """Compile in a worker process, for the CPU that it is on unless an option says another.

        Raises:
            UnavailableError: no such device, version, precision or dtype.
            CompileError: TVM refuses the model; unsupported operators with their nodes.
        """
        spec = _spec(signature, target, options)
        _check_dtypes(signature)
        with self._place(target) as place:
            fingerprint = place.describe(target.device)
            support = _version_fits(target, fingerprint)
            if not support.ok:
                raise UnavailableError(support.reason, where=str(target), remedy=support.remedy)
            try:
                built = place.build(to_files(model, "model.onnx"), spec, say)
            except CompileError as error:
                raise _naming_axes(error, signature) from error
        proof = proof_of(built.proof, model)
        return Engine(target, signature, built.files, options, fingerprint, built.log, proof)

    def fingerprint(self, target: Target) -> dict[str, str]:
        """Return what a library built there is tied to: TVM's version, the CPU and its features."""
        with self._place(target) as place:
            return place.describe(target.device)

    def open(self, engine: Engine) -> Session:
        """Open an engine in a worker; one that this CPU would crash on is refused before."""
        spec = _spec(engine.signature, engine.target, engine.options)
        runner = self._workers.runner(engine.target, True, engine.files, spec)
        return Session(engine.signature, Exchanging(runner, Exchange(engine.signature)))

    def one_worker(self) -> AbstractContextManager[KeptWorkers]:
        """Use one worker for all that is built and opened here within a `with` block.

        For many small models: to start a worker and import TVM takes seconds. A worker that dies
        is replaced.
        """
        return self._workers.kept()

    @contextlib.contextmanager
    def _place(self, target: Target) -> Iterator[Place]:
        if target.where is None and importlib.util.find_spec("tvm") is None:
            raise MissingExtraError("apache-tvm", "tvm", "the target tvm")
        with self._workers.place(target) as place:
            yield place


def _spec(signature: Signature, target: Target, options: CompileOptions) -> dict[str, Any]:
    """Return what the runtime is told. On another host it counts its own CPUs."""
    if options.precision != "fp32":
        raise UnavailableError(
            f"TVM can't be built for precision {options.precision} here",
            where="--precision",
            remedy="use --precision fp32",
        )
    own = TvmOptions.parse(options)
    here = None if target.is_elsewhere else usable_cpus()
    return {
        "threads": options.threads or here,
        "spinning": options.spinning,
        "optimise": options.optimise,
        "mcpu": own.mcpu,
        "tuning_seconds": own.tuning_seconds,
        "outputs": [spec.name for spec in signature.outputs],
        "dtypes": [spec.dtype for spec in signature.outputs],
        "shapes": [
            None
            if spec.shape is None
            else [axis if isinstance(axis, int) else None for axis in spec.shape]
            for spec in signature.outputs
        ],
    }


def _check_dtypes(signature: Signature) -> None:
    for spec in signature:
        if spec.dtype not in DTYPES:
            raise UnavailableError(
                f"TVM isn't given or asked for {spec.dtype} here",
                where=str(spec),
                remedy="cast it in the model, or choose onnxruntime",
            )


def _version_fits(target: Target, found: dict[str, str]) -> Support:
    return Support.of_version(target, found["version"], "TVM", "apache-tvm")


def _naming_axes(error: CompileError, signature: Signature) -> CompileError:
    """Return the refusal; where axes vary, with their names: TVM often can't because of them."""
    if signature.is_static:
        return CompileError(error.what, where=error.where, remedy=error.remedy)
    axes = ", ".join(str(dim) for dim in signature.dims.values())
    return CompileError(
        f"{error.what} (the axes {axes} vary)",
        where=error.where,
        remedy="TVM often needs fixed shapes: state each axis's size with --inputs",
    )


BACKEND = TvmBackend()
