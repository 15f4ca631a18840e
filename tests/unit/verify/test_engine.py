"""Right engines pass; wrong ones fail, and the verdict names what is wrong. All on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from roadworthy.backends.base import Engine
from roadworthy.core.errors import UsageError, WrongAnswersError
from roadworthy.core.reference import Reference
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Answers, Array, Feed, Signature
from roadworthy.core.verdict import Tolerance, Verdict
from roadworthy.graph.depth import arithmetic_depth
from roadworthy.verify.answers import trusted_answers
from roadworthy.verify.cases import plan_cases
from roadworthy.verify.engine import require_pass, tolerances, verify_engine
from tests.models import (
    PERCEPTRON,
    NumpyOracle,
    engine,
    network,
    normal,
    perceptron,
    perceptron_in_numpy,
    perceptron_weights,
    ranged,
)

ROWS = [{"x": normal(1, 3, seed=i)} for i in range(4)]
DYNAMIC = "x[batch=1..8,3]"


def verdict_of(
    candidate: Engine,
    signature: Signature,
    function=perceptron_in_numpy,
    rows: list[dict[str, Array]] = ROWS,
) -> Verdict:
    """Judge an engine by NumPy's answers."""
    reference = Reference(
        NumpyOracle(function), NumpyOracle(function, "float64"), "source framework"
    )
    cases = plan_cases(signature, Samples.of_arrays(rows))
    with trusted_answers(reference, cases) as trusted:
        limits = tolerances(trusted, arithmetic_depth(perceptron()))
        return verify_engine(candidate, trusted.cases, limits)


def judge_perceptron(graph: str = PERCEPTRON, **weights: Array) -> Verdict:
    """Judge a network that claims to be PERCEPTRON, at batches of 1 to 8."""
    model = network(graph, {**perceptron_weights(), **weights})
    signature = ranged(perceptron(), DYNAMIC)
    return verdict_of(replace(engine(model), signature=signature), signature)


def failed_outputs(verdict: Verdict) -> dict[str, set[str]]:
    """Return, per output, the cases in which it failed."""
    found: dict[str, set[str]] = {}
    for case in verdict.cases:
        for output in case.outputs:
            if not output.passed:
                found.setdefault(output.name, set()).add(case.case)
    return found


ALL = {"samples", "odd", "largest", "batch"}


def test_the_right_engine_passes_every_case_and_self_check() -> None:
    verdict = judge_perceptron()
    assert verdict.failures == ()
    assert verdict.passed
    assert {case.case for case in verdict.cases} == ALL
    assert [check.name for check in verdict.self_checks] == [
        "repeat", "results kept", "strides", "batch", "threads",
    ]  # fmt: skip
    assert {"engine", "compare", "self_checks"} <= verdict.seconds.keys()
    require_pass(verdict, "here")


def test_altered_weights_of_the_last_layer_fail_and_name_the_output() -> None:
    w2 = perceptron_weights()["w2"] * np.float32(1.001)
    verdict = judge_perceptron(w2=w2)
    assert failed_outputs(verdict) == {"y": ALL}
    worst = verdict.worst()["y"]
    assert worst.metrics.relative_l2 == pytest.approx(1e-3, rel=0.01)
    with pytest.raises(WrongAnswersError, match="output 'y'") as caught:
        require_pass(verdict, "onnxruntime")
    assert (caught.value.exit_code, caught.value.where) == (3, "onnxruntime")


def test_one_weight_altered_by_a_thousandth_is_seen() -> None:
    w2 = perceptron_weights()["w2"].copy()
    w2[np.argmax(np.abs(w2[:, 0])), 0] *= np.float32(1.001)
    assert "y" in failed_outputs(judge_perceptron(w2=w2))


def test_swapped_columns_flip_the_labels_too() -> None:
    verdict = judge_perceptron(w2=perceptron_weights()["w2"][:, ::-1].copy())
    assert failed_outputs(verdict) == {"y": ALL, "label": ALL}


