"""Which tensors pass through Q/DQ, and the reason of every node that stays in float."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from roadworthy.precision import kernels
from roadworthy.precision import placement as reasons
from roadworthy.precision.dialect import dialect_for
from roadworthy.precision.placement import Placement, place
from roadworthy.precision.quantize import named
from roadworthy.precision.scales import scale_source
from tests.models import network, normal, proto
from tests.unit.precision.int8_made import CONVNET8, DIALECTS, convnet8, convnet8_weights


def placed(graph: str, backend: str = "onnxruntime", islands=None, **weights) -> Placement:
    return place(named(network(graph, weights)), dialect_for(backend), islands)


def dtypes(placement: Placement) -> dict[str, str]:
    return {item.node: item.dtype for item in placement.decisions}


def reason(placement: Placement, node: str) -> str:
    [found] = [item.reason for item in placement.decisions if item.node == node]
    return found


def around(inner: str, kernel: str = "k") -> str:
    """Between a first and a last layer; `inner` makes b from a, both float[b, 16, h, w]."""
    return f"""g (float[b, 16, 8, 8] x) => (float[b, 16, h, w] y) {{
        [first] a = Conv<pads = [1, 1, 1, 1]>(x, k0)
        {inner}
        [last] y = Conv<pads = [1, 1, 1, 1]>(b, k9)
    }}"""


ENDS = {"k0": normal(16, 16, 3, 3, seed=20), "k9": normal(16, 16, 3, 3, seed=21)}
KERNEL = normal(16, 16, 3, 3, seed=22)


@pytest.mark.parametrize(
    ("backend", "tensors"),
    [
        # It wants results quantised too, after the activation that fuses.
        ("onnxruntime", {"r1", "r2", "c3", "r3", "c4"}),
        # The others want what an operator reads; of a residual Add the branch that isn't fused.
        ("openvino", {"r1", "r2", "r3"}),
        ("tensorrt", {"r1", "r2", "r3"}),
    ],
)
def test_residual_network(backend, tensors) -> None:
    found = place(convnet8(), dialect_for(backend))
    assert set(found.activations) == tensors
    assert {item.tensor: item.axis for item in found.weights} == {"k2": 0, "k3": 0, "k4": 0}
    assert [item.reason for item in found.decisions if item.op_type == "Conv"] == [
        reasons.FIRST, "", "", "", reasons.LAST,
    ]  # fmt: skip


def test_a_file_that_states_no_dtypes_is_placed_like_one_that_does() -> None:
    plain = proto(CONVNET8, convnet8_weights())
    typed = onnx.shape_inference.infer_shapes(plain)
    assert len(typed.graph.value_info) > len(plain.graph.value_info)
    for backend in DIALECTS:
        dialect = dialect_for(backend)
        one, other = (place(named(ir.from_proto(item)), dialect) for item in (plain, typed))
        assert one == other


def test_placing_leaves_the_model_as_it_is() -> None:
    model = convnet8()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    place(model, dialect_for("onnxruntime"))
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_only_the_onnxruntime_dialect_quantises_biases() -> None:
    by = {name: place(convnet8(), dialect_for(name)).biases for name in DIALECTS}
    assert [(item.tensor, item.activation, item.weight) for item in by["onnxruntime"]] == [
        ("b2", "r1", "k2")
    ]
    assert by["openvino"] == by["tensorrt"] == ()


def test_concat_between_convolutions() -> None:
    found = placed(
        around("p = Conv(a, k1) q = Conv(a, k2) [cat] c = Concat<axis = 1>(p, q) b = Conv(c, k3)"),
        k1=normal(16, 16, 1, 1), k2=normal(16, 16, 1, 1), k3=normal(16, 32, 1, 1), **ENDS,
    )  # fmt: skip
    assert dtypes(found)["cat"] == "int8"
    assert {"a", "p", "q", "c", "b"} == set(found.activations)


SKIP = (
    "p = Conv(a, k1) m = MaxPool<kernel_shape = [1, 1]>(p) q = Conv(m, k2) "
    "c = Concat<axis = 1>(p, q) "
)
PARTS = {"k1": normal(16, 16, 1, 1), "k2": normal(16, 16, 1, 1)}


def joined(inner: str, channels: int, **otherwise) -> Placement:
    weights = PARTS | ENDS | {"k3": normal(16, channels, 1, 1)}
    dialect = replace(dialect_for("tensorrt"), **otherwise)
    return place(named(network(around(inner), weights)), dialect)


def test_a_part_that_a_pool_in_float_reads_has_no_scale() -> None:
    found = joined(SKIP + "b = Conv(c, k3)", 32, through=frozenset())
    assert scale_source("q", found) == "c"
    assert "p" not in found.activations, "the pool, in float, is to read it exactly"


def test_a_unets_skip_connection_has_one_scale_for_tensorrt() -> None:
    """Pool and Concat read the same INT8: the convolution before them needs give no floats."""
    found = joined(SKIP + "b = Conv(c, k3)", 32)
    assert {"p", "m", "q", "c"} <= set(found.activations)
    assert {scale_source(name, found) for name in ("p", "m", "q", "c")} == {"c"}
    assert scale_source("a", found) == "a"


def test_a_part_of_two_concats_takes_the_scale_of_the_last() -> None:
    found = joined(SKIP + "r = Conv(c, k3) d = Concat<axis = 1>(r, p) b = Conv(d, k3)", 32)
    sources = {name: scale_source(name, found) for name in ("p", "q", "c", "r", "d")}
    assert sources == {"p": "d", "q": "c", "c": "c", "r": "d", "d": "d"}


def test_a_concat_of_concats_has_one_scale() -> None:
    found = joined(SKIP + "r = Conv(a, k1) d = Concat<axis = 1>(c, r) b = Conv(d, k3)", 48)
    assert found.activations
    assert {scale_source(name, found) for name in ("q", "c", "r", "d")} == {"d"}


def test_what_reads_a_part_in_float_goes_on_reading_it_exactly() -> None:
    graph = around(
        "p = Sigmoid(a) e = Exp(p) h = Conv(a, k1) q = Mul(h, e) "
        "c = Concat<axis = 1>(p, q) b = Conv(c, k3)"
    )
    found = placed(graph, "tensorrt", k1=PARTS["k1"], k3=normal(16, 32, 1, 1), **ENDS)
    assert "p" not in found.activations
    assert scale_source("q", found) == "c"


def test_a_part_without_a_range_has_no_scale() -> None:
    graph = around(SKIP + "b = Conv(c, k3)")
    model = named(network(graph, PARTS | ENDS | {"k3": normal(16, 32, 1, 1)}))
    found = place(model, dialect_for("tensorrt"), rangeless=frozenset({"q"}))
    assert "c" in found.activations
    assert "q" not in found.activations


def test_what_hands_values_on_shares_its_scale() -> None:
    found = placed(
        around(
            "c = Conv<pads = [1, 1, 1, 1]>(a, k1) p = MaxPool<kernel_shape = [2, 2]>(c) "
            "t = Transpose<perm = [0, 1, 3, 2]>(p) b = Conv<pads = [1, 1, 1, 1]>(t, k1)"
        ),
        k1=KERNEL, **ENDS,
    )  # fmt: skip
    assert found.same_scale == {"p": "c", "t": "p"}


def test_depthwise_convolutions_have_many_channels() -> None:
    found = placed(
        around("[wide] b = Conv<pads = [1, 1, 1, 1], group = 16>(a, k)"),
        k=normal(16, 1, 3, 3), **ENDS,
    )  # fmt: skip
    assert dtypes(found)["wide"] == "int8"
    assert found.weights[0].axis == 0


def test_transposed_convolutions() -> None:
    graph = around("r = Relu(a) [up] b = ConvTranspose<strides = [2, 2]>(r, k)")
    found = placed(graph, "openvino", k=normal(16, 16, 2, 2), **ENDS)
    assert [(item.tensor, item.axis) for item in found.weights] == [("k", 1)]
    refused = placed(graph, "onnxruntime", k=normal(16, 16, 2, 2), **ENDS)
    assert reason(refused, "up") == "onnxruntime has no INT8 kernel for it"


@pytest.mark.parametrize(
    ("given", "before", "why"),
    [
        ("s = Relu(a)", "r = MaxPool<kernel_shape = [2, 2]>(s)", ""),
        ("s = Sigmoid(a)", "r = Concat<axis = 1>(s, s)", ""),
        ("s = Neg(a)", "r = Clip(s, zero)", ""),
        ("s = Relu(a)", "r = Concat<axis = 1>(s, a)", kernels.NEGATIVE),
        ("s = Identity(a)", "r = LeakyRelu(s)", kernels.NEGATIVE),
        ("s = Neg(a)", "r = Clip(s)", kernels.NEGATIVE),
    ],
)
def test_what_is_never_negative_needs_no_zero_point(given, before, why) -> None:
    channels = 32 if "Concat" in before else 16
    found = placed(
        around(f"{given} {before} [up] b = ConvTranspose(r, k)"), "openvino",
        k=normal(channels, 16, 2, 2), zero=np.float32(0), **ENDS,
    )  # fmt: skip
    assert reason(found, "up") == why


def test_transposed_convolutions_of_tensorrt() -> None:
    graph = around("[up] b = ConvTranspose<strides = [2, 2]>(a, k)")
    model = named(network(graph, {"k": normal(16, 16, 2, 2), **ENDS}))
    old = place(model, dialect_for("tensorrt"))
    assert reason(old, "up") == "TensorRT 8 can't build it in INT8 between others in INT8"
    # Version 8 read the scales along axis 0, and of 10 and 11 that isn't known: one scale.
    new = place(model, dialect_for("tensorrt").typed())
    assert [(item.tensor, item.axis) for item in new.weights] == [("k", None)]


@pytest.mark.parametrize(("transposed", "axis"), [(0, 1), (1, 0)])
def test_gemm(transposed, axis) -> None:
    found = placed(
        f"""g (float[b, 16] x) => (float[b, 16] y) {{
        a = MatMul(x, w0) [it] b = Gemm<transB = {transposed}>(a, w, bias) y = MatMul(b, w0) }}""",
        w0=normal(16, 16), w=normal(16, 16), bias=normal(16),
    )  # fmt: skip
    assert [(item.tensor, item.axis) for item in found.weights] == [("w", axis)]
    assert [item.tensor for item in found.biases] == ["bias"]


@pytest.mark.parametrize("shape", [(1, 16), (1,), (), (4, 16), (16, 1)])
def test_a_bias_that_isnt_one_number_a_channel_stays_float(shape) -> None:
    rows = 16 if shape == (16, 1) else 4
    found = placed(
        f"""g (float[{rows}, 16] x) => (float[{rows}, 16] y) {{
        a = MatMul(x, w0) b = Gemm(a, w, bias) y = MatMul(b, w0) }}""",
        w0=normal(16, 16), w=normal(16, 16), bias=normal(*shape),
    )  # fmt: skip
    assert found.biases == ()
    assert found.activations == ()
    assert {item.reason for item in found.decisions} >= {kernels.BIAS}


ATTENTION = """g (float[b, 4, 16] x) => (float[b, 4, 16] y) {
    i = MatMul(x, w) q = MatMul(i, w) [project] k = MatMul(i, w)
    t = Transpose<perm = [0, 2, 1]>(k) [scores] s = MatMul(q, t) p = Softmax(s)
    [mix] m = MatMul(p, i) [out] o = MatMul(m, w) y = MatMul(o, w)
}"""


@pytest.mark.parametrize("backend", DIALECTS)
def test_attention_stays_float_and_says_so(backend) -> None:
    found = placed(ATTENTION, backend, w=normal(16, 16))
    assert reason(found, "scores") == reason(found, "mix") == reasons.ATTENTION
    assert dtypes(found)["project"] == dtypes(found)["out"] == "int8"
    assert [item.axis for item in found.weights] == [1]


def test_reasons() -> None:
    found = placed(
        around(
            "[tiny] t = Conv(a, thin) [wide] v = Conv(t, thick) [vary] c = Conv(v, w) "
            "[bad] d = Conv(c, nan) [alone] e = Mul(d, d) b = Conv(e, k)"
        ).replace("float[b, 16, 8, 8] x)", "float[b, 16, 8, 8] x, float[16, 16, 1, 1] w)"),
        thin=normal(4, 16, 1, 1), thick=normal(16, 4, 1, 1), k=normal(16, 16, 1, 1),
        nan=np.full((16, 16, 1, 1), np.nan, np.float32), **ENDS,
    )  # fmt: skip
    assert reason(found, "tiny") == reason(found, "wide") == reasons.TINY
    assert reason(found, "vary") == reasons.VARIABLE
    assert reason(found, "bad") == reasons.NONFINITE
    assert reason(found, "alone") == reasons.BETWEEN


def test_a_function_of_the_same_name_is_another_operator() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 21, "own": 1]>
        g (float[2, 16] x) => (float[2, 16] y) {
            a = MatMul(x, w) b = own.Gemm(a, w) c = MatMul(b, w) y = MatMul(c, w) }
        <domain: "own", opset_import: ["": 21]> Gemm (v, u) => (r) { r = Sub(v, u) }"""
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(normal(16), "w"))
    del model.graph.initializer[:]
    model.graph.initializer.append(onnx.numpy_helper.from_array(normal(16, 16), "w"))
    found = place(named(ir.from_proto(model)), dialect_for("onnxruntime"))
    assert [item.op_type for item in found.decisions] == ["MatMul", "MatMul", "MatMul"]


