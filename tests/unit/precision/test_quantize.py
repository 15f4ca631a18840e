"""The best method wins, the same each time; samples are split without loss."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from roadworthy.core.errors import InputError, UsageError
from roadworthy.core.samples import Samples
from roadworthy.graph.signature import signature_of
from roadworthy.precision.dialect import dialect_for
from roadworthy.precision.methods import METHODS
from roadworthy.precision.placement import ISLAND, NO_RANGE, place
from roadworthy.precision.quantize import Quantization, judges_for, named, observe, quantize, split
from roadworthy.precision.scales import DROWNED
from roadworthy.precision.scoring import literal_answers
from tests.models import network, normal
from tests.unit.precision.int8_made import DIALECTS, convnet8, images, quiet


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

    @pytest.mark.parametrize("wild", range(20))
    def test_an_outlier_is_no_judge_either_and_is_named(self, wild: int) -> None:
        samples = [{"x": normal(1, 8, 6, 6, seed=seed)} for seed in range(20)]
        samples[wild]["x"] *= 1000
        parts = split(Samples.of_arrays(samples))
        assert f"arrays#{wild}" in [item.name for item in parts.seen.items]
        assert len(parts.held_back) == 2
        assert list(parts.wild) == [f"arrays#{wild}"]

    @pytest.mark.parametrize("factor", [12, 1000])
    def test_findings_name_an_outlier_once(self, factor: int) -> None:
        samples = [{"x": normal(1, 8, 6, 6, seed=seed)} for seed in range(20)]
        samples[4]["x"] *= factor
        found = made(convnet8(), Samples.of_arrays(samples), method="minmax")
        [said] = [item for item in found.plan.account["findings"] if "arrays#4: an outl" in item]
        assert ("tensor" if factor > 16 else "input 'x'") in said

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

    def test_a_method_that_gets_more_labels_wrong_is_not_kept(self) -> None:
        """Shares differ by less than one: half a decibel's worth would call all of them alike."""
        model = named(network(LABELLED, WEIGHTS))
        del model.graph.outputs[0]
        feeds = [{"x": normal(64, 16, seed=seed)} for seed in range(24)]
        feeds[0]["x"][0, 0] = 600.0
        found = made(model, Samples.of_arrays(feeds), correct=False)
        shares = {item.method: item.sqnr_db for item in found.scores}
        assert all(item.is_share for item in found.scores)
        assert shares["minmax"] < max(shares.values()) - 0.01, "the case is no case"
        assert shares[found.plan.account["method"]] >= max(shares.values()) - 0.005

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
        feeds = [{"x": np.full((2, 16), 1e-3, np.float32)} for _ in range(4)]
        found = made(named(network(FOUND, WEIGHTS)), Samples.of_arrays(feeds))
        assert found.scores[0].outputs["where"] == 1.0


def test_the_account_tells_the_data_and_what_was_seen_of_it() -> None:
    samples = images(20)
    found = made(convnet8(), samples)
    account = found.account()["calibration"]
    assert account["source"] == "arrays"
    assert account["data_set"] == samples.account().digest
    assert account["samples"] == split(samples).seen.account().digest != account["data_set"]
    assert account["ranges"].keys() == {
        item.tensor for item in found.plan.tensors if not item.weight
    }
    low, high = account["ranges"]["r1"]
    assert low == 0.0
    [r1] = [item for item in found.plan.tensors if item.tensor == "r1"]
    if account["method"] == "minmax":
        assert high == pytest.approx(r1.scale[0] * 255, rel=1e-5)
    assert len(f"{high:.9g}") <= 8
    json.dumps(account, allow_nan=False)


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


# A second input that many samples leave at zero: a mask, a hint, the state before the first frame.
MASKED = """g (float[1, 8, 6, 6] x, float[1, 8, 6, 6] m) => (float[1, 8, h, w] y) {
    first = Conv(x, k1)  r1 = Relu(first)  c1 = Conv(r1, k2)  r2 = Relu(c1)
    [m0] d0 = Conv(m, k3)  e0 = Relu(d0)  [m1] d1 = Conv(e0, k4)  e1 = Relu(d1)
    [sum] s = Add(r2, e1)  c2 = Conv(s, k5, b5)  r3 = Relu(c2)  y = Conv(r3, k6) }"""


def masked() -> ir.Model:
    weights = {f"k{i}": normal(8, 8, 1, 1, seed=i) * 0.4 for i in range(1, 7)}
    return named(network(MASKED, weights | {"b5": normal(8, seed=9)}))


def with_mask(value: float, count: int = 8) -> Samples:
    mask = np.full((1, 8, 6, 6), value, np.float32)
    return Samples.of_arrays([{"x": normal(1, 8, 6, 6, seed=i), "m": mask} for i in range(count)])


