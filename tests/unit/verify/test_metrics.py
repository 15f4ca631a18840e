"""How far one array is from its reference, against the definitions written out in NumPy."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from roadworthy.core.signature import Array
from roadworthy.verify.metrics import EQUAL, compare_pair
from tests.models import normal

NAN, INF = math.nan, math.inf
FLOATS = ["float16", "bfloat16", "float32", "float64"]


def dtype_of(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name, name))


def f32(*values: float) -> Array:
    return np.array(values, np.float32)


# The definitions


def test_by_hand() -> None:
    """r = (3, -4, 0): RMS² = 25/3, floor 1e-3·RMS; y differs by 0.3 and 0.01."""
    pair = compare_pair(np.array([3.0, -4.0, 0.0]), np.array([3.3, -4.0, 0.01]))
    floor = 1e-3 * math.sqrt(25 / 3)
    assert pair.mvre == pytest.approx((0.3 / 3 + 0.01 / floor) / 3, rel=1e-9)
    assert pair.max_abs == pytest.approx(0.3, rel=1e-9)
    assert pair.relative_l2 == pytest.approx(math.sqrt(0.09 + 0.0001) / 5, rel=1e-9)
    assert pair.sqnr_db == pytest.approx(-20 * math.log10(pair.relative_l2), rel=1e-9)
    assert pair.mismatch_share == pytest.approx(2 / 3)
    assert not pair.bit_equal


@pytest.mark.parametrize("size", [1, 7, 65536, 65537, 200_000])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_against_the_definitions_in_fp64_over_every_block(dtype: str, size: int) -> None:
    rng = np.random.default_rng(size)
    reference = (rng.standard_normal(size) * 3 + 1).astype(dtype_of(dtype))
    noisy = reference.astype(np.float64) * (1 + 0.01 * rng.standard_normal(size))
    answer = noisy.astype(dtype_of(dtype))
    pair = compare_pair(reference, answer)
    r, y = reference.astype(np.float64), answer.astype(np.float64)
    d = np.abs(y - r)
    floor = 1e-3 * np.sqrt(np.mean(r**2))
    assert pair.mvre == pytest.approx(np.mean(d / np.maximum(np.abs(r), floor)), rel=1e-9)
    assert pair.max_abs == d.max()
    assert pair.relative_l2 == pytest.approx(np.linalg.norm(d) / np.linalg.norm(r), rel=1e-9)
    cosine = r @ y / np.linalg.norm(r) / np.linalg.norm(y)
    assert pair.cosine == pytest.approx(min(cosine, 1.0), rel=1e-9)
    assert pair.mismatch_share == np.mean(r != y)
    assert (pair.nonfinite, pair.all_zero, pair.constant) == (0, False, False)


def test_complex_numbers_are_compared_by_their_parts() -> None:
    reference = np.array([1 + 2j, 3 - 4j], np.complex64)
    answer = reference + np.array([0.5, 0.25j], np.complex64)
    assert compare_pair(reference, answer) == compare_pair(f32(1, 2, 3, -4), f32(1.5, 2, 3, -3.75))


def test_strides_do_not_matter() -> None:
    for dtype in ("float32", "complex64", "int64", "bool"):
        whole = np.arange(24).reshape(4, 6).astype(dtype)
        other = (np.arange(24).reshape(4, 6) % 7).astype(dtype)
        straight = compare_pair(whole[:, ::2].copy(), other[:, ::2].copy())
        assert compare_pair(whole[:, ::2], other[:, ::2]) == straight
        assert compare_pair(whole[0, ::2], other[0, ::2]) == compare_pair(
            whole[0, ::2].copy(), other[0, ::2].copy()
        )


# Equality


@pytest.mark.parametrize(
    "array",
    [
        f32(1, -2, 3), f32(NAN, INF, -INF), f32(0, -0.0), f32(), np.zeros((3, 0)),
        np.array(2.5, np.float32), np.array([True, False]), np.arange(5), np.array([1 + 2j]),
        np.array(["a", "b"], object), np.array(["a", "b"]), np.array([1, 2], ml_dtypes.bfloat16),
        np.array([1, 2], ml_dtypes.int4), np.array([1, 2], ml_dtypes.float8_e8m0fnu),
    ],
    ids=repr,
)  # fmt: skip
def test_an_array_equals_itself_to_the_last_bit(array: Array) -> None:
    assert compare_pair(array, array.copy()) == EQUAL


def test_a_negative_zero_is_not_bit_equal_but_no_error() -> None:
    pair = compare_pair(f32(0, 1), f32(-0.0, 1))
    assert not pair.bit_equal
    assert (pair.relative_l2, pair.mismatch_share, pair.mvre, pair.sqnr_db) == (0, 0, 0, INF)


def test_text_of_another_width_is_the_same_text() -> None:
    assert compare_pair(np.array(["a", "b"], "U1"), np.array(["a", "b"], "U9")) == EQUAL
    assert compare_pair(np.array(["a", "b"], object), np.array(["a", "b"])) == EQUAL


# What is counted apart: NaN and infinities


@pytest.mark.parametrize(
    ("reference", "answer", "nonfinite"),
    [
        (f32(1, 2), f32(1, NAN), 1),
        (f32(1, NAN), f32(1, 2), 1),
        (f32(1, 2), f32(INF, -INF), 2),
        (f32(INF, 1), f32(-INF, 1), 1),
        (f32(INF, 1), f32(NAN, 1), 1),
        (f32(INF, -INF, NAN, 1), f32(INF, -INF, NAN, 2), 0),
        (f32(NAN, NAN), f32(1, 2), 2),
        (f32(1, 2), f32(NAN, NAN), 2),
    ],
)
def test_nonfinite_unlike_the_references_both_ways(
    reference: Array, answer: Array, nonfinite: int
) -> None:
    for dtype in FLOATS:
        pair = compare_pair(reference.astype(dtype_of(dtype)), answer.astype(dtype_of(dtype)))
        assert pair.nonfinite == nonfinite
        assert not math.isnan(pair.relative_l2)
        assert pair.mismatch_share >= nonfinite / 2 / reference.size


def test_the_other_metrics_are_over_the_finite_positions() -> None:
    pair = compare_pair(f32(INF, 3, NAN, 4), f32(INF, 3, NAN, 4.5))
    assert pair.relative_l2 == pytest.approx(0.5 / 5)
    assert pair.mvre == pytest.approx(0.5 / 4 / 2)
    assert pair.max_abs == 0.5


def test_another_kind_of_nan_is_a_nan() -> None:
    quiet = np.array([0x7FC00000, 0x3F800000], np.uint32).view(np.float32)
    other = np.array([0x7FC00001, 0x3F800000], np.uint32).view(np.float32)
    pair = compare_pair(quiet, other)
    assert (pair.nonfinite, pair.mismatch_share, pair.relative_l2) == (0, 0.0, 0.0)


# All zero, constant


def test_all_zero_where_the_reference_is_not() -> None:
    assert compare_pair(f32(0, 1e-30), f32(0, 0)).all_zero
    assert compare_pair(f32(1, 2), f32(0, -0.0)).all_zero
    assert not compare_pair(f32(0, 0), f32(0, -0.0)).all_zero
    assert compare_pair(np.array([0, 1]), np.array([0, 0])).all_zero


def test_constant_where_the_reference_is_not() -> None:
    assert compare_pair(f32(1, 2), f32(1.5, 1.5)).constant
    assert not compare_pair(f32(1, 1), f32(2, 2)).constant
    assert not compare_pair(f32(1), f32(2)).constant  # one value is no pattern
    assert compare_pair(np.array([3, 4]), np.array([3, 3])).constant
    assert compare_pair(f32(1e6, 1e6 + 4), f32(1e6, 1e6)).constant  # the offset hides it from L2


def test_a_reference_that_only_rounding_keeps_from_being_constant_is_constant() -> None:
    """A saturated sigmoid: 1 and the number before 1 are the same answer."""
    almost = np.nextafter(np.float32(1), np.float32(0))
    assert not compare_pair(f32(1, almost, 1), f32(1, 1, 1)).constant


def test_an_all_zero_reference_forgives_nothing() -> None:
    pair = compare_pair(f32(0, 0), f32(0, 1e-30))
    assert (pair.relative_l2, pair.mvre, pair.sqnr_db) == (INF, INF, -INF)


# Other kinds of values


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "int4", "uint2"])
def test_discrete_values_by_their_share_of_mismatches(dtype: str) -> None:
    reference = np.array([0, 1, 1, 0]).astype(dtype_of(dtype))
    answer = np.array([0, 1, 0, 1]).astype(dtype_of(dtype))
    assert compare_pair(reference, answer).mismatch_share == 0.5


def test_integers_that_fp64_cannot_tell_apart_are_told_apart() -> None:
    for dtype in ("int64", "uint64"):
        reference = np.array([2**53, 2**62, 5], dtype)
        pair = compare_pair(reference, reference + np.array([1, 1, 0], dtype))
        assert pair.mismatch_share == pytest.approx(2 / 3)


def test_text_by_its_share_of_mismatches() -> None:
    for dtype in (object, np.str_):
        one = np.array(["a", "b", "c", "d"], dtype)
        pair = compare_pair(one, np.array(["a", "x", "c", "d"], dtype))
        assert (pair.mismatch_share, pair.bit_equal) == (0.25, False)


def test_a_scalar_is_compared_as_its_value() -> None:
    pair = compare_pair(np.array(4.0), np.array(5.0))
    assert (pair.relative_l2, pair.max_abs, pair.constant) == (0.25, 1.0, False)


# Sizes of numbers


@pytest.mark.parametrize("exponent", [-300, -200, -150, 0, 150, 200, 300])
def test_doubles_whose_squares_overflow_or_vanish(exponent: int) -> None:
    scale = 10.0**exponent
    reference, answer = np.array([3.0, -4.0]) * scale, np.array([3.0, -4.5]) * scale
    pair = compare_pair(reference, answer)
    assert pair.relative_l2 == pytest.approx(0.1)
    assert pair.mvre == pytest.approx(0.5 / 4 / 2)
    assert pair.max_abs == pytest.approx(0.5 * scale)
    assert pair.cosine == pytest.approx((9 + 18) / 5 / math.hypot(3, 4.5))


def test_the_largest_numbers_there_are() -> None:
    for dtype in (np.float32, np.float64):
        top = np.finfo(dtype).max
        reference = np.array([top, -top], dtype)
        pair = compare_pair(reference, -reference)
        assert pair.relative_l2 == pytest.approx(2.0)
        assert compare_pair(reference, np.array([1, -1], dtype)).relative_l2 == pytest.approx(1.0)
        assert not compare_pair(np.array([1, -1], dtype), reference).relative_l2 <= 1e30


@pytest.mark.parametrize("fill", [-1e4, -1e9, float(np.finfo(np.float32).min), 65504.0])
def test_beside_the_fill_of_a_mask_the_rest_is_judged(fill: float) -> None:
    """-1e9 where a mask hides: beside it every error of the logits is below any tolerance."""
    logits = np.array([1.0, -2.0, 0.5, 3.0], np.float32)
    mask = np.full(3, fill, np.float32)
    right, wrong = np.concatenate([logits, mask]), np.concatenate([logits * 5, mask])
    assert compare_pair(right, wrong).relative_l2 == pytest.approx(4.0)
    assert compare_pair(right, right * np.float32(1 - 2**-20)).relative_l2 < 2e-6
    nothing = np.concatenate([logits * 0, mask])
    assert compare_pair(right, nothing).all_zero
    unfilled = np.concatenate([logits, mask / 2])
    assert compare_pair(right, unfilled).relative_l2 >= 0.49


@pytest.mark.parametrize(
    "right",
    [
        [1.0, 1.0, 1e-6, 2e-6],  # a classifier that is sure: its tails don't matter
        [2e5, 1e-3, 2e-3],  # one large value is an answer
        [2e4, 2e4, 150.0],  # not much larger than the rest
        [1e9, 1e9, 0.0],
    ],
)
def test_what_is_no_fill_is_judged_as_one(right: list[float]) -> None:
    reference = np.array(right, np.float32)
    wrong = reference.copy()
    wrong[-1] += 1e-6
    assert compare_pair(reference, wrong).relative_l2 < 1e-5


def detections(rows: int = 500) -> Array:
    """Four edges of a box in pixels beside five confidences, as a YOLO's head gives them."""
    rng = np.random.default_rng(0)
    boxes, scores = rng.uniform(0, 640, (1, rows, 4)), rng.beta(0.2, 3, (1, rows, 5))
    return np.concatenate([boxes, scores], axis=2).astype(np.float32)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1)], ids=["last axis", "axis 1"])