class TestShared:
    def test_weights_of_two_nodes_are_quantised_once(self) -> None:
        found = placed(
            around("p = Conv<pads = [1, 1, 1, 1]>(a, k) b = Conv<pads = [1, 1, 1, 1]>(p, k)"),
            k=KERNEL, **ENDS,
        )  # fmt: skip
        assert [(item.tensor, item.axis) for item in found.weights] == [("k", 0)]

    def test_weights_with_channels_on_two_axes_have_one_scale(self) -> None:
        found = placed(
            """g (float[b, 16] x) => (float[b, 16] y) { a = MatMul(x, w0)
            p = MatMul(a, w) b = Gemm<transB = 1>(p, w, bias) y = MatMul(b, w0) }""",
            w0=normal(16, 16), w=normal(16, 16), bias=normal(16),
        )  # fmt: skip
        assert [(item.tensor, item.axis) for item in found.weights] == [("w", None)]

    def test_a_bias_at_two_scales_stays_float(self) -> None:
        """ONNX Runtime's fused kernels would take it as counted in their own scales."""
        found = placed(
            around("p = Conv(a, k1, bias) [two] b = Conv(p, k2, bias)"),
            k1=normal(16, 16, 1, 1), k2=normal(16, 16, 1, 1), bias=normal(16), **ENDS,
        )  # fmt: skip
        assert found.biases == ()
        assert dtypes(found)["two"] == "int8"


