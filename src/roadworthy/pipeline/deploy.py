"""The road: one flat function from a trained network to a verified bundle."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import islice

from roadworthy.core.errors import BudgetError, RoadworthyError
from roadworthy.core.signature import Feed
from roadworthy.core.target import Target
from roadworthy.core.verdict import Verdict
from roadworthy.graph.depth import arithmetic_depth
from roadworthy.passes.catalogue import standard_passes
from roadworthy.passes.guard import run_guarded
from roadworthy.pipeline.account import Evidence, certify
from roadworthy.pipeline.building import build
from roadworthy.pipeline.deployment import Deployment, TargetResult
from roadworthy.pipeline.gather import check_contract, gather_samples, output_names
from roadworthy.pipeline.request import Request
from roadworthy.pipeline.ship import check_destination, choose, ship
from roadworthy.pipeline.timing import time_engine
from roadworthy.source.opening import open_module, open_source
from roadworthy.source.prepared import Source
from roadworthy.verify.answers import Progress, TrustedAnswers, silent
from roadworthy.verify.engine import tolerances, verify_engine, wrong_answers

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
        InputError: the source, its weights or the samples can't be used.
        WrongAnswersError: no exported model agrees with the source, or the oracles disagree.
    """
    progress("open the source", 0.0)
    check_destination(request.out)
    source = _open(request)
    samples, contract = gather_samples(request.samples, source, request.inputs, request.preprocess)
    names = output_names(request.outputs, source, contract)
    prepared = source.prepare(samples, request.inputs, names, progress)
    with prepared.trusted as trusted:
        signature = prepared.signature
        check_contract(
            contract, {i.name for i in signature.inputs}, {o.name for o in signature.outputs}
        )
        limits = tolerances(trusted, arithmetic_depth(prepared.model))
        model, passes = run_guarded(
            prepared.model, standard_passes(), probes(trusted), limits, progress
        )
        evidence = Evidence(source.description, samples, prepared, model, passes)
        results = tuple(_build(target, request, evidence, progress) for target in request.targets)
        chosen, why = choose(results, request.objective)
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


def _open(request: Request) -> Source:
    if isinstance(request.source, str | os.PathLike):
        return open_source(str(request.source), request.weights, trust=request.trust)
    return open_module(request.source)


def _build(
    target: Target, request: Request, evidence: Evidence, progress: Progress
) -> TargetResult:
    """Compile, judge and time one target. Its failure is its own: the others go on."""
    try:
        return _proven(target, request, evidence, progress)
    except RoadworthyError as error:
        return TargetResult(target, None, None, error)


def _proven(
    target: Target, request: Request, evidence: Evidence, progress: Progress
) -> TargetResult:
    """Compile, judge and time one target.

    Raises:
        RoadworthyError: it can't be had, or its process died at any of the three.
    """
    options = request.compile_options(target)
    prepared = evidence.prepared
    engine = build(
        evidence.model, prepared.signature, evidence.model_digest, target, options, progress
    )
    trusted = prepared.trusted
    limits = tolerances(trusted, arithmetic_depth(evidence.model), options.precision)
    verdict = verify_engine(engine, trusted.cases, limits, progress)
    verdict = replace(verdict, seconds={**trusted.seconds, **verdict.seconds})
    failure = _judge(verdict, request, target)
    latency = comparison = None
    if verdict.passed and request.measure_seconds > 0:
        latency, comparison = time_engine(
            engine, prepared, request.threads, request.measure_seconds, progress
        )
    certificate = certify(engine, verdict, evidence, latency, comparison)
    return TargetResult(target, engine, certificate, failure)


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