def test_confidences_beside_pixels_are_measured_by_themselves(order: tuple[int, ...]) -> None:
    right = detections()
    died, shuffled = right.copy(), right[..., [0, 8, 2, 5, 4, 3, 7, 6, 1]]
    died[..., 4:] = 0
    pair = compare_pair(right.transpose(order), died.transpose(order))
    assert pair.relative_l2 < 2e-3
    assert pair.parts_l2 == 1.0
    mixed = shuffled.copy()
    mixed[..., [1, 3, 7]] *= np.float32(0.75)
    found = compare_pair(shuffled.transpose(order), mixed.transpose(order))
    scores = [1, 3, 4, 6, 7]
    lost = np.linalg.norm((shuffled - mixed)[..., scores]) / np.linalg.norm(shuffled[..., scores])
    assert found.parts_l2 == pytest.approx(lost, rel=1e-6)
    assert compare_pair(right, right * np.float32(1.001)).parts_l2 == pytest.approx(1e-3, rel=1e-3)


def test_three_scales_are_three_parts() -> None:
    right = normal(1, 20, 3) * np.array([1e6, 1e3, 1.0], np.float32)
    for column in range(3):
        wrong = right.copy()
        wrong[..., column] *= 2
        assert compare_pair(right, wrong).parts_l2 == (0.0 if column == 0 else 1.0)


@pytest.mark.parametrize(
    "right",
    [
        np.ones((1, 3, 8, 8)) * np.array([0.9, 1e-6, 0.1]).reshape(1, 3, 1, 1),  # probabilities
        np.array([[5.0, -3.0, 1e-4, 2.0]]),  # logits: one value has no size
        np.ones((2, 40, 3)) * np.array([5.0, 0.0, 1.0]),  # nothing is in the one of zeros
        np.arange(1.0, 4097.0).reshape(1, 64, 64),  # of many sizes, none far from the next
        np.ones((1, 2, 64, 64)) * np.where(np.arange(64) < 9, 0.01, 5.0),  # columns of a picture
    ],
    ids=["probabilities", "logits", "zeros", "a ramp", "columns"],
)
def test_what_is_on_one_scale_is_one_part(right: Array) -> None:
    wrong = right + np.float32(0.01)
    assert compare_pair(right.astype(np.float32), wrong.astype(np.float32)).parts_l2 == 0.0
