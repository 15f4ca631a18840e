"""The same network in FP64: every operator keeps its meaning."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from roadworthy.core.errors import RoadworthyError
from roadworthy.core.signature import Answers, Array, Feed
from roadworthy.graph.signature import signature_of
from roadworthy.source.onnx.double import to_double
from tests.conformance.onnx_cases import Case, cases, differ
from tests.models import convnet, network, normal, perceptron, perceptron_in_numpy

# What ONNX's own tests are run on: every so many of them, each time the same.
EVERY = 3
# Tests in which FP64 means something else than FP32, or the evaluator itself is at fault.
EXCEPTIONS = {
    "test_bernoulli": "random numbers",
    "test_training_dropout": "random numbers",
    "test_dynamicquantizelinear": "a tie that FP64 breaks otherwise",
    "test_adam_multiple": "its expected answers are FP32's, after cancellation",
    "test_bitcast": "the bits of a double are others",
    "test_gradient_of": "the evaluator has no Gradient",
    "test_scatter_with": "the evaluator has no Scatter",
    "test_mvn": "a function of the standard adds an FP32 constant",
    "test_attention_3d_diff_heads_sizes_causal_expanded": "as test_mvn",
    "test_attention_4d_diff_heads_sizes_causal_expanded": "as test_mvn",
    "test_scan_sum": "the evaluator loses a name",
    "test_range_": "the evaluator gives a loop's scalars another shape",
}


def evaluate(model: ir.Model, feed: Feed) -> Answers:
    evaluator = ReferenceEvaluator(ir.to_proto(model))
    with np.errstate(all="ignore"):
        answers = evaluator.run(None, {name: doubled(array) for name, array in feed.items()})
    return dict(zip(evaluator.output_names, map(np.asarray, answers), strict=True))


def doubled(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype == np.float32 else array


def sampled() -> list[Case]:
    whole = [case for case in cases() if not case.name.startswith(tuple(EXCEPTIONS))]
    # The first kinds of tests are single operators; converted networks are large, a few do.
    return [case for case in whole if case.name.startswith("test_")][::EVERY]


def runnable(case: Case) -> ir.Model | None:
    """Return the model, or None where it isn't one of tensors."""
    try:
        model = case.model()
        signature_of(model)
    except RoadworthyError:
        return None
    return model


def test_onnx_tests_give_the_expected_answers_in_fp64() -> None:
    wrong, ran, widened = [], 0, 0
    for case in sampled():
        model = runnable(case)
        if model is None:
            continue
        feed, expected = case.data_sets(signature_of(model))[0]
        ours = evaluate(to_double(model), feed)
        widened += any(a.dtype == np.float64 and expected[n].dtype == np.float32
                       for n, a in ours.items())  # fmt: skip
        narrowed = {name: ours[name].astype(array.dtype) for name, array in expected.items()}
        difference = differ(narrowed, expected, max(case.rtol, 1e-3), max(case.atol, 1e-6))
        if difference:
            wrong.append(f"{case.name}: {difference}")
        ran += 1
    assert wrong == []
    assert ran > 1500 / EVERY
    assert widened > ran / 3  # it is FP64 that was judged here


def test_it_really_computes_in_double() -> None:
    feed = {"x": normal(2, 3)}
    answers = evaluate(to_double(perceptron()), feed)
    expected = perceptron_in_numpy({"x": feed["x"].astype(np.float64)})
    assert answers["y"].dtype == np.float64
    np.testing.assert_allclose(answers["y"], expected["y"], rtol=1e-14)
    assert answers["label"].dtype == np.int64


def test_the_original_stays_as_it_is() -> None:
    for model in (perceptron(), convnet()):
        before = ir.to_proto(model).SerializeToString(deterministic=True)
        to_double(model)
        assert ir.to_proto(model).SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    "body",
    [
        "c = Constant<value_float = 0.1>() y = Mul(x, c)",
        "c = Constant<value_floats = [0.1, 0.1]>() y = Mul(x, c)",
        "c = Constant<value = float[2] {0.1, 0.1}>() y = Mul(x, c)",
        "i = Cast<to = 7>(x) y = Cast<to = 1>(i)",
        "s = Shape(x) z = ConstantOfShape(s) y = Add(x, z)",
        "s = Shape(x) z = ConstantOfShape<value = float[1] {0.1}>(s) y = Add(x, z)",
        "y = RandomNormalLike<dtype = 1>(x)",
        """c = Constant<value_int = 1>() b = Cast<to = 9>(c)
           y = If(b) < then_branch = t () => (float[2] p) {
               k = Constant<value_float = 0.1>() p = Mul(x, k) },
             else_branch = e () => (float[2] q) { q = Identity(x) } >""",
    ],
)
def test_every_way_to_name_fp32_is_widened(body: str) -> None:
    model = network(f"g (float[2] x) => (float[2] y) {{ {body} }}")
    double = to_double(model)
    assert {spec.dtype for spec in signature_of(double)} == {"float64"}
    assert evaluate(double, {"x": normal(2)})["y"].dtype == np.float64


def test_weights_keep_their_fp32_values() -> None:
    """FP64 of the same network, not of a better one: 0.1 stays FP32's 0.1."""
    double = to_double(network("g (float[1] x) => (float[1] y) { y = Mul(x, w) }",
                               {"w": np.array([0.1], np.float32)}))  # fmt: skip
    assert evaluate(double, {"x": np.ones(1, np.float32)})["y"][0] == float(np.float32(0.1))


def test_scales_of_resize_and_of_quantisation_stay_fp32() -> None:
    model = network(
        """g (float[1, 1, 2, 2] x) => (float[1, 1, 4, 4] y) {
            q = QuantizeLinear(x, scale, zero) d = DequantizeLinear(q, scale, zero)
            y = Resize(d, , scales)
        }""",
        {
            "scale": np.array(0.5, np.float32),
            "zero": np.array(0, np.int8),
            "scales": np.array([1, 1, 2, 2], np.float32),
        },
    )
    double = to_double(model)
    kept = {name: value.dtype for name, value in double.graph.initializers.items()}
    assert kept == {
        "scale": ir.DataType.FLOAT, "zero": ir.DataType.INT8, "scales": ir.DataType.FLOAT,
    }  # fmt: skip
    x = np.array([[[[0.5, 1.0], [-1.5, 2.0]]]], np.float32)
    np.testing.assert_array_equal(
        evaluate(double, {"x": x})["y"], x.repeat(2, axis=2).repeat(2, axis=3)
    )