class TestOnlyData:
    def test_bounds_of_a_clip_and_computed_biases_are_left(self) -> None:
        found = placed(
            around(
                "lo = Constant<value = float {0.0}>() hi = Constant<value = float {6.0}>() "
                "c = Conv(a, k, z) d = Clip(c, lo, hi) b = Conv(d, k)"
            ).replace("float[b, 16, 8, 8] x)", "float[b, 16, 8, 8] x, float[16] z)"),
            "openvino", k=normal(16, 16, 1, 1), **ENDS,
        )  # fmt: skip
        assert set(found.activations) == {"a", "d"}

    def test_a_default_that_the_caller_may_replace_is_left(self) -> None:
        model = proto(
            around("c = Conv(a, k, z) b = Conv(c, k)").replace(
                "float[b, 16, 8, 8] x)", "float[b, 16, 8, 8] x, float[16] z)"
            ),
            {"k": normal(16, 16, 1, 1), "z": normal(16), **ENDS},
        )
        found = place(named(ir.from_proto(model)), dialect_for("onnxruntime"))
        assert "z" not in {*found.activations, *(item.tensor for item in found.biases)}


class TestIslands:
    @pytest.mark.parametrize("op_type", ["Conv", "Add", "Relu"])
    def test_they_stay_float_and_say_why(self, op_type) -> None:
        model = convnet8()
        islands = {node.name: "it was measured" for node in model.graph if node.op_type == op_type}
        found = place(model, dialect_for("onnxruntime"), islands)
        for name in islands:
            assert dtypes(found)[name] == "fp32"
            assert reason(found, name) == "float island: it was measured"


