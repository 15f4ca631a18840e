"""The listed wrong answers, ready for verification to judge: model, feed, expected, ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from roadworthy.core.reference import Reference
from roadworthy.core.samples import Samples
from roadworthy.core.target import Target
from roadworthy.core.verdict import Verdict
from roadworthy.graph.depth import arithmetic_depth
from roadworthy.source.given import GIVEN, GivenAnswers, feed_digest
from roadworthy.verify.answers import trusted_answers
from roadworthy.verify.cases import plan_cases
from roadworthy.verify.engine import judge_cases, tolerances
from tests.conformance.exceptions import Wrong, wrongs
from tests.conformance.onnx_cases import Disagreement, cases, run_case


@dataclass(frozen=True)
class WrongCase:
    """One listed case: why its answer is another one, and the run that gave it."""

    name: str
    why: Wrong
    run: Disagreement


def wrong_cases(backend: str = "onnxruntime") -> Iterator[WrongCase]:
    """Yield every listed wrong case of a backend, run anew.

    `case.run` holds `model`, `signature`, `engine`, `feed`, `expected` and `ours`;
    `case.why.caught` tells whether verification must fail (false: the difference is rounding, and
    it must pass).
    """
    why = wrongs(backend)
    for case in cases():
        if case.name in why:
            run = run_case(case, Target.parse(backend))
            assert isinstance(run, Disagreement), f"{case.name} is no longer wrong: unlist it"
            yield WrongCase(case.name, why[case.name], run)


def judge(run: Disagreement) -> Verdict:
    """Return verification's verdict on the engine, by the standard's own expected outputs."""
    oracle = GivenAnswers("the standard's test data", {feed_digest(run.feed): run.expected})
    reference = Reference(oracle, None, GIVEN)
    planned = plan_cases(run.signature, Samples.of_arrays([run.feed]))[:1]
    with trusted_answers(reference, planned) as trusted:
        limits = tolerances(trusted, arithmetic_depth(run.model))
        return judge_cases(run.engine, trusted.cases, limits)