def test_an_engine_that_only_gives_zeros_says_so() -> None:
    verdict = judge_perceptron(w2=np.zeros((8, 2), np.float32))
    assert any("all zeros" in failure for failure in verdict.failures)
    assert failed_outputs(verdict)["y"] == ALL


def test_an_engine_that_gives_nan_fails() -> None:
    w2 = perceptron_weights()["w2"].copy()
    w2[0, 0] = np.nan
    assert any("NaN" in failure for failure in judge_perceptron(w2=w2).failures)


def test_a_missing_output_fails_by_name() -> None:
    verdict = judge_perceptron(PERCEPTRON.replace("label", "labels"))
    assert failed_outputs(verdict) == {"label": ALL}
    assert "the engine gave no such output" in verdict.failures[0]


def test_another_dtype_fails() -> None:
    graph = PERCEPTRON.replace("int64[batch] label", "int32[batch] label").replace(
        "label = ArgMax<axis = 1, keepdims = 0>(y)",
        "long = ArgMax<axis = 1, keepdims = 0>(y)  label = Cast<to = 6>(long)",
    )
    verdict = judge_perceptron(graph)
    assert failed_outputs(verdict) == {"label": ALL}
    assert "int32 instead of int64" in verdict.failures[0]


# Batches


BAKED_IN = PERCEPTRON.replace(
    "h = MatMul(x, w1)",
    "one = Constant<value_ints = [1, 3]>()  row = Reshape(x, one)  h = MatMul(row, w1)",
)
# Right for one row; for more it reads down the columns.
MIXING = PERCEPTRON.replace(
    "h = MatMul(x, w1)",
    "t = Transpose<perm = [1, 0]>(x)  rows = Constant<value_ints = [-1, 3]>()  "
    "row = Reshape(t, rows)  h = MatMul(row, w1)",
)
# Right for one row; for more each row is drawn towards the others' mean.
CROSS_TALK = PERCEPTRON.replace(
    "h = MatMul(x, w1)",
    "axes = Constant<value_ints = [0]>()  m = ReduceMean(x, axes)  d = Sub(x, m)  "
    "tenth = Constant<value_float = 0.01>()  e = Mul(d, tenth)  z = Sub(x, e)  h = MatMul(z, w1)",
)


def test_a_baked_in_batch_fails_at_every_other_batch() -> None:
    verdict = judge_perceptron(BAKED_IN)
    failed = {case.case for case in verdict.cases if not case.passed}
    assert failed == {"odd", "largest", "batch"}
    assert any("the engine gave no answer" in failure for failure in verdict.failures)
    assert not next(check for check in verdict.self_checks if check.name == "batch").passed


@pytest.mark.parametrize("graph", [MIXING, CROSS_TALK])
def test_samples_that_leak_into_one_another_fail_wherever_they_are_batched(graph: str) -> None:
    verdict = judge_perceptron(graph)
    assert {case.case for case in verdict.cases if not case.passed} == {"odd", "largest", "batch"}
    assert failed_outputs(verdict)["y"] == {"odd", "largest", "batch"}


@pytest.mark.parametrize("graph", [MIXING, CROSS_TALK])
def test_the_batch_self_check_sees_the_same_without_a_reference(graph: str) -> None:
    """The samples alone are single rows, and all answers to them are right."""
    signature = ranged(perceptron(), DYNAMIC)
    model = network(graph, perceptron_weights())
    reference = Reference(NumpyOracle(perceptron_in_numpy), None, "source framework")
    cases = plan_cases(signature, Samples.of_arrays(ROWS))[:1]
    with trusted_answers(reference, cases) as trusted:
        verdict = verify_engine(
            replace(engine(model), signature=signature), trusted.cases, tolerances(trusted, 4)
        )
    assert all(case.passed for case in verdict.cases)
    assert [check.name for check in verdict.self_checks if not check.passed] == ["batch"]
    assert not verdict.passed


