"""The best method wins, the same each time; samples are split without loss."""

from __future__ import annotations

import json
import math

import numpy as np
import onnx_ir as ir
import pytest

from roadworthy.core.errors import UsageError
from roadworthy.core.samples import Samples
from roadworthy.graph.signature import signature_of
from roadworthy.precision.dialect import dialect_for
from roadworthy.precision.methods import METHODS
from roadworthy.precision.placement import place
from roadworthy.precision.quantize import Quantization, named, observe, quantize, split
from roadworthy.precision.scoring import literal_answers
from tests.models import network, normal
from tests.unit.precision.int8_made import convnet8, images, quiet


def made(
    model: ir.Model, samples: Samples, backend: str = "onnxruntime", **options
) -> Quantization:
    dialect = dialect_for(backend)
    parts = split(samples)
    calibration = observe(model, [place(model, dialect)], parts.seen, threads=1, progress=quiet)
    return quantize(
        model, signature_of(model), dialect, calibration, parts,
        threads=1, progress=quiet, **options,
    )  # fmt: skip


def with_outlier() -> Samples:
    """Min-max wastes its steps on one value; most samples have none such."""
    feeds = [{"x": normal(1, 8, 6, 6, seed=i)} for i in range(24)]
    feeds[0]["x"][0, 0, 0, 0] = 300.0
    return Samples.of_arrays(feeds)


class TestAuto:
    def test_it_keeps_the_best(self) -> None:
        found = made(convnet8(), with_outlier())
        assert {item.method for item in found.scores} == set(METHODS)
        scores = [item.sqnr_db for item in found.scores]
        assert scores == sorted(scores, reverse=True)
        assert all(map(math.isfinite, scores))
        assert found.plan.account["method"] == found.scores[0].method
        assert found.scores[0].method != "minmax"

    def test_a_method_that_was_given_is_compared_with_none(self) -> None:
        found = made(convnet8(), with_outlier(), method="percentile")
        assert found.plan.account["method"] == "percentile"
        assert found.scores == ()

    def test_a_sample_with_nan_is_no_judge_of_the_methods(self) -> None:
        """The second of four would be held back."""
        samples = [{"x": normal(1, 8, 6, 6, seed=seed)} for seed in range(8)]
        samples[2]["x"][0, 0, 0, 0] = np.nan
        found = made(convnet8(), Samples.of_arrays(samples))
        assert all(math.isfinite(item.sqnr_db) for item in found.scores)
        assert list(found.plan.account["skipped"]) == ["arrays#2"]

    @pytest.mark.parametrize("correct", [False, True])
    def test_a_score_is_what_numpy_says(self, correct: bool) -> None:
        model, samples = convnet8(), images(12)
        found = made(model, samples, correct=correct)
        exact, ours = (
            np.concatenate(
                [
                    answers["y"].astype(float)
                    for answers in literal_answers(
                        item, signature_of(model), split(samples).held_back
                    )
                ]
            )
            for item in (model, found.model)
        )
        wanted = 10 * np.log10((exact**2).sum() / ((exact - ours) ** 2).sum())
        [score] = [item for item in found.scores if item.method == found.plan.account["method"]]
        said = score.sqnr_db
        if found.biases is not None and found.biases.kept:
            said = found.biases.with_db
        assert said == pytest.approx(wanted, abs=1e-3)
        assert said > 15

    def test_twice_is_the_same_to_the_last_byte(self) -> None:
        one, other = (made(convnet8(), images(9)) for _ in range(2))
        assert one.scores == other.scores
        assert one.plan.tensors == other.plan.tensors
        first, second = (
            ir.to_proto(item.model).SerializeToString(deterministic=True) for item in (one, other)
        )
        assert first == second


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(UsageError, match="'best'"):
        made(convnet8(), images(3), method="best")


LABELLED = """g (float[b, 16] x) => (float[b, 16] y, int64[b] label) {
    a = MatMul(x, w) r = Relu(a) c = MatMul(r, w) y = MatMul(c, w)
    label = ArgMax<axis = 1, keepdims = 0>(y) }"""
# Only labels; and as many of them as there are large values.
FOUND = """g (float[b, 16] x) => (int64[2, n] where, float[n] values) {
    a = MatMul(x, w) r = Relu(a) c = MatMul(r, w) y = MatMul(c, w)
    t = Constant<value = float {0.5}>() large = Greater(y, t) where = NonZero(large)
    p = Transpose(where) values = GatherND(y, p) }"""
