"""Answers from a file are paired with the samples, and judge nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from roadworthy.core.errors import RunError, SamplesError
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Signature, TensorSpec
from roadworthy.source.given import given_reference
from tests import models

SIGNATURE = Signature(
    (TensorSpec("x", "float32", (2, 3)),),
    (TensorSpec("y", "float32", (2, 4)), TensorSpec("total", "float32", ())),
)
Y, TOTAL = models.normal(3, 2, 4), models.normal(3)


def samples(count):
    return Samples.of_arrays([{"x": models.normal(2, 3, seed=seed)} for seed in range(count)])


def reference(tmp_path, count, **arrays):
    path = tmp_path / "given.npz"
    np.savez(path, **arrays)
    return given_reference(path, samples(count), SIGNATURE)


def check(found, count):
    for index, feed in enumerate(samples(count)):
        answers = found.judge.run(feed)
        assert np.array_equal(answers["y"], Y[index])
        assert answers["total"].shape == ()
        assert answers["total"] == TOTAL[index]


def test_several_samples_have_one_more_axis(tmp_path):
    check(reference(tmp_path, 3, y=Y, total=TOTAL), 3)


def test_a_single_sample_in_both_forms(tmp_path):
    check(reference(tmp_path, 1, y=Y[0], total=TOTAL[0]), 1)
    check(reference(tmp_path, 1, y=Y[:1], total=TOTAL[:1]), 1)


def test_another_input_has_no_answer(tmp_path):
    found = reference(tmp_path, 1, y=Y[0], total=TOTAL[0])
    assert found.fine is None
    for other in (models.normal(2, 3, seed=9), models.normal(2, 3).astype(np.float64)):
        with pytest.raises(RunError, match="no answers"):
            found.judge.run({"x": other})


@pytest.mark.parametrize(
    "arrays",
    [
        {"z": Y},
        {"y": Y, "z": Y},
        {"y": Y[:2], "total": TOTAL},
        {"y": Y, "total": TOTAL[0]},
    ],
)
def test_answers_that_fit_nothing(tmp_path, arrays):
    with pytest.raises(SamplesError) as caught:
        reference(tmp_path, 3, **arrays)
    assert caught.value.remedy


def test_equal_samples_with_different_answers(tmp_path):
    np.savez(tmp_path / "given.npz", y=Y[:2], total=TOTAL[:2])
    twice = Samples.of_arrays([{"x": models.normal(2, 3)}] * 2)
    with pytest.raises(SamplesError, match="another answer"):
        given_reference(tmp_path / "given.npz", twice, SIGNATURE)
    np.savez(tmp_path / "given.npz", y=Y[[0, 0]], total=TOTAL[[0, 0]])
    assert given_reference(tmp_path / "given.npz", twice, SIGNATURE).kind == "given answers"
