"""Where a runtime answers otherwise than the standard, our verification says so: exit 3.

And where the difference is only rounding, it doesn't cry wolf.
"""

import pytest

from roadworthy.core.errors import EXIT_WRONG
from roadworthy.core.reference import Reference
from roadworthy.core.samples import Samples
from roadworthy.graph.depth import arithmetic_depth
from roadworthy.source.given import GIVEN, GivenAnswers, feed_digest
from roadworthy.verify.answers import trusted_answers
from roadworthy.verify.cases import plan_cases
from roadworthy.verify.engine import judge_cases, tolerances, wrong_answers
from tests.conformance.wrong_cases import WrongCase, wrong_cases

CASES = list(wrong_cases())


def judge(case: WrongCase):
    """The verdict of the engine against the standard's own expected outputs."""
    run = case.run
    oracle = GivenAnswers("the standard's test data", {feed_digest(run.feed): run.expected})
    reference = Reference(oracle, None, GIVEN)
    planned = plan_cases(run.signature, Samples.of_arrays([run.feed]))[:1]
    with trusted_answers(reference, planned) as trusted:
        limits = tolerances(trusted, arithmetic_depth(run.model))
        return judge_cases(run.engine, trusted.cases, limits)


def test_there_are_wrong_answers_of_both_kinds():
    assert {case.why.caught for case in CASES} == {True, False}


@pytest.mark.parametrize("case", [c for c in CASES if c.why.caught], ids=lambda case: case.name)
def test_a_wrong_answer_fails_verification(case):
    verdict = judge(case)
    assert not verdict.passed
    assert wrong_answers(verdict, case.name).exit_code == EXIT_WRONG


@pytest.mark.parametrize("case", [c for c in CASES if not c.why.caught], ids=lambda case: case.name)
def test_rounding_passes_verification(case):
    verdict = judge(case)
    assert verdict.passed, verdict.failures
