"""Biases take back exactly the mean error that rounding leaves, node by node, where that pays."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from roadworthy.core.errors import InputError
from roadworthy.core.samples import Sample, Samples
from roadworthy.graph.signature import signature_of
from roadworthy.precision.bias import MOST_SAMPLES, corrections, own_bias
from roadworthy.precision.dialect import dialect_for
from roadworthy.precision.lower import lower
from roadworthy.precision.placement import place
from roadworthy.precision.plan import Correction, PrecisionPlan
from roadworthy.precision.quantize import named, observe, quantize, split
from tests.models import network, normal
from tests.unit.precision.int8_made import DIALECTS, images, planned, quiet, run

# One node of each kind that has a bias, between a first and a last layer in float.
KINDS = {
    "Conv": """g (float[b, 8, h, w] x) => (float[b, 8, h, w] y) {
        r = Conv<pads = [1, 1, 1, 1]>(x, k)
        c = Conv<pads = [1, 1, 1, 1]>(r, k1, bias)
        y = Conv<pads = [1, 1, 1, 1]>(c, k) }""",
    "ConvTranspose": """g (float[b, 8, h, w] x) => (float[b, 8, h, w] y) {
        r = Conv<pads = [1, 1, 1, 1]>(x, k)
        p = Relu(r)
        c = ConvTranspose<pads = [1, 1, 1, 1]>(p, k1, bias)
        y = Conv<pads = [1, 1, 1, 1]>(c, k) }""",
    "Gemm": """g (float[b, 8] x) => (float[b, 8] y) {
        r = Gemm(x, m) c = Gemm<transB = 1>(r, m1, bias) y = Gemm(c, m) }""",
    "MatMul": """g (float[b, n, 8] x) => (float[b, n, 8] y) {
        r = MatMul(x, m) p = MatMul(r, m1) c = Add(bias, p) y = MatMul(c, m) }""",
}
SHAPES = {"Conv": (1, 8, 6, 6), "ConvTranspose": (1, 8, 6, 6), "Gemm": (4, 8), "MatMul": (1, 5, 8)}


def weights() -> dict[str, np.ndarray]:
    # Coarse where it matters: one large value in each channel leaves few steps for the others.
    k1, m1 = normal(8, 8, 3, 3, seed=1) * 0.1, normal(8, 8, seed=2) * 0.1
    for channel in range(8):
        k1[channel, channel, 1, 1] = m1[channel, channel] = 3.0
    return {
        "k": normal(8, 8, 3, 3, seed=3) * 0.2, "k1": k1, "m": normal(8, 8, seed=4) * 0.5,
        "m1": m1, "bias": normal(8, seed=5),
    }  # fmt: skip


def of_kind(kind: str, opset: int = 18) -> tuple[ir.Model, Samples]:
    used = {name: array for name, array in weights().items() if name in KINDS[kind]}
    model = named(network(KINDS[kind], used))
    model.graph.opset_imports[""] = opset
    feeds = [{"x": normal(*SHAPES[kind], seed=50 + seed) + 1.0} for seed in range(MOST_SAMPLES)]
    return model, Samples.of_arrays(feeds)


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("kind", KINDS)
def test_a_correction_is_the_mean_error_of_its_node(kind: str, opset: int) -> None:
    """The network up to the corrected node, quantised and not, run by another session."""
    model, samples = of_kind(kind, opset)
    _, plan, lowered = planned(model, samples, "openvino")
    [found] = corrections(model, plan, samples, 1, quiet)
    assert found.tensor == "bias"
    errors = []
    for feed in samples:
        exact, rounded = (
            run(_giving(item, "c"), feed, ["c"])["c"].astype(np.float64)
            for item in (model, lowered)
        )
        channels_last = np.moveaxis(rounded - exact, 1, -1) if exact.ndim == 4 else rounded - exact
        errors.append(channels_last.reshape(-1, 8).mean(axis=0))
    wanted = -np.mean(errors, axis=0)
    assert np.abs(wanted).max() > 1e-3, "the case is no case"
    # The layer before is in float, so that the quantised network's error is this node's own.
    np.testing.assert_allclose(found.values, wanted, atol=2e-6)


def _giving(model: ir.Model, name: str):
    proto = ir.to_proto(model)
    proto.graph.output.add(name=name)
    return proto


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_corrected_node_has_no_mean_error(dialect: str) -> None:
    model, samples = of_kind("Conv")
    _, plan, _ = planned(model, samples, dialect)
    fixes = corrections(model, plan, samples, 1, quiet)
    corrected = lower(model, replace(plan, corrections=fixes),
                      dialect_for(dialect))  # fmt: skip
    error = np.mean(
        [
            (run(_giving(corrected, "c"), f, ["c"])["c"] - run(_giving(model, "c"), f, ["c"])["c"])
            .astype(np.float64)
            .mean(axis=(0, 2, 3))
            for f in samples
        ],
        axis=0,
    )
    before = np.abs(fixes[0].values).max()
    # An int32 bias and a rounded result leave a little.
    assert np.abs(error).max() < 0.15 * before


def test_the_order_of_the_samples_changes_no_bit() -> None:
    model, samples = of_kind("Conv")
    _, plan, _ = planned(model, samples)
    backwards = Samples("back", "arrays", samples.items[::-1])
    assert corrections(model, plan, samples, 1, quiet) == corrections(
        model, plan, backwards, 1, quiet
    )


class Watched:
    """300 samples of a shape; `spoilt` ones have a NaN."""

    def __init__(self, few: Samples, spoilt: frozenset[int] = frozenset(), side: int = 6) -> None:
        self.loaded: list[int] = []
        self._few, self._spoilt, self._side = few, spoilt, side
        items = [Sample(f"s{i}", lambda i=i: self._load(i)) for i in range(300)]
        self.samples = Samples("many", "arrays", items)

    def _load(self, index: int):
        self.loaded.append(index)
        x = np.resize(self._few[index % len(self._few)]["x"], (1, 8, self._side, self._side))
        if index in self._spoilt:
            x[0, 0, 0, 0] = np.nan
        return {"x": x}


def test_of_many_samples_some_from_all_over_are_run() -> None:
    model, few = of_kind("Conv")
    _, plan, _ = planned(model, few)
    many = Watched(few)
    corrections(model, plan, many.samples, 1, quiet)
    # The first one is looked at for its size, too.
    assert many.loaded == [0, 0, 75, 150, 225]


def test_of_large_samples_fewer_are_run() -> None:
    model, few = of_kind("Conv")
    _, plan, _ = planned(model, few)
    many = Watched(few, side=256)
    corrections(model, plan, many.samples, 1, quiet)
    assert many.loaded == [0, 0, 150]


def test_instead_of_a_sample_with_nan_the_next_one_is_run() -> None:
    model, few = of_kind("Conv")
    _, plan, _ = planned(model, few)
    many = Watched(few, frozenset({0, 1, 150}))
    [found] = corrections(model, plan, many.samples, 1, quiet)
    assert many.loaded == [0, 0, 1, 2, 75, 150, 151, 225]
    assert np.isfinite(found.values).all()


def test_where_every_sample_has_nan_nothing_is_corrected() -> None:
    model, few = of_kind("Conv")
    _, plan, _ = planned(model, few)
    assert corrections(model, plan, Watched(few, frozenset(range(300))).samples, 1, quiet) == ()


class TestOwnBias:
    """Only a constant that nobody else reads, one number for each channel."""

    def own(self, text: str, **more: np.ndarray) -> str | None:
        names = {name: array for name, array in (weights() | more).items() if name in text}
        model = named(network(text, names))
        found = [
            own_bias(node) for node in model.graph if node.op_type in ("Conv", "Gemm", "MatMul")
        ]
        return next((value.name for value in found if value is not None), None)

    def test_the_kinds(self) -> None:
        for kind in ("Conv", "Gemm", "MatMul"):
            assert self.own(KINDS[kind]) == "bias"

    @pytest.mark.parametrize(
        "text",
        [
            # Read twice.
            "g (float[b, 8] x) => (float[b, 8] y) { r = Gemm(x, m, bias) y = Gemm(r, m, bias) }",
            # Counted half.
            "g (float[b, 8] x) => (float[b, 8] y) { y = Gemm<beta = 0.5>(x, m, bias) }",
            # The product is read elsewhere too, or is an output.
            "g (float[b, 8] x) => (float[b, 8] y) { p = MatMul(x, m) c = Add(p, bias)"
            " y = Mul(p, c) }",
            "g (float[b, 8] x) => (float[b, 8] p, float[b, 8] y)"
            " { p = MatMul(x, m) y = Add(p, bias) }",
            # Not one for each channel.
            "g (float[b, 8] x) => (float[b, 8] y) { y = Gemm(x, m, one) }",
            "g (float[b, 8] x) => (float[b, 8] y) { p = MatMul(x, thin) y = Add(p, bias) }",
            "g (float[b, 8] x) => (float[b, 8] y) { p = MatMul(x, m) y = Add(p, m) }",
            # Not constant.
            "g (float[b, 8] x, float[8] v) => (float[b, 8] y) { p = MatMul(x, m) y = Add(p, v) }",
            "g (float[b, 8] x) => (float[b, 8] y) { p = MatMul(x, m) y = Add(p, p) }",
        ],
    )
    def test_nothing_else(self, text: str) -> None:
        one, thin = np.ones(1, np.float32), np.ones((8, 1), np.float32)
        assert self.own(text, one=one, thin=thin) is None


class TestTrial:
    """On samples held back it is tried, and kept where it is better."""

    @pytest.mark.parametrize("dialect", DIALECTS)
    @pytest.mark.parametrize("method", ["auto", "minmax"])
    def test_kept_where_it_pays(self, dialect: str, method: str) -> None:
        model, samples = of_kind("Conv")
        found = self.made(model, samples, dialect, method)
        assert found.biases is not None
        assert found.biases.kept
        assert found.biases.with_db > found.biases.without_db + 0.1
        assert [item.tensor for item in found.plan.corrections] == ["bias"]
        json.dumps(found.account(), allow_nan=False)

    def test_the_plan_alone_makes_the_same_graph_again(self) -> None:
        model, samples = of_kind("Conv")
        found = self.made(model, samples, "tensorrt", "mse")
        plan = PrecisionPlan.from_json(json.loads(json.dumps(found.plan.to_json())), "here")
        assert plan == found.plan
        again = lower(model, plan, dialect_for("tensorrt"))
        first, second = (
            ir.to_proto(item).SerializeToString(deterministic=True) for item in (again, found.model)
        )
        assert first == second

    def test_dropped_where_it_does_not(self) -> None:
        """What was seen is no measure of what comes: there the mean error is another."""
        model, _ = of_kind("Conv")
        feeds = [
            {"x": normal(1, 8, 6, 6, seed=i) + (9.0 if i % 4 != 2 else -9.0)} for i in range(8)
        ]
        found = self.made(model, Samples.of_arrays(feeds), "openvino", "minmax")
        assert found.biases is not None
        assert found.biases.with_db < found.biases.without_db
        assert not found.biases.kept
        assert found.plan.corrections == ()

    def test_without_a_bias_there_is_no_trial(self) -> None:
        text = KINDS["Conv"].replace(", bias)", ")")
        used = {name: array for name, array in weights().items() if name in ("k", "k1")}
        found = self.made(named(network(text, used)), images(6), "openvino", "minmax")
        assert found.biases is None

    def made(self, model: ir.Model, samples: Samples, dialect: str, method: str):
        parts, chosen = split(samples), dialect_for(dialect)
        placements = [place(model, chosen)]
        seen = observe(model, placements, parts.seen, threads=1, progress=quiet)
        return quantize(
            model, signature_of(model), chosen, seen, parts,
            method=method, threads=1, progress=quiet,
        )  # fmt: skip


def test_a_correction_for_another_network_is_refused() -> None:
    model, samples = of_kind("Conv")
    _, plan, _ = planned(model, samples)
    for wrong in (Correction("c", "bias", (1.0,)), Correction("c", "stranger", (1.0,) * 8)):
        with pytest.raises(InputError):
            lower(model, replace(plan, corrections=(wrong,)),
                  dialect_for("onnxruntime"))  # fmt: skip
    with pytest.raises(ValueError, match="finite"):
        Correction("c", "bias", (float("nan"),))