class TestZeroOnEverySample:
    @pytest.mark.parametrize("backend", DIALECTS)
    def test_what_was_never_seen_is_not_erased(self, backend: str) -> None:
        model = masked()
        found = made(model, with_mask(0.0), backend)
        exact, ours = (
            [
                next(iter(literal_answers(item, signature_of(model), with_mask(value, 1))))["y"]
                for value in (0.0, 1.0)
            ]
            for item in (model, found.model)
        )
        wanted = exact[1] - exact[0]
        assert np.linalg.norm(wanted - (ours[1] - ours[0])) < 0.2 * np.linalg.norm(wanted)

    @pytest.mark.parametrize("backend", DIALECTS)
    def test_what_reads_it_stays_in_float_with_the_reason(self, backend: str) -> None:
        found = made(masked(), with_mask(0.0), backend)
        reasons = {item.node: item.reason for item in found.plan.exceptions}
        assert reasons["m1"] == NO_RANGE
        assert ("sum" in reasons) == (backend == "onnxruntime")
        assert not {"e0", "e1"} & {item.tensor for item in found.plan.tensors}
        assert any("tensor 'e0'" in item for item in found.plan.account["findings"])
        assert min(scale for item in found.plan.tensors for scale in item.scale) > 1e-8
        assert max(scale for item in found.plan.tensors for scale in item.scale) < 1.0

    def test_with_values_it_is_quantised(self) -> None:
        found = made(masked(), with_mask(1.0))
        assert {"e0", "e1"} <= {item.tensor for item in found.plan.tensors}
        assert found.plan.account["findings"] == []

    def test_no_island_hides_the_reason(self) -> None:
        found = made(masked(), with_mask(0.0), islands={"m1": "too coarse"})
        assert {item.node: item.reason for item in found.plan.exceptions}["m1"] == NO_RANGE

    def test_where_nothing_is_left_it_says_so(self) -> None:
        zeros = Samples.of_arrays([{"x": np.zeros((8, 16), np.float32)}] * 4)
        with pytest.raises(InputError, match="zero on every sample, as tensor"):
            made(named(network(LABELLED, WEIGHTS)), zeros)

    def test_where_nothing_is_finite_it_says_that(self) -> None:
        broken = WEIGHTS | {"v": np.full((16, 16), np.nan, np.float32)}
        model = named(network(LABELLED.replace("(x, w)", "(x, v)"), broken))
        with pytest.raises(InputError, match="NaN or infinite everywhere on every sample"):
            made(model, images(4, 8, 16))


@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_a_bias_far_above_what_is_read_costs_no_weights(method: str) -> None:
    """As int32 it would need a weight scale at which every weight is zero."""
    graph = """g (float[1, 8, 6, 6] x) => (float[1, 8, h, w] y) {
        a = Conv(x, k) [big] c = Conv(a, k, b) d = Conv(c, k) y = Conv(d, k) }"""
    model = named(network(graph, {"k": normal(8, 8, 1, 1) * 0.3, "b": normal(8)}))
    feeds = [{"x": 1e-9 * normal(1, 8, 6, 6, seed=seed)} for seed in range(8)]
    found = made(model, Samples.of_arrays(feeds), method=method)
    assert {item.node: item.reason for item in found.plan.exceptions}["big"] == ISLAND.format(
        DROWNED
    )
    [kernel] = [item for item in found.plan.tensors if item.tensor == "k"]
    assert max(kernel.scale) < 0.3


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


@pytest.mark.parametrize("count", [4, 16, 20, 64, 65, 200])
def test_no_more_are_held_back_than_are_of_use(count: int) -> None:
    feed = images(1).items[0]
    samples = Samples("here", "arrays", [replace(feed, name=f"s{i}") for i in range(count)])
    for most in (4, 8):
        held = [int(item.name[1:]) for item in split(samples, most).held_back.items]
        assert 1 <= len(held) <= most
        assert held[-1] >= count // 2, "they come from all over the data"
    none = split(samples, 0)
    assert none.seen is none.held_back is samples


@pytest.mark.parametrize(
    ("method", "biased", "correct", "wanted"),
    [
        ("auto", False, False, 8),
        ("minmax", True, True, 4),
        ("minmax", True, False, 0),
        ("minmax", False, True, 0),
    ],
)
def test_where_a_method_is_given_only_biases_need_judges(method, biased, correct, wanted) -> None:
    model = convnet8() if biased else named(network(LABELLED, WEIGHTS))
    samples = images(64) if biased else images(64, 2, 16)
    dialect = dialect_for("onnxruntime")
    placements = [place(model, dialect)]
    most = judges_for(model, placements, samples, method, correct=correct)
    assert most == wanted
    parts = split(samples, most)
    seen = observe(model, placements, parts.seen, method=method, threads=1, progress=quiet)
    found = quantize(
        model, signature_of(model), dialect, seen, parts,
        method=method, correct=correct, threads=1, progress=quiet,
    )  # fmt: skip
    account = found.account()
    assert account["calibration"]["count"] + account["held_back"] == 64
    assert account["held_back"] == wanted
    assert account["split"].startswith("by position")


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
