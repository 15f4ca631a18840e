"""TensorRT on the host: what it supports, the engine it ships, what that is tied to.

Builds always run in a worker process: a builder that crashes or fills the memory is an error here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from roadworthy.backends.base import CompileOptions, Engine, Say, Support, quiet
from roadworthy.backends.exchange import Exchange, Exchanging
from roadworthy.backends.place import BuildResult
from roadworthy.backends.session import Session
from roadworthy.backends.shared import KeptWorkers, Workers
from roadworthy.backends.tensorrt import cache
from roadworthy.backends.tensorrt.exchange import travelling
from roadworthy.backends.tensorrt.fingerprint import check
from roadworthy.backends.tensorrt.lower import build_inputs
from roadworthy.backends.tensorrt.options import TensorRTOptions, parse_options
from roadworthy.backends.tensorrt.plan import RUNTIME
from roadworthy.backends.tensorrt.proof import name_rows, operators_in, proof_of, with_nodes
from roadworthy.core.errors import RoadworthyError, UnavailableError
from roadworthy.core.signature import Signature
from roadworthy.core.target import Target

if TYPE_CHECKING:
    import onnx_ir as ir

PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8")
# The runtime's name of the kernel timings among the built files; they don't ship.
TIMINGS = "timing.cache"

# What places were found to be, so that opening an engine doesn't start a worker just to ask again.
# The GPU and TensorRT of a place don't change while this program runs.
_known: dict[tuple[str | None, str | None], dict[str, str]] = {}


class TensorRTBackend:
    """TensorRT 8.5 to 11 on an NVIDIA GPU, here, in another interpreter or on another host."""

    name = "tensorrt"

    def __init__(self) -> None:
        self._workers = Workers(RUNTIME)

    def supports(self, target: Target) -> Support:
        """Tell whether TensorRT of this version, a driver and the GPU are to be had there."""
        try:
            found = self.fingerprint(target)
        except RoadworthyError as error:
            return Support(False, error.what, error.remedy)
        return _version_support(target, found)

    def fingerprint(self, target: Target) -> dict[str, str]:
        """Return what an engine built there now would be tied to.

        runtime, version, device_name, compute_capability, driver, cuda, system, machine.

        Raises:
            UnavailableError: no TensorRT, CUDA runtime, driver or such GPU there.
        """
        # Isolated: loading 1 GB of libraries to ask a question is the worker's business.
        with self._workers.place(target) as place:
            found = place.describe(target.device)
        _known[_place_of(target)] = found
        return found

    def check_options(self, options: CompileOptions) -> None:
        """See `Backend`."""
        parse_options(options.extra)

    def compile(
        self,
        model: ir.Model,
        signature: Signature,
        target: Target,
        options: CompileOptions,
        say: Say = quiet,
    ) -> Engine:
        """Build a plan, or take it from the cache of built engines.

        Raises:
            UnavailableError: no such target, version, precision or dtype.
            CompileError: TensorRT refused the model (the nodes are named), or built it in
                another precision than asked for.
            UsageError: an unknown option, or an axis without a range.
        """
        own = parse_options(options.extra)
        if options.precision not in PRECISIONS:
            raise UnavailableError(
                f"precision {options.precision} can't be built for {target}",
                where="--precision",
                remedy=f"choose one of {', '.join(PRECISIONS)}",
            )
        with self._workers.place(target) as place:
            found = _known[_place_of(target)] = place.describe(target.device)
            support = _version_support(target, found)
            if not support.ok:
                raise UnavailableError(support.reason, where=str(target), remedy=support.remedy)
            files, spec = build_inputs(model, signature, options, own, found)
            spec["device"] = target.device
            built = _built(place, files, spec, found, own, say)
        operators = operators_in(files)
        proof = proof_of(built.proof, built.files, operators)
        shipped = with_nodes(built.files, operators)
        return Engine(target, signature, shipped, options, found, built.log, proof)

    def open(self, engine: Engine) -> Session:
        """Open an engine where its target says, after checking that it fits there.

        Raises:
            UnavailableError: it was built for another TensorRT, GPU or system: what was expected
                and what was found, before the plan is touched.
            CompileError: TensorRT can't load it all the same.
        """
        own = parse_options(engine.options.extra)
        found = _known.get(_place_of(engine.target)) or self.fingerprint(engine.target)
        notes = check(engine.fingerprint, found, str(engine.target), own.compatibility)
        spec = {
            "device": engine.target.device,
            "graphs": own.graphs,
            "inputs": travelling(engine.signature.inputs),
            "outputs": travelling(engine.signature.outputs),
        }
        # The plan alone: what else ships with it needn't travel.
        plan = dict(list(engine.files.items())[:1])
        runner = self._workers.runner(engine.target, False, plan, spec)
        names = partial(name_rows, files=engine.files)
        ready = Exchanging(runner, Exchange(engine.signature), names)
        return Session(engine.signature, ready, notes)

    def one_worker(self) -> AbstractContextManager[KeptWorkers]:
        """Use one worker for all that is built and opened here within a `with` block.

        For many small models: to start a worker, load TensorRT and make a CUDA context takes
        seconds. A worker that dies is replaced.
        """
        return self._workers.kept()


def _built(
    place: Any,
    files: Mapping[str, bytes],
    spec: dict[str, Any],
    found: Mapping[str, str],
    own: TensorRTOptions,
    say: Say,
) -> BuildResult:
    """Return the engine from the cache, or build it and keep it there."""
    key = cache.engine_key(files, spec, found)
    known = cache.load_engine(key) if own.build_cache else None
    if known is not None:
        say("this engine was built before: taken from the cache")
        return replace(known, proof={**known.proof, "from_cache": True})
    timings = cache.load_timings(found) if own.timing_cache else None
    result: BuildResult = place.build(files, {**spec, "timing_cache": timings}, say)
    written = result.files.get(TIMINGS)
    shipped = {name: content for name, content in result.files.items() if name != TIMINGS}
    built = BuildResult(shipped, result.log, result.proof)
    # To have it next time, too, is worth no failure: the engine is there.
    try:
        if own.timing_cache and written:
            cache.save_timings(found, written)
        if own.build_cache:
            cache.save_engine(key, built)
    except (OSError, RoadworthyError) as error:
        said = f"[W] this engine isn't kept for the next build: {error}"
        built = BuildResult(shipped, (*result.log, said), result.proof)
    return built


def _place_of(target: Target) -> tuple[str | None, str | None]:
    return target.where, target.device


def _version_support(target: Target, found: Mapping[str, str]) -> Support:
    return Support.of_version(target, found["version"], "TensorRT", "tensorrt")


BACKEND = TensorRTBackend()
