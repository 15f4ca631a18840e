"""Verdicts pass only when something was judged and all of it passed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from roadworthy.core.verdict import (
    CaseVerdict,
    Metrics,
    OutputVerdict,
    SelfCheck,
    Tolerance,
    Verdict,
)

METRICS = Metrics(0.0, 0.0, 1e-7, 1.0, 140.0, 0.0, False, "a")
OUTPUT = OutputVerdict("y", METRICS, Tolerance("relative_l2", 1e-5, "measured"))
BAD = replace(OUTPUT, name="z", failures=("all zeros, the reference isn't",))
CASE = CaseVerdict("samples", False, {}, 1, (OUTPUT,))
CHECK = SelfCheck("repeat", True, "equal")


def output(relative_l2: float, limit: float = 1e-5, *failures: str) -> OutputVerdict:
    return OutputVerdict(
        "y",
        replace(METRICS, relative_l2=relative_l2),
        Tolerance("relative_l2", limit, "measured"),
        failures,
    )


def test_it_passes_when_every_part_does() -> None:
    assert Verdict((CASE,), (CHECK,)).passed
    assert Verdict((CASE,), (CHECK,)).failures == ()


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(()),  # nothing was judged
        Verdict((replace(CASE, outputs=()),)),
        Verdict((CASE, replace(CASE, outputs=()))),
        Verdict((replace(CASE, outputs=(OUTPUT, BAD)),)),
        Verdict((replace(CASE, failures=("sample a: the engine gave no answer",)),)),
        Verdict((CASE,), (CHECK, SelfCheck("batch", False, "cross-talk"))),
    ],
)
def test_it_fails_when_any_part_does_or_nothing_was_judged(verdict: Verdict) -> None:
    assert not verdict.passed


def test_failures_name_case_output_and_check() -> None:
    verdict = Verdict(
        (replace(CASE, outputs=(OUTPUT, BAD), failures=("sample b: no answer",)),),
        (SelfCheck("batch", False, "cross-talk"),),
    )
    assert verdict.failures == (
        "case samples: sample b: no answer",
        "case samples, output 'z': all zeros, the reference isn't",
        "batch: cross-talk",
    )


@pytest.mark.parametrize(
    ("outputs", "worst"),
    [
        ([output(1e-7), output(3e-7), output(2e-7)], 1),
        ([output(1e-6, 1e-2), output(1e-6, 1e-5)], 1),  # against its own limit
        ([output(9e-6), output(1e-7, 1e-5, "constant")], 1),
        ([output(9e-6), output(math.nan, 1e-5, "is above the tolerance")], 1),
        ([output(math.nan, 1e-5, "is above the tolerance"), output(9e-6)], 0),
    ],
)
def test_the_worst_case_of_an_output(outputs: list[OutputVerdict], worst: int) -> None:
    cases = tuple(replace(CASE, case=str(i), outputs=(one,)) for i, one in enumerate(outputs))
    assert Verdict(cases).worst()["y"] is outputs[worst]


@pytest.mark.parametrize("values", [[1.0, math.nan], [math.nan, 1.0], [0.0, math.nan, 2.0]])
def test_the_worst_value_is_never_lost_to_a_nan(values: list[float]) -> None:
    cases = tuple(replace(CASE, outputs=(output(value),)) for value in values)
    assert math.isnan(Verdict(cases).worst_of("relative_l2")["y"])


def test_the_worst_value_over_all_cases() -> None:
    cases = tuple(replace(CASE, outputs=(output(value),)) for value in (1e-7, 3e-7, 2e-7))
    assert Verdict(cases).worst_of("relative_l2") == {"y": 3e-7}
