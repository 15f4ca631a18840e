"""The graph with Q/DQ in it: valid, with the same signature, and computing what NumPy does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from roadworthy.core.cpus import cpu_features
from roadworthy.core.errors import InputError, UnavailableError
from roadworthy.core.samples import Samples
from roadworthy.graph.signature import signature_of
from roadworthy.precision.dialect import dialect_for
from roadworthy.precision.lower import lower, quantised
from roadworthy.precision.plan import PrecisionPlan, Quantized
from roadworthy.precision.quantize import named
from roadworthy.precision.scales import activation_scale
from tests.conformance.onnx_cases import cases
from tests.models import convnet, network, normal, perceptron
from tests.unit.precision.int8_made import (
    DIALECTS,
    convnet8,
    fake_quantised,
    giving,
    images,
    kinds,
    node_giving,
    planned,
    run,
    source_of,
)
from tests.unit.precision.test_placement import ATTENTION, ENDS, around
from tests.unit.precision.test_segments import IF, LOOP

SQUARES = {"w0": normal(16, 16, seed=1) * 0.2, "w": normal(16, 16, seed=2) * 0.2}
GEMM = """g (float[b, 16] x) => (float[b, 16] y) {{
    a = MatMul(x, w0) r = Relu(a) c = Gemm<transA = {0}, transB = {1}>(r, w, bias)
    y = MatMul(c, w0) }}"""


def checked(model: ir.Model) -> onnx.ModelProto:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def rows(count: int = 4, rank: int = 2) -> Samples:
    shape = (16, 16) if rank == 2 else (2, 4, 16)
    return images(count, *shape)


def by_tensor(plan: PrecisionPlan) -> dict[str, Quantized]:
    return {item.tensor: item for item in plan.tensors}


def fake(values: np.ndarray, item: Quantized) -> np.ndarray:
    shape = [1] * values.ndim
    if item.axis is not None:
        shape[item.axis] = -1
    low, high = {"uint8": (0, 255), "int8": (-127, 127), "int32": (-(2**31), 2**31 - 1)}[item.dtype]
    scale = np.array(item.scale, np.float32).reshape(shape)
    return fake_quantised(values, scale, np.array(item.zero_point).reshape(shape), low, high)


class TestAgainstNumpy:
    @pytest.mark.parametrize("backend", DIALECTS)
    @pytest.mark.parametrize("transposed", [(0, 0), (0, 1), (1, 0), (1, 1)])
    def test_gemm(self, backend, transposed) -> None:
        weights = SQUARES | {"bias": normal(16, seed=3)}
        model = named(network(GEMM.format(*transposed), weights))
        samples = rows()
        _, plan, lowered = planned(model, samples, backend)
        items = by_tensor(plan)
        assert items["w"].axis == (0 if transposed[1] else 1)
        checked(lowered)
        for feed in samples:
            found = run(_showing(lowered, "r", "c"), feed, ["r", "c", "y"])
            data = fake(found["r"], items["r"]).astype(np.float64)
            kernel = fake(weights["w"], items["w"]).astype(np.float64)
            bias = fake(weights["bias"], items["bias"]) if "bias" in items else weights["bias"]
            c = (data.T if transposed[0] else data) @ (kernel.T if transposed[1] else kernel) + bias
            np.testing.assert_allclose(found["c"], c, rtol=1e-4, atol=1e-5)
            last = fake(found["c"], items["c"]) if "c" in items else found["c"]
            np.testing.assert_allclose(found["y"], last @ weights["w0"], rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("backend", DIALECTS)
    def test_pointwise_convolution(self, backend) -> None:
        weights = {"k": normal(16, 16, 1, 1) * 0.3, "bias": normal(16), **ENDS}
        model = named(network(around("r = Relu(a) [it] b = Conv(r, k, bias)"), weights))
        samples = images(3, 1, 16, 8, 8)
        _, plan, lowered = planned(model, samples, backend)
        items = by_tensor(plan)
        for feed in samples:
            found = run(_showing(lowered, "r", "b"), feed, ["r", "b"])
            kernel = fake(weights["k"], items["k"])[:, :, 0, 0].astype(np.float64)
            bias = fake(weights["bias"], items["bias"]) if "bias" in items else weights["bias"]
            data = fake(found["r"], items["r"]).astype(np.float64)
            wanted = np.einsum("oi,nihw->nohw", kernel, data) + bias[None, :, None, None]
            np.testing.assert_allclose(found["b"], wanted, rtol=1e-4, atol=1e-4)


def _showing(model: ir.Model, *names: str) -> onnx.ModelProto:
    proto = ir.to_proto(model)
    there = {value.name for value in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    return proto


class TestPlaces:
    def test_every_reader_reads_the_dequantised_form(self) -> None:
        _, _, lowered = planned(convnet8(), images(3))
        assert source_of(node_giving(lowered, "c2")) == "DequantizeLinear"
        assert source_of(node_giving(lowered, "s"), 1) == "DequantizeLinear"
        assert [source_of(node_giving(lowered, "c2"), i) for i in (1, 2)] == [
            "DequantizeLinear"
        ] * 2
        assert source_of(node_giving(lowered, "r2")) == "Conv"
        assert source_of(node_giving(lowered, "r3")) == "Add"

    @pytest.mark.parametrize("backend", ["openvino", "tensorrt"])
    def test_one_branch_of_a_residual_add_fuses(self, backend) -> None:
        _, _, lowered = planned(convnet8(), images(3), backend)
        add = node_giving(lowered, "s")
        assert [source_of(add, 0), source_of(add, 1)] == ["Conv", "DequantizeLinear"]

    def test_tensorrt_keeps_weights_in_float_with_a_q_of_their_own(self) -> None:
        _, _, lowered = planned(convnet8(), images(3), "tensorrt")
        weights = node_giving(lowered, "c2").inputs[1]
        assert weights is not None
        quantize = weights.producer().inputs[0].producer()
        assert quantize.op_type == "QuantizeLinear"
        assert quantize.inputs[0].name == "k2"
        assert quantize.attributes["axis"].value == 0
        assert lowered.graph.initializers["k2"].dtype == ir.DataType.FLOAT

    @pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
    def test_others_store_them_as_integers_that_are_never_minus_128(self, backend) -> None:
        _, _, lowered = planned(convnet8(), images(3), backend)
        assert "k2" not in lowered.graph.initializers
        stored = lowered.graph.initializers["k2_quantized"].const_value.numpy()
        assert stored.dtype == np.int8
        assert stored.min() >= -127
        assert (np.abs(stored.astype(int)).reshape(8, -1).max(axis=1) == 127).all()

    def test_seven_bits_where_products_would_saturate(self) -> None:
        old = dialect_for("onnxruntime", frozenset({"sse2", "avx2"}))
        _, _, lowered = planned(convnet8(), images(3), dialect=old)
        assert np.abs(lowered.graph.initializers["k2_quantized"].const_value.numpy()).max() == 63

    @pytest.mark.parametrize("backend", DIALECTS)
    def test_an_output_that_is_also_read_inside_stays_exact_itself(self, backend) -> None:
        model = giving(convnet8(), "r2")
        _, plan, lowered = planned(model, images(3), backend)
        assert "r2" in by_tensor(plan)
        assert [value.name for value in lowered.graph.outputs] == ["y", "r2"]
        assert source_of(node_giving(lowered, "c3")) == "DequantizeLinear"
        assert lowered.graph.outputs[1].producer().op_type == "Relu"
        checked(lowered)

    @pytest.mark.parametrize("backend", DIALECTS)
    def test_a_weight_that_the_network_also_gives(self, backend) -> None:
        model = convnet8()
        model.graph.outputs.append(model.graph.initializers["k2"])
        _, _, lowered = planned(model, images(3), backend)
        answers = run(checked(lowered), images(1)[0])
        np.testing.assert_array_equal(
            answers["k2"], model.graph.initializers["k2"].const_value.numpy()
        )

    def test_weights_named_like_scales_are_left_alone(self) -> None:
        """Names such as `norm_scale` are common; ours step aside."""
        graph = around("r = Relu(a) b = Conv(r, k) ").replace(
            "y = Conv<pads = [1, 1, 1, 1]>(b, k9)",
            "z = Mul(b, r_scale) u = Add(z, k_quantized) y = Conv<pads = [1, 1, 1, 1]>(u, k9)",
        )
        own = {"r_scale": np.float32(3.0), "k_quantized": np.float32(-1.0)}
        model = named(network(graph, {"k": normal(16, 16, 1, 1), **own, **ENDS}))
        samples = images(3, 1, 16, 8, 8)
        _, plan, lowered = planned(model, samples, "openvino")
        assert "r" in by_tensor(plan)
        checked(lowered)
        for name, value in own.items():
            assert lowered.graph.initializers[name].const_value.numpy() == value
        exact, ours = (run(ir.to_proto(item), samples[0])["y"] for item in (model, lowered))
        assert np.linalg.norm(exact - ours) < 0.05 * np.linalg.norm(exact)

    def test_a_body_reads_the_dequantised_tensor_too(self) -> None:
        graph = """g (float[2, 16] x, bool c) => (float[2, 16] y) {
            a = MatMul(x, w0) r = Relu(a) q = MatMul(r, w)
            b = If (c) <
                then_branch = g1 () => (float[2, 16] t) { t = Neg(r) },
                else_branch = g2 () => (float[2, 16] e) { e = Add(r, w_row) }
            >
            s = Add(b, q) y = MatMul(s, w0)
        }"""
        model = named(network(graph, {**SQUARES, "w_row": normal(16)}))
        samples = Samples.of_arrays(
            [{"x": normal(2, 16, seed=i), "c": np.array(bool(i % 2))} for i in range(4)]
        )
        _, plan, lowered = planned(model, samples)
        assert "r" in by_tensor(plan)
        for feed in samples:
            exact, ours = (run(checked(item), feed)["y"] for item in (model, lowered))
            assert np.linalg.norm(exact - ours) < 0.05 * np.linalg.norm(exact)


class TestBiases:
    @pytest.mark.parametrize("size", [1.0, 1e4, 1e-6, 0.0])
    @pytest.mark.parametrize("backend", DIALECTS)
    def test_a_dead_channel_keeps_its_bias(self, backend, size) -> None:
        kernel = normal(16, 16, 1, 1) * 0.3
        kernel[3] = 0.0
        bias = np.full(16, size, np.float32)
        model = named(
            network(around("r = Relu(a) b = Conv(r, k, z)"), {"k": kernel, "z": bias, **ENDS})
        )
        model = giving(model, "b")
        samples = images(2, 1, 16, 8, 8)
        _, plan, lowered = planned(model, samples, backend)
        ours = run(checked(lowered), samples[0])["b"]
        np.testing.assert_allclose(ours[:, 3], size, rtol=1e-5)
        item = by_tensor(plan).get("z")
        if item is not None:
            assert np.abs(quantised(bias, item).astype(np.float64)).max() <= 2**30 + 1

    def test_dead_inputs_and_dead_weights_have_products_that_are_numbers(self) -> None:
        zeros = np.zeros((16, 16, 1, 1), np.float32)
        model = named(
            network(
                around("n = Neg(a) m = Mul(n, none) r = Relu(m) b = Conv(r, k, z)"),
                {"k": zeros, "z": np.zeros(16, np.float32), "none": np.float32(0), **ENDS},
            )
        )
        samples = images(2, 1, 16, 8, 8)
        _, plan, lowered = planned(model, samples)
        tiny = np.finfo(np.float32).tiny
        assert all(scale >= tiny for item in plan.tensors for scale in item.scale)
        assert (run(checked(lowered), samples[0])["y"] == 0).all()

    def test_one_for_two_nodes_is_right_in_fused_kernels_too(self) -> None:
        """ONNX Runtime takes an int32 bias as counted in its own scales, whatever it says."""
        graph = """g (float[b, 16] x) => (float[b, 16] y) { a = MatMul(x, w0)
            c = Gemm(a, w, bias) d = Gemm(c, v, bias) y = MatMul(d, w0) }"""
        weights = {**SQUARES, "v": normal(16, 16, seed=8) * 2, "bias": normal(16) * 3}
        model = named(network(graph, weights))
        samples = rows()
        # Of this machine: where fused kernels would saturate, weights are smaller.
        here = dialect_for("onnxruntime", cpu_features())
        _, _, lowered = planned(model, samples, dialect=here)
        literal = run(checked(lowered), samples[0])["y"]
        options = ort.SessionOptions()
        options.log_severity_level = 4
        fused = ort.InferenceSession(
            ir.to_proto(lowered).SerializeToString(), options, providers=["CPUExecutionProvider"]
        ).run(["y"], samples[0])[0]
        assert np.linalg.norm(fused - literal) < 0.02 * np.linalg.norm(literal)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.0, 6.0), (-2.0, 0.0), (2.0, 5.0)])
@pytest.mark.parametrize("backend", DIALECTS)
def test_zero_is_exact_and_the_range_is_covered(backend, low, high) -> None:
    item = activation_scale("t", (low, high), dialect_for(backend))
    ends = np.array([0.0, min(low, 0.0), max(high, 0.0)], np.float32)
    came_back = fake(ends, item)
    assert came_back[0] == 0.0
    np.testing.assert_allclose(came_back, ends, atol=0.5001 * item.scale[0])


class TestRefusals:
    def test_a_low_opset(self) -> None:
        model = convnet8()
        plan = planned(model, images(2))[1]
        model.opset_imports[""] = 12
        with pytest.raises(InputError, match="opset 12") as refused:
            lower(model, plan, dialect_for("onnxruntime"))
        assert refused.value.remedy

    def test_a_plan_of_another_network(self) -> None:
        plan = planned(convnet8(), images(2))[1]
        with pytest.raises(InputError, match="has no tensor"):
            lower(perceptron(), plan, dialect_for("onnxruntime"))

    def test_the_model_is_left_as_it_is(self) -> None:
        model = convnet8()
        before = ir.to_proto(model).SerializeToString(deterministic=True)
        planned(model, images(2))
        assert ir.to_proto(model).SerializeToString(deterministic=True) == before


NETWORKS = {
    "perceptron": (perceptron(), images(3, 5, 3)),
    "convnet": (convnet(), images(3, 2, 1, 6, 6, name="image")),
    "convnet8": (convnet8(), images(3)),
    "attention": (network(ATTENTION, {"w": normal(16, 16) * 0.2}), rows(3, rank=3)),
    "if": (
        network(IF, {"w": normal(4)}),
        Samples.of_arrays([{"x": normal(2, 4), "c": np.array(True)}]),
    ),
    "loop": (
        network(LOOP, {"w": np.float32(0.5)}),
        Samples.of_arrays([{"x": normal(4), "m": np.array(3), "c": np.array(True)}]),
    ),
}


@pytest.mark.parametrize("backend", DIALECTS)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_keep_their_signature_and_answers(name, backend) -> None:
    model, samples = NETWORKS[name]
    model = named(model)
    _, plan, lowered = planned(model, samples, backend)
    assert signature_of(lowered) == signature_of(model)
    proto = checked(lowered)
    assert ("DequantizeLinear" in kinds(lowered)) == bool(plan.tensors)
    for feed in samples:
        exact, ours = run(ir.to_proto(model), feed), run(proto, feed)
        for output, wanted in exact.items():
            if wanted.dtype == np.float32:
                assert np.linalg.norm(ours[output] - wanted) <= 0.1 * np.linalg.norm(wanted)


def test_parts_of_a_concat_that_share_its_scale_give_the_same_answers() -> None:
    """To the last bit: what is on the whole's grid already isn't rounded again."""
    graph = around(
        "p = Conv(a, k1) r = Relu(p) q = Conv(a, k2) c = Concat<axis = 1>(r, q) b = Conv(c, k3)"
    )
    weights = {"k1": normal(16, 16, 1, 1, seed=1), "k2": normal(16, 16, 1, 1, seed=2) * 9}
    model = named(network(graph, weights | ENDS | {"k3": normal(16, 32, 1, 1, seed=3)}))
    samples = images(4, 2, 16, 8, 8)
    shared = dialect_for("tensorrt")
    protos = []
    for dialect in (shared, replace(shared, joins=False)):
        placement, _, lowered = planned(model, samples, dialect=dialect)
        assert ({"r", "q"} <= set(placement.activations)) == dialect.joins
        protos.append(checked(lowered))
    for feed in samples:
        one, other = (run(proto, feed) for proto in protos)
        np.testing.assert_array_equal(one["y"], other["y"])


def test_onnxs_own_small_networks_keep_valid() -> None:
    ran = 0
    for case in cases():
        if not {"pytorch-operator", "simple"} & set(case.folder.parts):
            continue
        try:
            model = named(case.model())
            feed, _ = case.data_sets(signature_of(model))[0]
            wanted = run(ir.to_proto(model), feed)
        except Exception as error:
            # No plain tensors, or one of ONNX Runtime's errors, which have no common base.
            assert isinstance(error, UnavailableError) or type(error).__module__.startswith(
                ("onnxruntime", "builtins")
            ), case.name
            continue
        if model.opset_imports.get("", 0) < 13:
            model = ir.from_proto(onnx.version_converter.convert_version(ir.to_proto(model), 13))
        for backend in DIALECTS:
            _, _, lowered = planned(model, Samples.of_arrays([feed]), backend)
            assert signature_of(lowered) == signature_of(model), case.name
            got = run(checked(lowered), feed)
            assert list(got) == list(wanted), case.name
        ran += 1
    assert ran > 30
