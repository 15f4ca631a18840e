"""Where a runtime answers otherwise than the standard, our verification says so: exit 3.

And where the difference is only rounding, it doesn't cry wolf.
"""

from functools import cache

import pytest

from roadworthy.core.errors import EXIT_WRONG
from roadworthy.verify.engine import wrong_answers
from tests.conformance.exceptions import wrongs
from tests.conformance.wrong_cases import WrongCase, judge, wrong_cases

# Backends that run here, whose wrong answers are listed beside this file.
BACKENDS = ("onnxruntime", "openvino")


@cache
def ran(backend: str) -> dict[str, WrongCase]:
    return {case.name: case for case in wrong_cases(backend)}


def named(caught: bool) -> list[tuple[str, str]]:
    return [
        (backend, name)
        for backend in BACKENDS
        for name, why in wrongs(backend).items()
        if why.caught == caught
    ]


@pytest.mark.parametrize("backend", BACKENDS)
def test_there_are_wrong_answers_of_both_kinds(backend):
    assert {case.why.caught for case in ran(backend).values()} == {True, False}


@pytest.mark.parametrize(("backend", "name"), named(caught=True))
def test_a_wrong_answer_fails_verification(backend, name):
    verdict = judge(ran(backend)[name].run)
    assert not verdict.passed
    assert wrong_answers(verdict, name).exit_code == EXIT_WRONG


@pytest.mark.parametrize(("backend", "name"), named(caught=False))
def test_rounding_passes_verification(backend, name):
    verdict = judge(ran(backend)[name].run)
    assert verdict.passed, verdict.failures
