"""The judge of one output: everything that must fail does, and says which sample."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from roadworthy.core.signature import Array
from roadworthy.core.verdict import OutputVerdict, Tolerance
from roadworthy.verify.judge import OutputJudge, _worst_of, judge_answers

LIMIT = Tolerance("relative_l2", 1e-3, "measured")
SHARE = Tolerance("mismatch_share", 0.01, "near-ties")


def f32(*values: float) -> Array:
    return np.array(values, np.float32)


R = f32(1, 2, 3, 4)


def judged(*pairs: tuple[Array, Array | None], limit: Tolerance = LIMIT) -> OutputVerdict:
    judge = OutputJudge("y", limit)
    for index, (reference, answer) in enumerate(pairs):
        judge.add(f"s{index}", reference, answer)
    return judge.verdict()


def test_it_passes_within_the_tolerance_and_fails_above_it() -> None:
    assert judged((R, R), (R, R * np.float32(1.0009))).passed
    verdict = judged((R, R), (R, R * np.float32(1.0011)))
    assert not verdict.passed
    (failure,) = verdict.failures
    assert "relative L2" in failure and "s1" in failure and "measured" in failure


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (None, "no such output"),
        (f32(1, 2, 3), r"shape \[3\] instead of \[4\]"),
        (R.reshape(2, 2), r"shape \[2, 2\] instead of \[4\]"),
        (R.astype(np.float64), "dtype float64 instead of float32"),
        (R.view(np.int32), "dtype int32"),
        (f32(1, 2, 3, math.nan), "NaN or infinite"),
        (f32(1, 2, 3, math.inf), "NaN or infinite"),
        (np.zeros(4, np.float32), "all zeros"),
        (f32(2, 2, 2, 2), "constant"),
    ],
)
def test_what_no_tolerance_excuses(answer: Array | None, says: str) -> None:
    generous = Tolerance("relative_l2", 1e9, "generous")
    verdict = judged((R, R), (R, answer), limit=generous)
    assert not verdict.passed
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(verdict.failures[0])
    assert verdict.failures[0].startswith("sample s1:")


def test_a_finite_answer_where_the_reference_is_not_is_wrong() -> None:
    for value in (math.nan, math.inf, -math.inf):
        reference = f32(1, 2, value, 4)
        assert judged((reference, reference)).passed
        assert not judged((reference, R)).passed


def test_nothing_compared_is_a_failure() -> None:
    assert not judged().passed
    assert judged().failures == ("nothing was compared",)


def test_empty_outputs_are_compared_by_their_shape() -> None:
    empty = np.zeros((0, 3), np.float32)
    assert judged((empty, empty)).passed
    assert not judged((empty, np.zeros((0, 4), np.float32))).passed
    assert not judged((empty, np.zeros((0, 3)))).passed


@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_worst_sample_is_named_wherever_it_stands(at: int) -> None:
    answers = [R * np.float32(1.0001)] * 3
    answers[at] = R * np.float32(1.0005)
    metrics = judged(*((R, answer) for answer in answers)).metrics
    assert metrics.worst_sample == f"s{at}"
    assert metrics.relative_l2 == pytest.approx(5e-4, rel=1e-3)
    assert metrics.mvre == pytest.approx(5e-4, rel=1e-3)
    assert metrics.sqnr_db == pytest.approx(-20 * math.log10(5e-4), rel=1e-3)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_one_nan_sample_among_good_ones_never_passes(at: int) -> None:
    for reference, answer in (
        (R, np.full(4, math.nan, np.float32)),
        (np.array([1e300, -1e300]), np.array([-1e300, math.inf])),
        (np.array([1.0, 2.0]), np.array([1e308, -1e308])),
    ):
        pairs = [(reference, reference)] * 3
        pairs[at] = (reference, answer)
        assert not judged(*pairs).passed


@pytest.mark.parametrize("values", [[math.nan, 1.0], [1.0, math.nan], [0.0, math.nan, 2.0]])
def test_the_worst_of_several_is_never_a_number_where_one_is_none(values: list[float]) -> None:
    assert math.isnan(_worst_of(values))
    assert _worst_of([1.0, math.inf, 2.0]) == math.inf


@pytest.mark.parametrize("limit", [math.nan, -1.0])
def test_a_limit_that_makes_no_sense_passes_nothing(limit: float) -> None:
    assert not judged((R, R), limit=Tolerance("relative_l2", limit, "broken")).passed


def test_bit_equality_is_reported_not_asked_for() -> None:
    assert judged((R, R)).metrics.bit_equal
    close = judged((R, R), (R, np.nextafter(R, np.float32(9))))
    assert close.passed and not close.metrics.bit_equal


def test_discrete_outputs_by_their_share_of_mismatches() -> None:
    labels = np.arange(200)
    other = labels.copy()
    other[:2] += 1
    assert judged((labels, other), limit=SHARE).passed
    other[:3] += 1
    assert not judged((labels, other), limit=SHARE).passed
    text = np.array(["a", "b"], object)
    assert judged((text, np.array(["a", "b"])), limit=SHARE).passed
    assert not judged((text, np.array(["a", "c"], object)), limit=SHARE).passed


def test_bfloat16_is_judged_like_any_float() -> None:
    r = R.astype(ml_dtypes.bfloat16)
    assert judged((r, r)).passed
    assert not judged((r, (R * 2).astype(ml_dtypes.bfloat16))).passed


def test_every_output_of_the_reference_is_asked_for() -> None:
    judges = {name: OutputJudge(name, LIMIT) for name in ("a", "b")}
    judge_answers(judges, "s0", {"a": R, "b": R}, {"a": R, "extra": R})
    assert judges["a"].verdict().passed
    assert judges["b"].verdict().failures[0] == "sample s0: the engine gave no such output"
