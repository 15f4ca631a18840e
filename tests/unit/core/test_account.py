"""The account of the samples: a digest, ranges, and the suspicious ones by name."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from roadworthy.core.account import SamplesAccount, take_account
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Array


def account(*arrays: Array, name: str = "x") -> SamplesAccount:
    return take_account("here", "arrays", [(f"s{i}", {name: a}) for i, a in enumerate(arrays)])


RAMP = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_the_digest_is_known() -> None:
    """Pinned: certificates of different versions must agree on the same samples."""
    assert account(RAMP).digest == (
        "sha256:a47a091eba6aa60a9e51d57d1bd4a1afafc73fd1a4995fab0b8e0f9d03e80643"
    )


def test_the_digest_is_of_the_content_not_of_its_arrangement_in_memory() -> None:
    digest = account(RAMP).digest
    assert account(RAMP.copy()).digest == digest
    assert account(np.asfortranarray(RAMP)).digest == digest
    assert account(np.repeat(RAMP, 2, axis=1)[:, ::2]).digest == digest


@pytest.mark.parametrize(
    "other",
    [
        np.where(RAMP == 5, np.nextafter(np.float32(5), np.float32(6)), RAMP),
        RAMP.reshape(4, 3),
        RAMP.astype(np.float64),
        RAMP.view(np.int32),
        RAMP.astype(">f4"),
        np.where(RAMP == 0, np.float32(-0.0), RAMP),
    ],
)
def test_the_digest_changes_with_a_value_shape_or_dtype(other: Array) -> None:
    assert account(other).digest != account(RAMP).digest


def test_the_digest_changes_with_names_order_and_number() -> None:
    digests = {
        account(RAMP).digest,
        account(RAMP, name="y").digest,
        account(RAMP, RAMP).digest,
        account(RAMP, -RAMP).digest,
        account(-RAMP, RAMP).digest,
    }
    assert len(digests) == 5


def test_the_digest_sees_every_text_of_a_long_array() -> None:
    one = np.array(["same"] * 3000, object)
    other = one.copy()
    other[1500] = "else"
    assert account(one).digest != account(other).digest
    assert account(one).digest == account(one.copy()).digest
    assert account(np.array(["ab", "c"], object)).digest != (
        account(np.array(["a", "bc"], object)).digest
    )


def test_a_scalar_is_not_a_vector_of_one() -> None:
    scalar, vector = np.array(1.0), np.array([1.0])
    assert account(scalar).digest != account(vector).digest
    assert account(scalar).inputs[0].shapes == ((),)


def test_ranges_and_moments_over_all_samples() -> None:
    seen = account(RAMP, RAMP + 12, RAMP[:2]).inputs[0]
    values = np.concatenate([RAMP.ravel(), RAMP.ravel() + 12, RAMP[:2].ravel()])
    assert (seen.name, seen.dtype, seen.shapes) == ("x", "float32", ((3, 4), (2, 4)))
    assert (seen.low, seen.high) == (0.0, 23.0)
    assert seen.mean == pytest.approx(values.mean(), rel=1e-12)
    assert seen.std == pytest.approx(values.std(), rel=1e-12)


def test_ranges_are_of_the_finite_values() -> None:
    seen = account(np.array([np.nan, 1.0, np.inf, 3.0])).inputs[0]
    assert (seen.low, seen.high, seen.mean) == (1.0, 3.0, 2.0)
    nothing = account(np.array([np.nan, np.nan])).inputs[0]
    assert (nothing.low, nothing.high, nothing.mean, nothing.std) == (0.0, 0.0, 0.0, 0.0)


def test_nan_and_infinite_values_are_named_with_their_sample() -> None:
    found = account(RAMP, np.array([1, np.nan, np.inf, -np.inf], np.float32)).findings
    assert found == ("sample s1: input 'x' has 3 NaN or infinite values",)


def test_a_signalling_nan_is_a_nan_like_any_other() -> None:
    signalling = np.array([0x7F800001, 0x3F800000], np.uint32).view(np.float32)
    assert account(signalling).findings == ("sample s0: input 'x' has 1 NaN or infinite values",)


def test_all_equal_samples_are_named() -> None:
    found = account(RAMP, np.full((3, 4), 7.0, np.float32)).findings
    assert found == ("sample s1: input 'x' is all 7.0",)
    assert account(np.array([5])).findings == ()  # one value is no pattern


def test_a_sample_far_from_the_others_is_named() -> None:
    scaled = [RAMP * factor for factor in (1.0, 0.9, 1.1, 255.0)]
    (found,) = account(*scaled).findings
    assert found.startswith("sample s3: input 'x' reaches 2805")
    assert account(*[RAMP * factor for factor in (1.0, 2.0, 4.0, 7.0)]).findings == ()
    assert account(RAMP, RAMP * 255).findings == ()  # of two, which one is odd?


def test_text_and_small_types_are_counted_without_ranges() -> None:
    for array in (np.array(["a", "b"], object), np.ones(2, ml_dtypes.bfloat16)):
        seen = account(array)
        assert (seen.count, seen.inputs, seen.findings) == (1, (), ())


def test_samples_take_their_account_once() -> None:
    samples = Samples.of_arrays([{"x": RAMP}], source="mine")
    assert samples.account() is samples.account()
    assert samples.account().source == "mine"
    assert samples.account().digest == account(RAMP).digest
