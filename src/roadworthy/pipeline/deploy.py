"""The road: one flat function from a trained network to a verified bundle."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import islice

from roadworthy.backends.base import Engine
from roadworthy.core.certificate import Comparison
from roadworthy.core.errors import BudgetError, CompileError, RoadworthyError
from roadworthy.core.progress import Progress, silent
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Feed
from roadworthy.core.target import Target
from roadworthy.core.verdict import Verdict
from roadworthy.graph.depth import arithmetic_depth
from roadworthy.passes.catalogue import standard_passes
from roadworthy.passes.guard import run_guarded
from roadworthy.pipeline.account import Evidence, certify
from roadworthy.pipeline.building import build
from roadworthy.pipeline.choosing import Race, choose, fastest
from roadworthy.pipeline.deployment import Deployment, TargetResult
from roadworthy.pipeline.gather import check_contract, gather_samples, output_names
from roadworthy.pipeline.keeping import check_keep
from roadworthy.pipeline.lowering import Attempts, Lowered, Lowering, Outcome
from roadworthy.pipeline.request import Request
from roadworthy.pipeline.ship import check_destination, ship
from roadworthy.pipeline.timing import time_engine, time_side_by_side
from roadworthy.precision.proof import (
    PrecisionFindings,
    less_than_planned,
    prove_precision,
    runs_none_of,
)
from roadworthy.source.opening import open_module, open_source
from roadworthy.source.prepared import Prepared, Source
from roadworthy.verify.answers import TrustedAnswers
from roadworthy.verify.engine import tolerances, verify_engine, wrong_answers
from roadworthy.vision.preprocess import Preprocess

_PROBES = 2


def deploy(request: Request, progress: Progress = silent) -> Deployment:
    """Take a trained network to engines that were proven right, and bundle those.

    Args:
        request: what is asked for.
        progress: called with (what is being done, share of it that is done), by one thread at a
            time, but during a build not always by the thread that called this.

    Returns:
        How it ended for every target; a target that failed is in there with its error.

    Raises:
        InputError: the source, its weights, the samples or a kept calibration can't be used.
        WrongAnswersError: no exported model agrees with the source, or the oracles disagree.
    """
    progress("open the source", 0.0)
    check_destination(request.out)
    check_keep(request.keep, request.out, request.reads)
    source = _open(request)
    samples, contract = gather_samples(request.samples, source, request.inputs, request.preprocess)
    calibration = _calibration(request, source, samples, contract)
    names = output_names(request.outputs, source, contract)
    prepared = source.prepare(samples, request.inputs, names, progress)
    with prepared.trusted as trusted:
        signature = prepared.signature
        check_contract(contract, signature)
        limits = tolerances(trusted, arithmetic_depth(prepared.model))
        model, passes = run_guarded(
            prepared.model, standard_passes(), probes(trusted), limits, progress
        )
        evidence = Evidence(source.description, samples, prepared, model, passes)
        lowering = Lowering(request, evidence, calibration)
        race = _race(request, prepared, progress)
        built = [
            _build(target, request, lowering, evidence, race, progress)
            for target in request.targets
        ]
        results, chosen, why = choose(built, request.objective, race)
        bundle = ship(request.out, chosen, results, evidence, contract, progress)
    return Deployment(results, signature, bundle, chosen, why)


def probes(trusted: TrustedAnswers) -> list[tuple[str, Feed]]:
    """Return the inputs that passes are guarded with: some of every case but the largest."""
    return [
        (name, feed)
        for judged in trusted.cases
        if judged.name != "largest"
        for name, feed, _ in islice(judged.pairs(), _PROBES)
    ]


def _calibration(
    request: Request, source: Source, samples: Samples, contract: Preprocess | None
) -> Samples:
    """Return what INT8 is calibrated with: samples of its own, or those that judge."""
    if request.calibration is None:
        return samples
    given, _ = gather_samples(
        request.calibration, source, request.inputs, request.preprocess, contract
    )
    return given


def _open(request: Request) -> Source:
    if isinstance(request.source, str | os.PathLike):
        return open_source(str(request.source), request.weights, trust=request.trust)
    return open_module(request.source)


def _race(request: Request, prepared: Prepared, progress: Progress) -> Race | None:
    """Return what times two results side by side; None where nothing is to be timed."""
    if request.measure_seconds == 0:
        return None

    def race(result: TargetResult, holder: TargetResult, share: float) -> Comparison:
        assert result.engine is not None  # both may ship
        assert holder.engine is not None
        seconds = share * request.measure_seconds
        return time_side_by_side(
            result.engine, holder.engine, prepared, request.threads, seconds, progress
        )

    return race


def _build(
    target: Target,
    request: Request,
    lowering: Lowering,
    evidence: Evidence,
    race: Race | None,
    progress: Progress,
) -> TargetResult:
    """Compile, judge and time one target. Its failure is its own: the others go on."""
    results = [
        _in_precision(target, each, lowering, evidence, progress)
        for each in request.by_precision(target)
    ]
    return fastest(results, request.objective, race)


def _in_precision(
    target: Target, request: Request, lowering: Lowering, evidence: Evidence, progress: Progress
) -> TargetResult:
    try:
        return _proven(target, request, lowering, evidence, progress)
    except RoadworthyError as error:
        return TargetResult(target, request.compile_options(target).precision, None, None, error)


def _proven(
    target: Target, request: Request, lowering: Lowering, evidence: Evidence, progress: Progress
) -> TargetResult:
    """Compile, judge and time one target.

    Raises:
        RoadworthyError: it can't be had, or its process died at any of the three.
    """
    options = request.compile_options(target)
    prepared = evidence.prepared
    trusted = prepared.trusted
    best = _best_attempt(target, request, lowering, evidence, progress)
    engine = best.engine
    verdict = replace(best.verdict, seconds={**trusted.seconds, **best.verdict.seconds})
    failure = _judge(verdict, request, target)
    if failure is None and request.strict_precision:
        failure = less_than_planned(best.findings, target)
    latency = comparison = None
    if verdict.passed and request.measure_seconds > 0:
        latency, comparison = time_engine(
            engine, prepared, request.threads, request.measure_seconds, progress
        )
    certificate = certify(engine, verdict, evidence, latency, comparison, best.lowered.account)
    return TargetResult(target, options.precision, engine, certificate, failure)


@dataclass(frozen=True)
class _Attempt:
    """An engine that could be built and runs some of what was planned, and how it was judged."""

    lowered: Lowered
    engine: Engine
    findings: PrecisionFindings
    verdict: Verdict


def _best_attempt(
    target: Target, request: Request, lowering: Lowering, evidence: Evidence, progress: Progress
) -> _Attempt:
    """Return the first attempt that proves right, or else the last one that could be built.

    An engine that runs none of the INT8 that was planned counts as one that can't be built.

    Raises:
        RoadworthyError: none could be built; why the first one couldn't.
    """
    options, prepared = request.compile_options(target), evidence.prepared
    attempts = lowering.attempts(target, options.precision, progress)
    found: _Attempt | None = None
    refused: CompileError | None = None
    lowered: Lowered | None = next(attempts)
    while lowered is not None:
        outcome = Outcome.IS_WRONG
        try:
            engine = build(
                lowered.model, prepared.signature, lowered.digest, target, options, progress
            )
        except CompileError as error:
            outcome, refused = Outcome.CANT_BUILD, refused or error
        else:
            judged = _judged(lowered, engine, prepared.trusted, progress)
            if isinstance(judged, CompileError):
                outcome, refused = Outcome.IN_FLOAT, refused or judged
            else:
                found = judged
                if found.verdict.passed:
                    break
        lowered = _after(attempts, outcome)
    if found is not None:
        return found
    assert refused is not None  # there is one attempt at least
    raise refused


def _judged(
    lowered: Lowered, engine: Engine, trusted: TrustedAnswers, progress: Progress
) -> _Attempt | CompileError:
    """Prove an engine's precision and verify it; or return why it counts as one not built."""
    engine, findings = prove_precision(
        lowered.kept_with(engine), lowered.model, lowered.plan, trusted.cases[0].sizes
    )
    in_float = runs_none_of(lowered.plan, engine)
    if in_float is not None:
        return in_float
    notes: list[str] = []
    verdict = verify_engine(engine, trusted.cases, lowered.limits, progress, notes.append)
    engine = replace(engine, log=(*engine.log, *notes))
    return _Attempt(lowered, engine, findings, verdict)


def _after(attempts: Attempts, outcome: Outcome) -> Lowered | None:
    """Return the next attempt, None where there is none."""
    try:
        return attempts.send(outcome)
    except StopIteration:
        return None


def _judge(verdict: Verdict, request: Request, target: Target) -> RoadworthyError | None:
    """Return why this engine may not ship, None when it may."""
    if not verdict.passed:
        return wrong_answers(verdict, str(target))
    for metric, limit in request.budget.items():
        for name, output in verdict.worst_of(metric).items():
            if not output <= limit:
                return BudgetError(
                    f"output {name!r} has {metric} {output:.3g}, the budget is {limit:.3g}",
                    where=str(target),
                    remedy="allow more, or choose a higher precision",
                )
    return None
