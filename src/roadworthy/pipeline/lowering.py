"""What each target compiles: the FP32 model, or one lowered to the precision that was asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roadworthy.backends import registry
from roadworthy.backends.base import Engine
from roadworthy.core.errors import RoadworthyError, UnavailableError, WrongAnswersError
from roadworthy.core.progress import Progress
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Signature
from roadworthy.core.target import Target
from roadworthy.core.verdict import Tolerance, Verdict
from roadworthy.graph.depth import arithmetic_depth
from roadworthy.graph.serial import digest, to_files
from roadworthy.pipeline.account import Evidence
from roadworthy.pipeline.dialects import dialect_of
from roadworthy.pipeline.request import Request
from roadworthy.pipeline.stated import Stated, stated, states_int8, wants_types
from roadworthy.precision.calibrate import Calibration, calibrate
from roadworthy.precision.dialect import Dialect
from roadworthy.precision.half import plan_half, to_half
from roadworthy.precision.mixed import with_half_rest
from roadworthy.precision.placement import Placement, place
from roadworthy.precision.plan import PrecisionPlan
from roadworthy.precision.quantize import (
    Split,
    check_kept,
    judges_for,
    named,
    observe,
    quantize,
    split,
)
from roadworthy.precision.scoring import LITERAL, PLAIN
from roadworthy.precision.typed import graph_values, is_float, typed_copy
from roadworthy.verify.answers import TrustedAnswers
from roadworthy.verify.engine import judge_cases, tolerances
from roadworthy.verify.tolerance import quantised_ceiling, quantised_tolerance

if TYPE_CHECKING:
    import onnx_ir as ir

LOWERED = "lowered.onnx"
"""The graph that an engine of reduced precision was built from, among the engine's files."""
SAMPLES = "samples"
"""The source of a calibration with the samples that also judge."""
# What is taken back to float when a runtime can't build a plan or computes it wrongly: each stands
# for a family of kernels that was seen to fail or that others don't agree on.
_SUSPECTS = ("MatMul", "Gemm", "Add", "Mul", "Concat", "ConvTranspose")


@dataclass(frozen=True)
class Lowered:
    """What one target compiles, and how it is to be judged.

    Attributes:
        model: the graph.
        digest: of its files.
        limits: the tolerance of every output.
        plan: what runs in which dtype, and why; None for the model as it is.
        account: what a certificate says about the lowering; empty without one.
    """

    model: ir.Model
    digest: str
    limits: Mapping[str, Tolerance]
    plan: PrecisionPlan | None = None
    account: Mapping[str, Any] = field(default_factory=dict)

    def kept_with(self, engine: Engine) -> Engine:
        """Return the engine with the lowered graph beside it, unless it is in there already.

        Elsewhere it can be built again from that, and from nothing else.
        """
        if self.plan is None or any(".onnx" in name for name in engine.files):
            return engine
        return replace(engine, files={**engine.files, **to_files(self.model, LOWERED)})


class Outcome(StrEnum):
    """How an attempt ended, in the words of the reason that the next one gives."""

    CANT_BUILD = "{0} can't build the plan with {1} in it"
    IN_FLOAT = "{0} runs none of the plan in INT8 with {1} in it"
    IS_WRONG = "{0} computes the plan wrongly with {1} in it"


Attempts = Generator[Lowered, Outcome | None, None]