# Outputs that change places


def test_swapped_outputs_fail_both() -> None:
    right = "g (float[n, 2] x) => (float[n, 2] a, float[n, 2] b) { a = Neg(x)  b = Exp(x) }"
    swapped = right.replace("a = Neg(x)  b = Exp(x)", "b = Neg(x)  a = Exp(x)")

    def in_numpy(feed: Feed) -> Answers:
        return {"a": -feed["x"], "b": np.exp(feed["x"])}

    rows: list[dict[str, Array]] = [{"x": normal(2, 2, seed=i)} for i in range(2)]

    def judge(model: ir.Model) -> Verdict:
        return verdict_of(engine(model), ranged(model), in_numpy, rows)

    assert judge(network(right)).passed
    assert failed_outputs(judge(network(swapped))).keys() == {"a", "b"}


# What can't be judged isn't passed


def judged_by(limits: Mapping[str, Tolerance], answers: NumpyOracle) -> Verdict:
    cases = plan_cases(ranged(perceptron()), Samples.of_arrays(ROWS))[:1]
    with trusted_answers(Reference(answers, None, "given answers"), cases) as trusted:
        return verify_engine(engine(perceptron()), trusted.cases, limits)


def test_an_output_without_trusted_answers_is_not_passed_unseen() -> None:
    only_y = NumpyOracle(lambda feed: {"y": perceptron_in_numpy(feed)["y"]})
    with pytest.raises(UsageError, match=r"no trusted answers.*label") as caught:
        judged_by({"y": Tolerance("relative_l2", 1e-3, "assumed")}, only_y)
    assert caught.value.exit_code == 2


def test_an_engine_that_refuses_an_allowed_size_has_failed() -> None:
    static = PERCEPTRON.replace("batch, 3", "1, 3").replace("[batch, 2]", "[1, 2]")
    model = network(static.replace("[batch]", "[1]"), perceptron_weights())
    verdict = verdict_of(engine(model), ranged(perceptron(), DYNAMIC))
    failed = {case.case for case in verdict.cases if not case.passed}
    assert failed == {"odd", "largest", "batch"}


HEAD = """g (float[1,64,3] x) => (float[1,64,6] y) {
    b = Mul(x, pixels) s = Sigmoid(x) c = Mul(s, alive) y = Concat<axis = 2>(b, c) }"""


def head_in_numpy(feed: Feed) -> Answers:
    x = feed["x"]
    return {"y": np.concatenate([x * x.dtype.type(4000), 1 / (1 + np.exp(-x))], axis=2)}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize(("alive", "passes"), [(1.0, True), (0.9, True), (0.0, False)])
def test_a_detector_whose_confidences_died_fails(
    precision: str, alive: float, passes: bool
) -> None:
    """Beside boxes in pixels they are a ten-thousandth of the output's norm."""
    model = network(HEAD, {"pixels": np.float32([4000]), "alive": np.float32([alive])})
    oracles = NumpyOracle(head_in_numpy), NumpyOracle(head_in_numpy, "float64")
    candidate = engine(model)
    rows = [{"x": normal(1, 64, 3, seed=seed)} for seed in range(2)]
    cases = plan_cases(candidate.signature, Samples.of_arrays(rows))
    with trusted_answers(Reference(*oracles, "source framework"), cases) as trusted:
        limits = tolerances(trusted, 3, precision)
        verdict = verify_engine(candidate, trusted.cases, limits)
    error = verdict.worst_of("relative_l2")["y"]
    assert error < 3e-4
    if precision == "fp32":
        assert verdict.passed is (alive == 1.0)
    else:
        assert error < limits["y"].limit
        assert verdict.passed is passes, verdict.failures
    said = any("much smaller values" in failure for failure in verdict.failures)
    assert said is not passes
