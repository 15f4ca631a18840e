"""The trusted answers: kept for every case, with their noise, or an error that says why."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from roadworthy.core.errors import InputError, OraclesDisagreeError, RunError, UsageError
from roadworthy.core.reference import Reference
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Answers, Array, Feed, Signature
from roadworthy.source.onnx.oracles import BackendOracle
from roadworthy.verify.answers import TrustedAnswers, trusted_answers
from roadworthy.verify.cases import plan_cases
from roadworthy.verify.engine import tolerances
from tests.models import (
    NumpyOracle,
    network,
    normal,
    perceptron,
    perceptron_in_numpy,
    ranged,
)

SAMPLES = Samples.of_arrays([{"x": normal(1, 3, seed=i)} for i in range(3)])
FP32 = NumpyOracle(perceptron_in_numpy)
FP64 = NumpyOracle(perceptron_in_numpy, "float64")


def answers(
    *inputs: str, fine: NumpyOracle | None = FP64, samples: Samples = SAMPLES
) -> TrustedAnswers:
    cases = plan_cases(ranged(perceptron(), *inputs), samples)
    return trusted_answers(Reference(FP32, fine, "source framework"), cases)


def test_every_case_keeps_its_feeds_with_their_answers() -> None:
    with answers("x[batch=1..8,3]") as trusted:
        assert [case.name for case in trusted.cases] == [
            "samples", "odd", "largest", "batch",
        ]  # fmt: skip
        for case in trusted.cases:
            assert len(case) == len(list(case.pairs()))
            for _, feed, kept in case.pairs():
                expected = FP32.run(feed)
                assert kept.keys() == expected.keys()
                for name, array in kept.items():
                    assert array.dtype == expected[name].dtype
                    np.testing.assert_array_equal(array, expected[name])


def test_the_smallest_answer_is_told_per_output() -> None:
    with answers("x[batch=1..8,3]") as trusted:
        sizes: dict[str, list[int]] = {}
        for case in trusted.cases:
            for _, _, kept in case.pairs():
                for name, array in kept.items():
                    sizes.setdefault(name, []).append(array.size)
        assert trusted.fewest_elements() == {name: min(found) for name, found in sizes.items()}
        assert max(sizes["y"]) > min(sizes["y"])


def test_the_noise_is_the_worst_samples_fp32_against_fp64() -> None:
    with answers() as trusted:
        errors = []
        for feed in SAMPLES:
            fine, plain = FP64.run(feed)["y"], FP32.run(feed)["y"].astype(np.float64)
            errors.append(np.linalg.norm(fine - plain) / np.linalg.norm(fine))
        assert trusted.noise["y"] == pytest.approx(max(errors))
        assert trusted.noise["label"] == 0.0
        limits = tolerances(trusted, depth=3)
    assert limits["y"].origin.startswith("32·eps·√depth")
    assert limits["label"].metric == "mismatch_share"


def test_without_fp64_the_origin_is_assumed() -> None:
    with answers(fine=None) as trusted:
        assert trusted.noise == {"y": None, "label": None}
        assert tolerances(trusted, depth=3)["y"].origin.startswith("assumed")


def test_an_fp64_that_fails_is_noted_with_its_reason() -> None:
    def fails(feed: Feed) -> Answers:
        raise RunError("no double here")

    with answers(fine=NumpyOracle(fails, "float64")) as trusted:
        assert trusted.noise == {"y": None, "label": None}
        assert any("no double here" in note for note in trusted.notes)


def test_the_answers_go_when_the_block_ends() -> None:
    with answers() as trusted:
        case = trusted.cases[0]
        assert list(case.pairs())
    with pytest.raises(FileNotFoundError):
        list(case.pairs())


@pytest.mark.parametrize(
    "array",
    [
        np.array(2.5, np.float32),
        np.zeros((0, 3), np.float32),
        np.array([1, 2], ml_dtypes.bfloat16),
        np.array([1, -2], ml_dtypes.int4),
        np.array([True, False]),
        np.array([1 + 2j], np.complex64),
        np.array(["straße", "nul\0inside", ""], object),
        np.arange(24, dtype=np.float64).reshape(4, 6)[::2, ::3],
    ],
    ids=str,
)
def test_answers_of_every_dtype_and_shape_come_back_as_they_were(array: Array) -> None:
    oracle = NumpyOracle(lambda _: {"y": array})
    cases = plan_cases(ranged(perceptron()), SAMPLES)
    with trusted_answers(Reference(oracle, None, "source framework"), cases) as trusted:
        (_, _, kept), *_ = trusted.cases[0].pairs()
    assert (kept["y"].dtype, kept["y"].shape) == (array.dtype, array.shape)
    assert kept["y"].tolist() == array.tolist()


# A reference that can't be computed is an error, never a pass

# The shape of the weights only lets batches of 2 and 4 through.
PICKY = """g (float[batch, 3] x) => (float[n, 6] y) {
    shape = Constant<value_ints = [-1, 6]>()  y = Reshape(x, shape)
}"""


def picky(signature: Signature, *shapes: tuple[int, int]) -> TrustedAnswers:
    samples = Samples.of_arrays([{"x": normal(*shape)} for shape in shapes])
    oracle = BackendOracle(network(PICKY), signature, "onnxruntime")
    return trusted_answers(Reference(oracle, None, "oracles"), plan_cases(signature, samples))


def test_a_reference_that_fails_on_a_sample_is_an_error_that_names_it() -> None:
    with pytest.raises(InputError, match="arrays#1") as caught:
        picky(ranged(network(PICKY)), (2, 3), (3, 3))
    assert caught.value.exit_code == 2


def test_a_reference_that_fails_at_an_allowed_size_is_an_error_that_names_the_size() -> None:
    with pytest.raises(UsageError, match=r"'batch': \d") as caught:
        picky(ranged(network(PICKY), "x[batch=1..8,3]"), (2, 3))
    assert caught.value.exit_code == 2
    assert "--inputs" in str(caught.value.remedy)


def test_a_step_that_the_network_can_take_makes_it_right() -> None:
    with picky(ranged(network(PICKY), "x[batch=2..8:2,3]"), (2, 3)) as trusted:
        assert {case.sizes["batch"] for case in trusted.cases} <= {2, 4, 6, 8}


def test_at_a_size_that_nobody_stated_it_is_left_out_and_said() -> None:
    with picky(ranged(network(PICKY)), (2, 3)) as trusted:
        assert all(case.sizes["batch"] % 2 == 0 for case in trusted.cases)
        (note,) = [note for note in trusted.notes if "not judged" in note]
    assert "'batch': 3" in note and "--inputs" in note


def test_a_network_without_outputs_has_nothing_to_judge() -> None:
    cases = plan_cases(ranged(perceptron()), SAMPLES)
    with pytest.raises(UsageError, match="no outputs"):
        trusted_answers(Reference(NumpyOracle(lambda _: {}), None, "oracles"), cases)


def of_one_output(values: list[Array]) -> TrustedAnswers:
    """Answers of a network that gives these, one a sample."""
    feeds = [{"x": np.full((1, 3), index, np.float32)} for index in range(len(values))]
    samples = Samples.of_arrays(feeds)
    judge = NumpyOracle(lambda feed: {"y": values[int(feed["x"][0, 0])]})
    cases = plan_cases(ranged(perceptron(), "x[1,3]"), samples)
    return trusted_answers(Reference(judge, None, "source framework"), cases)


def test_a_network_that_always_answers_nan_can_judge_nothing() -> None:
    never = np.full((1, 2), np.nan, np.float32)
    with pytest.raises(InputError, match="'y' is NaN throughout"):
        of_one_output([never, never])
    for value in (1.0, -np.inf):  # an infinity says something: the maximum of nothing is -inf
        with of_one_output([never, np.full((1, 2), value, np.float32)]) as trusted:
            assert not any("'y'" in note for note in trusted.notes)


def test_an_output_that_is_always_empty_is_said() -> None:
    nothing = np.zeros((0, 4), np.float32)
    with of_one_output([nothing, nothing]) as trusted:
        assert [n for n in trusted.notes if "'y' was empty" in n]
    with of_one_output([nothing, np.ones((1, 4), np.float32)]) as trusted:
        assert not any("empty" in note for note in trusted.notes)


def test_a_network_that_keeps_something_of_other_inputs_can_judge_nothing() -> None:
    """Twice in a row it answers alike: its memory is of the first input that it ever saw."""
    seen: list[Array] = []

    def remembers(feed: Feed) -> Answers:
        seen.append(feed["x"])
        return {"y": feed["x"] - seen[-2:][0]}

    cases = plan_cases(ranged(perceptron(), "x[1,3]"), SAMPLES)
    with pytest.raises(InputError, match="another one after the other samples"):
        trusted_answers(Reference(NumpyOracle(remembers), None, "source framework"), cases)
    cases = plan_cases(ranged(perceptron(), "x[1,3]"), SAMPLES[:1])
    with trusted_answers(Reference(FP32, None, "source framework"), cases) as trusted:
        assert len(trusted.cases) == 1


def wrong_at_batch_2(feed: Feed) -> Answers:
    found = perceptron_in_numpy(feed)
    return {**found, "y": found["y"] * (1.5 if len(feed["x"]) == 2 else 1.0)}


@pytest.mark.parametrize(
    ("fine", "differ"),
    [
        (wrong_at_batch_2, "differ by 0.3"),
        (lambda feed: perceptron_in_numpy({"x": feed["x"][:1]}), "differ in shape"),
    ],
)
def test_oracles_that_contradict_each_other_at_some_size_only_are_an_error(fine, differ) -> None:
    """The limit would only rise to its ceiling, and an engine be judged by either of the two."""
    cases = plan_cases(ranged(perceptron(), "x[batch=1..2,3]"), SAMPLES)
    oracles = Reference(FP32, NumpyOracle(fine, "float64"), "oracles", contradiction=1e-2)
    with pytest.raises(OraclesDisagreeError, match=differ) as caught:
        trusted_answers(oracles, cases)
    assert "'batch': 2" in (caught.value.where or "")


def test_the_same_code_in_fp64_only_tells_the_noise() -> None:
    cases = plan_cases(ranged(perceptron(), "x[batch=1..2,3]"), SAMPLES)
    source = Reference(FP32, NumpyOracle(wrong_at_batch_2, "float64"), "source framework")
    with trusted_answers(source, cases) as trusted:
        assert trusted.noise["y"] > 0.3


def test_the_noise_of_complex_numbers_is_of_both_parts() -> None:
    imaginary = NumpyOracle(lambda feed: {"y": feed["x"] * (1 + 1j)})
    other = NumpyOracle(lambda feed: {"y": feed["x"] * (1 + 2j)}, "float64")
    cases = plan_cases(ranged(perceptron(), "x[1,3]"), SAMPLES)
    with trusted_answers(Reference(imaginary, other, "source framework"), cases) as trusted:
        assert trusted.noise["y"] == pytest.approx(5**-0.5)


def test_a_part_that_fp32_itself_does_not_know_is_not_judged_by_itself() -> None:
    def lost_digits(feed: Feed) -> Answers:
        x = feed["x"]
        large = x.dtype.type(1e4)
        return {"y": np.concatenate([x * large, (x + large) - large], axis=1)}

    one, two = NumpyOracle(lost_digits), NumpyOracle(lost_digits, "float64")
    signature = ranged(network("g (float[1,2,40] x) => (float[1,2,40] x2) { x2 = Neg(x) }"), "x")
    cases = plan_cases(signature, Samples.of_arrays([{"x": normal(1, 2, 40)}]))
    with trusted_answers(Reference(one, two, "source framework"), cases) as trusted:
        assert trusted.noisy_parts == {"y"}
        assert any("isn't judged by itself" in note for note in trusted.notes)
        assert [limit.parts for limit in tolerances(trusted, 3, "fp16").values()] == [False]