class Lowering:
    """Lowers one network for the targets of a request; calibrates once for all of them."""

    def __init__(self, request: Request, evidence: Evidence, calibration: Samples) -> None:
        """Args: `calibration`: the samples to calibrate with, where that is needed.

        Raises:
            SamplesError: they don't fit the network.
            InputError: what is kept of an unfinished calibration is of something else.
        """
        self._request = request
        self._evidence = evidence
        self._samples = calibration
        if calibration is not evidence.samples:
            calibration.check(evidence.prepared.signature)
        self._named: ir.Model | None = None
        self._observed: tuple[Calibration, Split] | None = None
        self._ranged: Calibration | None = None
        self._stated: Stated | None = None
        self._dialects: dict[Target, Dialect] = {}
        if request.keep is not None:
            self._check_kept(request.keep)

    def attempts(self, target: Target, precision: str, progress: Progress) -> Attempts:
        """Yield what to compile for a target; the next one is asked for when one failed.

        How it failed may be sent; without a word it was wrong.

        Raises:
            UnavailableError: the target's backend has no such precision, or nothing in this
                network would run in it.
            WrongAnswersError: quantisation itself costs too much.
        """
        evidence = self._evidence
        trusted = evidence.prepared.trusted
        if precision != "int8":
            limits = tolerances(trusted, arithmetic_depth(evidence.model), precision)
            if precision in ("fp16", "bf16") and wants_types(target):
                yield self._halved(precision, limits, progress)
            else:
                yield Lowered(evidence.model, evidence.model_digest, limits)
            return
        yield from self._in_int8(target, progress)

    def _in_int8(self, target: Target, progress: Progress) -> Attempts:
        """Yield the plan as it is, then with suspects in float: each kind alone, then all."""
        model, dialect = self._model(), self._dialect(target)
        placed = place(model, dialect)
        _require_int8(placed, target)
        given = self._stating(progress) if dialect.is_half else Stated(model, "")
        first = self._quantised(given, dialect, {}, self._request.method, progress)
        failed = yield first
        method = str(first.account["calibration"]["method"])
        rangeless = self._observations(progress)[0].rangeless
        placed = place(model, dialect, None, rangeless)
        tried = {_what_runs(placed)}
        # What is in float already has a better reason.
        already = {one.node for one in placed.decisions if one.dtype != "int8"}
        for operators in (*((each,) for each in _SUSPECTS), _SUSPECTS):
            how = failed or Outcome.IS_WRONG
            reason = how.format(target.backend, _one_of(operators))
            islands = {
                node.name or "": reason
                for node in model.graph
                if node.op_type in operators and node.name not in already
            }
            repaired = place(model, dialect, islands, rangeless)
            if repaired.activations and _what_runs(repaired) not in tried:
                tried.add(_what_runs(repaired))
                failed = yield self._quantised(given, dialect, islands, method, progress)

    def _halved(
        self, precision: str, limits: Mapping[str, Tolerance], progress: Progress
    ) -> Lowered:
        """Write FP16 or BF16 into the graph, by the ranges that the samples have inside it."""
        model, calibration = self._model(), self._ranges(progress)
        plan = plan_half(model, "fp16" if precision == "fp16" else "bf16", calibration.ranges)
        lowered = to_half(model, plan)
        files = to_files(lowered, "model.onnx")
        account = {**plan.summary(), "calibration": {**calibration.account(), "method": "ranges"}}
        return Lowered(lowered, digest(files), limits, plan, account)

    def _quantised(
        self,
        given: Stated,
        dialect: Dialect,
        islands: Mapping[str, str],
        method: str,
        progress: Progress,
    ) -> Lowered:
        signature = self._evidence.prepared.signature
        calibration, parts = self._observations(progress)
        made = quantize(
            given.model,
            signature,
            dialect,
            calibration,
            parts,
            method=method,
            islands=islands,
            threads=self._request.threads,
            progress=progress,
        )
        if dialect.is_half:
            made = with_half_rest(made, self._ranges(progress).ranges)
        made = replace(made, notes=(*made.notes, *filter(None, [given.note, dialect.note])))
        limits = quantised_limits(
            made.model,
            signature,
            self._evidence.prepared.trusted,
            tolerances(self._evidence.prepared.trusted, arithmetic_depth(self._evidence.model)),
            progress,
            f"the int8 graph for {made.plan.dialect}",
        )
        model_digest = digest(to_files(made.model, "model.onnx"))
        return Lowered(made.model, model_digest, limits, made.plan, made.account())

    def _observations(self, progress: Progress) -> tuple[Calibration, Split]:
        """Run the samples once, for all targets that will want them."""
        if self._observed is None:
            placements, parts = self._wanted
            calibration = observe(
                self._model(),
                placements,
                parts.seen,
                method=self._request.method,
                threads=self._request.threads,
                keep=self._request.keep,
                progress=progress,
            )
            self._observed = self._told(calibration), parts
        return self._observed

    @cached_property
    def _wanted(self) -> tuple[list[Placement], Split]:
        """What the targets want to be observed, and on which samples."""
        dialects: dict[Dialect, None] = {}
        for target in self._request.targets:
            # A target without INT8, or that isn't there, says so itself when its turn comes.
            with contextlib.suppress(RoadworthyError):
                dialects[self._dialect(target)] = None
        model = self._model()
        placements = [place(model, dialect) for dialect in dialects]
        most = judges_for(model, placements, self._samples, self._request.method)
        return placements, split(self._samples, most)

    def _check_kept(self, keep: Path) -> None:
        """Refuse before any target is built what could only be refused for one of them later."""
        placements, parts = self._wanted
        # Where nothing would run in INT8 nothing is calibrated, and each target says why.
        if any(placed.activations for placed in placements):
            method = self._request.method
            check_kept(self._model(), placements, parts.seen, method=method, keep=keep)

    def _ranges(self, progress: Progress) -> Calibration:
        """Return the range of every FP32 tensor, which only types written into a graph need."""
        if self._ranged is None:
            model = typed_copy(self._model())
            ranged = calibrate(
                model,
                self._samples,
                [value.name or "" for value in graph_values(model) if is_float(value)],
                histograms=False,
                threads=self._request.threads,
                progress=progress,
            )
            self._ranged = replace(self._told(ranged), quantises=False)
        return self._ranged

    def _told(self, calibration: Calibration) -> Calibration:
        """Return it with the source to tell: the samples that judge too are called just that."""
        own = self._samples is self._evidence.samples
        return replace(calibration, source=SAMPLES) if own else calibration

    def _stating(self, progress: Progress) -> Stated:
        if self._stated is None:
            self._stated = stated(self._model(), self._evidence, self._samples, progress)
        return self._stated

    def _dialect(self, target: Target) -> Dialect:
        """Return a target's dialect; what it is there is asked once, which starts a worker."""
        if target not in self._dialects:
            found = dialect_of(target)
            extra = self._request.compile_options(target).extra
            self._dialects[target] = found.typed() if states_int8(target, extra) else found
        return self._dialects[target]

    def _model(self) -> ir.Model:
        if self._named is None:
            self._named = named(self._evidence.model)
        return self._named