WEIGHTS = {"w": normal(16, 16) * 0.3}


class TestOutputs:
    def test_integers_are_scored_as_a_share_of_equal_ones(self) -> None:
        found = made(named(network(LABELLED, WEIGHTS)), images(9, 8, 16))
        score = found.scores[0]
        assert 0.5 < score.outputs["label"] <= 1.0
        assert score.sqnr_db == score.outputs["y"]

    def test_of_a_network_that_gives_labels_only_more_equal_ones_are_better(self) -> None:
        model = named(network(LABELLED, WEIGHTS))
        del model.graph.outputs[0]
        found = made(model, images(9, 8, 16))
        assert found.scores[0].sqnr_db == max(item.outputs["label"] for item in found.scores)

    def test_another_number_of_findings_is_a_score_too(self) -> None:
        model, samples = named(network(FOUND, WEIGHTS)), images(9, 400, 16)
        found = made(model, samples)
        counts = [
            [
                answers["where"].shape[1]
                for answers in literal_answers(item, signature_of(model), samples)
            ]
            for item in (model, found.model)
        ]
        assert counts[0] != counts[1], "the case is no case"
        assert 0.0 <= found.scores[0].outputs["where"] < 1.0
        assert math.isfinite(found.scores[0].sqnr_db)

    def test_of_nothing_found_nothing_is_wrong(self) -> None:
        feeds = [{"x": np.zeros((2, 16), np.float32)} for _ in range(4)]
        found = made(named(network(FOUND, WEIGHTS)), Samples.of_arrays(feeds))
        assert found.scores[0].outputs["where"] == 1.0


class TestIslands:
    def test_they_stay_float_with_the_reason(self) -> None:
        model = convnet8()
        [name] = [node.name for node in model.graph if node.outputs[0].name == "c3"]
        found = made(model, images(6), method="minmax", islands={name: "too coarse"})
        assert found.plan.dtype_of(name) == "fp32"
        [said] = [item for item in found.account()["exceptions"] if item["node"] == name]
        assert said["why"] == "float island: too coarse"
        assert "k3" not in {item.tensor for item in found.plan.tensors}
        assert "k3" in found.model.graph.initializers
        json.dumps(found.account(), allow_nan=False)

    def test_one_before_a_pooling_needs_no_second_calibration(self) -> None:
        """With the Add in float the pooled tensor takes a scale of its own."""
        graph = """g (float[b, 8, 8, 8] x) => (float[b, 8, h, w] y) {
            a = Conv(x, k) c = Conv(a, k) d = Conv(a, k) [sum] s = Add(c, d)
            p = MaxPool<kernel_shape = [2, 2]>(s) e = Conv(p, k) y = Conv(e, k) }"""
        model = named(network(graph, {"k": normal(8, 8, 1, 1) * 0.3}))
        samples = images(6, 1, 8, 8, 8)
        [plain, island] = [
            made(model, samples, method="minmax", islands=islands)
            for islands in ({}, {"sum": "wrong there"})
        ]
        scales = [
            {item.tensor: item.scale for item in found.plan.tensors} for found in (plain, island)
        ]
        assert scales[0]["p"] == scales[0]["s"]
        assert "s" not in scales[1]
        assert "p" in scales[1]


@pytest.mark.parametrize("count", [*range(1, 30), 64, 65, 200])
def test_split_loses_and_doubles_nothing(count) -> None:
    samples = images(1)
    samples = Samples(
        "here",
        "arrays",
        [samples.items[0].__class__(f"s{i}", samples.items[0].load) for i in range(count)],
    )
    parts = split(samples)
    one, other = ([item.name for item in part.items] for part in (parts.seen, parts.held_back))
    if count < 4:
        assert one == other == [f"s{i}" for i in range(count)]
        assert "compared on what they were calibrated on" in parts.notes[0]
    else:
        assert sorted(one + other) == sorted(f"s{i}" for i in range(count))
        assert 1 <= len(other) <= 8
        assert parts.notes == ()


def test_names_are_given_where_there_are_none() -> None:
    model = network(
        "g (float[2] x) => (float[2] y) { a = Relu(x) [same] b = Neg(a) [same] y = Neg(b) }"
    )
    for node in model.graph:
        if node.op_type == "Relu":
            node.name = None
    got = named(model)
    names = [node.name for node in got.graph]
    assert all(names)
    assert len(set(names)) == 3
    assert signature_of(got) == signature_of(model)
    assert next(iter(model.graph)).name is None