def test_a_network_without_a_layer() -> None:
    found = placed("g (float[2] x) => (float[2] y) { a = Relu(x) y = Add(a, x) }")
    assert found.activations == ()
    assert [(item.op_type, item.reason) for item in found.decisions] == [("Add", reasons.BETWEEN)]


def test_a_quantised_input_of_the_network() -> None:
    """It is read by a layer with another before it."""
    found = placed(
        """g (float[b, 16] x) => (float[b, 16] y) {
        a = MatMul(x, w) s = Add(a, x) c = Concat<axis = 0>(s, x) b = MatMul(c, w)
        y = MatMul(b, w) }""",
        w=normal(16, 16),
    )
    assert "c" in found.activations


@pytest.mark.parametrize(("mode", "inside"), [("nearest", True), ("linear", False)])
def test_a_resize_hands_values_on_only_where_it_takes_the_nearest(mode, inside) -> None:
    graph = around(
        "c = Conv<pads = [1, 1, 1, 1]>(a, k1) "
        f'[up] r = Resize<mode = "{mode}">(c, , scales) b = Conv<pads = [1, 1, 1, 1]>(r, k2)'
    )
    scales = np.array([1, 1, 2, 2], np.float32)
    found = placed(graph, "onnxruntime", k1=KERNEL, k2=KERNEL, scales=scales, **ENDS)
    assert (found.same_scale.get("r") == "c") is inside
    assert {"c", "r"} <= set(found.activations)