def quantised_limits(
    model: ir.Model,
    signature: Signature,
    trusted: TrustedAnswers,
    exact: Mapping[str, Tolerance],
    progress: Progress,
    where: str,
) -> dict[str, Tolerance]:
    """Judge a Q/DQ graph computed literally; what it costs is the measure for every engine of it.

    Args:
        model: with Q/DQ.
        signature: its inputs and outputs.
        trusted: the FP32 network's answers.
        exact: that network's FP32 tolerances.
        progress: told what is being done.
        where: whose graph it is, for the message.

    Raises:
        WrongAnswersError: quantisation itself costs too much.
    """
    ceilings = {name: quantised_ceiling(limit) for name, limit in exact.items()}
    engine = registry.find(LITERAL.backend).compile(model, signature, LITERAL, PLAIN)
    verdict = judge_cases(
        engine,
        trusted.cases,
        ceilings,
        lambda what, share: progress(f"int8, computed literally: {what}", share),
    )
    if not verdict.passed:
        raise _costs_too_much(verdict, where)
    worst = {
        metric: verdict.worst_of(metric) for metric in {item.metric for item in exact.values()}
    }
    fewest = trusted.fewest_elements()
    return {
        name: quantised_tolerance(worst[limit.metric][name], limit, fewest.get(name))
        for name, limit in exact.items()
    }


def _what_runs(placed: Placement) -> tuple[object, ...]:
    """Return what tells two placements apart."""
    return placed.activations, placed.weights


def _one_of(operators: Sequence[str]) -> str:
    return operators[0] if len(operators) == 1 else f"one of {', '.join(operators)}"


def _require_int8(placed: Placement, target: Target) -> None:
    if not placed.activations:
        raise UnavailableError(
            nothing_to_quantise(placed, target.backend),
            where=f"{target}: --precision int8",
            remedy="use another precision",
        )


def nothing_to_quantise(placed: Placement, backend: str) -> str:
    """Say why no node of a network would run in INT8."""
    told = list(dict.fromkeys(item.reason for item in placed.decisions if item.reason))
    why = "; ".join(told[:3]) or "it has no Conv, Gemm or MatMul"
    return f"nothing in this network would run in INT8 on {backend}: {why}"


def _costs_too_much(verdict: Verdict, where: str) -> WrongAnswersError:
    failures = verdict.failures
    more = f" (and {len(failures) - 3} more)" if len(failures) > 3 else ""
    return WrongAnswersError(
        "quantisation itself costs too much, whatever runs it: " + "; ".join(failures[:3]) + more,
        where=f"{where}, computed literally",
        remedy="choose a higher precision, or calibrate with more samples like those",
    )
