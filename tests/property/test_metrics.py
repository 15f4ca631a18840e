"""Metrics: exact on equal arrays, independent of scale, and never a pass for NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from roadworthy.core.signature import Array
from roadworthy.core.verdict import Tolerance
from roadworthy.verify.judge import OutputJudge
from roadworthy.verify.metrics import EQUAL, compare_pair

SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
ANY = st.sampled_from([np.float16, np.float32, np.float64]).flatmap(
    lambda dtype: hnp.arrays(dtype, SHAPES)
)
DISCRETE = st.sampled_from([np.int64, np.uint64, np.int8, np.bool_]).flatmap(
    lambda dtype: hnp.arrays(dtype, SHAPES)
)
# Numbers that a power of two scales exactly.
ROUND = st.integers(-8000, 8000).map(lambda eighths: eighths / 8)
FINITE = hnp.arrays(np.float64, st.integers(1, 12), elements=ROUND)


@st.composite
def pairs(draw: st.DrawFn, arrays: st.SearchStrategy[Array] = ANY) -> tuple[Array, Array]:
    one = draw(arrays)
    return one, draw(hnp.arrays(one.dtype, one.shape))


@given(st.one_of(ANY, DISCRETE, hnp.arrays(np.complex64, SHAPES)))
def test_an_array_against_itself_is_exact(array: Array) -> None:
    assert compare_pair(array, array.copy()) == EQUAL


@given(pairs())
def test_numbers_of_any_size_give_numbers(pair: tuple[Array, Array]) -> None:
    found = compare_pair(*pair)
    assert not math.isnan(found.relative_l2)
    assert not math.isnan(found.max_abs)
    assert found.relative_l2 >= 0 and found.mvre >= 0 and found.max_abs >= 0
    assert -1 <= found.cosine <= 1
    assert 0 <= found.mismatch_share <= 1


@given(pairs())
def test_nonfinite_counts_the_positions_where_the_patterns_differ(
    pair: tuple[Array, Array],
) -> None:
    r, y = pair
    same = np.isfinite(r) & np.isfinite(y) | (r == y) | (np.isnan(r) & np.isnan(y))
    assert compare_pair(r, y).nonfinite == np.count_nonzero(~same)


@given(pairs(DISCRETE))
def test_the_share_of_mismatches_is_exact(pair: tuple[Array, Array]) -> None:
    r, y = pair
    expected = np.count_nonzero(r != y) / r.size if r.size else 0.0
    assert compare_pair(r, y).mismatch_share == expected


@given(FINITE, st.data(), st.integers(-1000, 900))
def test_relative_measures_do_not_depend_on_the_scale(
    reference: Array, data: st.DataObject, exponent: int
) -> None:
    answer = data.draw(hnp.arrays(np.float64, reference.shape, elements=ROUND))
    scale = 2.0**exponent
    plain, scaled = compare_pair(reference, answer), compare_pair(reference * scale, answer * scale)
    for name in ("relative_l2", "mvre", "cosine", "sqnr_db", "mismatch_share"):
        expected = getattr(plain, name)
        assert getattr(scaled, name) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(FINITE, st.data())
def test_against_the_definitions(reference: Array, data: st.DataObject) -> None:
    answer = data.draw(hnp.arrays(np.float64, reference.shape, elements=st.floats(-1e3, 1e3)))
    assume(np.abs(reference).max() > 1e-3 and (reference != answer).any())
    pair = compare_pair(reference, answer)
    d = np.abs(answer - reference)
    floor = 1e-3 * np.sqrt(np.mean(reference**2))
    assert pair.relative_l2 == pytest.approx(np.linalg.norm(d) / np.linalg.norm(reference))
    assert pair.mvre == pytest.approx(np.mean(d / np.maximum(np.abs(reference), floor)))
    assert pair.max_abs == d.max()


@given(
    st.lists(pairs(hnp.arrays(np.float64, st.integers(1, 4))), min_size=1, max_size=4),
    st.floats(0, 1e6),
)
def test_a_judge_passes_only_what_lies_within_the_limit(
    samples: list[tuple[Array, Array]], limit: float
) -> None:
    judge = OutputJudge("y", Tolerance("relative_l2", limit, "any"))
    for index, (reference, answer) in enumerate(samples):
        judge.add(str(index), reference, answer)
    verdict = judge.verdict()
    if verdict.passed:
        for reference, answer in samples:
            finite = np.isfinite(reference)
            assert np.array_equal(np.isnan(reference), np.isnan(answer))
            assert np.array_equal(reference[~finite], answer[~finite], equal_nan=True)
            if not finite.any():
                continue
            # In quarters, so that no difference overflows; √4 for at most four elements.
            error = np.abs(answer[finite] / 4 - reference[finite] / 4).max()
            size = np.abs(reference[finite]).max() / 4
            assert float(error) <= float(size) * (limit * 2.001 + 1e-150)


@given(st.permutations(range(4)), st.integers(0, 3))
def test_the_order_of_samples_changes_no_verdict(order: list[int], bad: int) -> None:
    reference = np.array([1.0, 2.0])
    answers = [reference * (1 + 1e-3 * i) for i in range(4)]
    answers[bad] = np.array([np.nan, 2.0])
    judge = OutputJudge("y", Tolerance("relative_l2", 1.0, "any"))
    for index in order:
        judge.add(str(index), reference, answers[index])
    assert not judge.verdict().passed
