"""Where a runtime's INT8 kernels end, by the runtimes' own accounts of what they ran."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.registry import find
from roadworthy.core.errors import CompileError
from roadworthy.core.signature import Array
from roadworthy.core.target import Target
from roadworthy.graph.costs import costs
from roadworthy.graph.signature import signature_of
from roadworthy.precision import kernels
from roadworthy.precision.plan import PrecisionPlan
from roadworthy.precision.proof import PrecisionFindings, check_precision
from roadworthy.precision.quantize import named
from tests.models import network, normal
from tests.unit.precision.int8_made import images, node_giving, planned

INT8 = CompileOptions(precision="int8", threads=1, spinning=False)

Weights = Mapping[str, Array]


def image_network(inner: str, outputs: str = "") -> str:
    """Between a first and a last layer; `inner` makes z from a."""
    return f"""g (float[2, 16, 8, 8] x) => (float[n, 16, h, w] y{outputs}) {{
        [first] a = Conv<pads = [1, 1, 1, 1]>(x, k0) {inner} [last] y = Conv(z, k9) }}"""


def rows_network(inner: str, outputs: str = "") -> str:
    return f"""g (float[4, 16] x) => (float[n, 16] y{outputs}) {{
        [first] a = MatMul(x, w0) {inner} [last] y = MatMul(z, w9) }}"""


def tokens_network(inner: str) -> str:
    return f"""g (float[2, 6, 16] x) => (float[b, n, 16] y) {{
        [first] a = MatMul(x, w0) {inner} [last] y = MatMul(z, w9) }}"""


def weights() -> dict[str, Array]:
    """Kernels k, matrices w, a vector for each channel, and others."""
    made = {f"k{i}": normal(16, 16, 1, 1, seed=i) * 0.2 for i in range(10)}
    made |= {"k0": normal(16, 16, 3, 3, seed=20) * 0.2, "pairs": normal(16, 8, 2, 2) * 0.2}
    made |= {f"w{i}": normal(16, 16, seed=30 + i) * 0.2 for i in range(10)}
    made |= {"bias": normal(16), "row": normal(1, 16), "number": np.float32(0.7)}
    made |= {"chans": normal(16, 1, 1), "part": normal(2, 16, 8, 8), "axes": np.array([0, 2, 3])}
    made |= {"low": np.float32(-1), "nil": np.float32(0), "one": np.float32(1)}
    made |= {"heads": np.array([2, 6, 4, 4]), "flat": np.array([2, 16, 64])}
    made |= {"all": normal(48, 16, 1, 1) * 0.2, "three": np.array([2, 48, 64])}
    made |= {f"i{i}": np.array([i]) for i in (0, 1, 16, 32)}
    return made | {"image": np.array([2, 16, 8, 8]), "tokens": np.array([2, 6, 16])}


def ran(graph: str, backend: str) -> tuple[PrecisionPlan, PrecisionFindings, Mapping[str, str]]:
    """Plan by real samples and build; return the plan, what is wrong with it, what runs in what."""
    model = ir.to_proto(network(graph, weights()))
    read = {name for node in model.graph.node for name in node.input}
    kept = [item for item in model.graph.initializer if item.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    shape = [item.dim_value for item in model.graph.input[0].type.tensor_type.shape.dim]
    found = named(ir.from_proto(model))
    _, plan, lowered = planned(found, images(4, *shape), backend)
    engine = find(backend).compile(lowered, signature_of(lowered), Target(backend), INT8)
    return (
        plan,
        check_precision(plan, "int8", engine.proof, costs(lowered, {})),
        engine.proof["nodes"],
    )


# By backend and reason: what the reason is given for, in the node t.
ORT_LIMITS = [
    (kernels.FACTORS, rows_network("[t] b = Gemm<alpha = 0.5>(a, w1, bias) z = MatMul(b, w2)")),
    (kernels.FACTORS, rows_network("[t] b = Gemm<beta = 0.5>(a, w1, bias) z = MatMul(b, w2)")),
    (kernels.BIAS, rows_network("[t] b = Gemm(a, w1, row) z = MatMul(b, w2)")),
    (kernels.BIAS, rows_network("[t] b = Gemm(a, w1, number) z = MatMul(b, w2)")),
    (
        kernels.BIAS,
        image_network(
            "m = ReduceMean<keepdims = 0>(x, axes) [t] b = Conv(a, k1, m) z = Conv(b, k2)"
        ),
    ),
    (kernels.CONSTANT, image_network("b = Conv(a, k1) [t] c = Add(b, chans) z = Conv(c, k2)")),
    (kernels.CONSTANT, image_network("b = Conv(a, k1) [t] c = Mul(number, b) z = Conv(c, k2)")),
    (
        kernels.CONSTANT,
        image_network("b = Conv(a, k1) [t] c = Concat<axis = 2>(b, part) z = Conv(c, k2)"),
    ),
    (
        kernels.DILATED,
        image_network(
            "b = Conv(a, k1) [t] c = AveragePool<kernel_shape = [2, 2], dilations = [1, 1]>(b) "
            "z = Conv(c, k2)"
        ),
    ),
    (kernels.GIVEN, image_network("[t] c = Conv(a, k1) z = Conv(c, k2)", ", float[n, 16, h, w] c")),
    (kernels.GIVEN, rows_network("[t] c = MatMul(a, w1) z = MatMul(c, w2)", ", float[n, 16] c")),
]  # fmt: skip
OPENVINO_LIMITS = [
    (kernels.NEGATIVE, image_network("[t] b = ConvTranspose(a, k1) z = Conv(b, k2)")),
    (
        kernels.GROUPS,
        image_network(
            "r = Relu(a) [t] b = ConvTranspose<group = 2, strides = [2, 2]>(r, pairs) "
            "z = Conv(b, k2)"
        ),
    ),
    (
        kernels.ACROSS,
        image_network(
            "b = Conv(a, k1) c = Conv(a, k2) d = Concat<axis = 2>(b, c) [t] z = Conv(d, k3)"
        ),
    ),
    (
        kernels.ACROSS,
        tokens_network(
            "b = MatMul(a, w1) c = MatMul(a, w2) d = Concat<axis = 1>(b, c) [t] z = MatMul(d, w3)"
        ),
    ),
]
LIMITS = [("onnxruntime", *item) for item in ORT_LIMITS]
LIMITS += [("openvino", *item) for item in OPENVINO_LIMITS]


@pytest.mark.parametrize(("backend", "why", "graph"), LIMITS)
def test_what_has_no_kernel_stays_in_float_and_says_why(backend, why, graph) -> None:
    plan, found, _ = ran(graph, backend)
    assert [one.reason for one in plan.decisions if one.node == "t"] == [why]
    assert found.findings == ()


@pytest.mark.parametrize(("backend", "why", "graph"), LIMITS)
def test_without_that_the_plan_would_promise_too_much(backend, why, graph, monkeypatch) -> None:
    monkeypatch.setattr(kernels, "_LIMITS", {})
    try:
        plan, found, runs = ran(graph, backend)
    except CompileError:
        return  # it doesn't even build
    assert {one.node: one.dtype for one in plan.decisions}["t"] == "int8"
    assert runs["t"] == "fp32"
    assert found.findings


@pytest.mark.parametrize("bounds", ["low, one", ", one", "low"])
def test_a_clip_that_may_stay_isnt_fused(bounds) -> None:
    graph = image_network(f"[t] b = Conv(a, k1) c = Clip(b, {bounds}) z = Conv(c, k2)")
    plan, found, runs = ran(graph, "onnxruntime")
    assert runs["t"] == "int8"
    assert found.findings == ()
    assert {"b", "c"} <= {item.tensor for item in plan.tensors}


@pytest.mark.parametrize("bounds", ["nil, one", "nil"])
def test_a_clip_from_0_is_fused(bounds) -> None:
    graph = image_network(f"[t] b = Conv(a, k1) c = Clip(b, {bounds}) z = Conv(c, k2)")
    plan, found, runs = ran(graph, "onnxruntime")
    assert runs["t"] == "int8"
    assert found.findings == ()
    assert "b" not in {item.tensor for item in plan.tensors}


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    "inner",
    [
        "b = Conv(a, k1, bias) c = Relu(b) z = Conv(c, k2)",
        "b = Conv<pads = [0, 1, 1, 0], dilations = [2, 2]>(a, k0) z = Conv(b, k2)",
        'b = Conv<auto_pad = "SAME_LOWER", strides = [2, 2]>(a, k0) z = Conv(b, k2)',
        "r = Relu(a) b = ConvTranspose<strides = [2, 2]>(r, k1, bias) z = Conv(b, k2)",
        "b = Conv(a, k1) c = Conv(a, k2) d = Concat<axis = 1>(b, c) e = Add(b, c) z = Conv(e, k3)",
        "b = Conv(a, k1) c = GlobalAveragePool(b) d = Conv(c, k2) e = Sigmoid(d) f = Mul(b, e) "
        "z = Conv(f, k3)",
        "b = Conv(a, k1) c = LeakyRelu<alpha = 0.2>(b) d = MaxPool<kernel_shape = [2, 2]>(c) "
        "z = Conv(d, k2)",
        "b = Conv(a, k1) c = AveragePool<kernel_shape = [3, 3], ceil_mode = 1>(b) z = Conv(c, k2)",
    ],
)
def test_what_has_a_kernel_runs_in_int8(backend, inner) -> None:
    plan, found, _ = ran(image_network(inner), backend)
    assert any(one.dtype == "int8" for one in plan.decisions)
    assert found.findings == ()


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_an_activation_whose_result_the_network_gives_isnt_fused(backend) -> None:
    graph = image_network(
        "[t] b = Conv(a, k1) c = Relu(b) z = Conv(c, k2)", ", float[n, 16, h, w] c"
    )
    _, found, runs = ran(graph, backend)
    assert runs["t"] == "int8"
    assert found.findings == ()


class TestResizes:
    def test_a_resize_of_whole_numbers_is_int8_though_its_scales_are_floats(self) -> None:
        graph = image_network(
            'b = Conv(a, k1) s = Constant<value_floats = [1.0, 1.0, 2.0, 2.0]>() '
            '[t] c = Resize<mode = "nearest">(b, , s) z = Conv(c, k2)'
        )  # fmt: skip
        plan, found, runs = ran(graph, "onnxruntime")
        assert runs["t"] == "int8"
        assert found.findings == ()
        assert {"b", "c"} <= {item.tensor for item in plan.tensors}

    def test_one_that_fills_in_numbers_from_outside_stays_in_float(self) -> None:
        graph = image_network(
            'b = Conv(a, k1) s = Constant<value_floats = [1.0, 1.0, 2.0, 2.0]>() '
            "i = Constant<value_floats = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.5, 1.5]>() "
            '[t] c = Resize<mode = "nearest", coordinate_transformation_mode = '
            '"tf_crop_and_resize", extrapolation_value = 3.0>(b, i, s) z = Conv(c, k2)'
        )  # fmt: skip
        _, found, runs = ran(graph, "onnxruntime")
        assert runs["t"] == "fp32"
        assert found.findings == ()


class TestFloatResults:
    """ONNX Runtime's kernels of Gemm and MatMul give floats where nobody wants integers."""

    @pytest.mark.parametrize(
        "inner",
        [
            rows_network("[t] b = MatMul(a, w1) c = Exp(b) z = MatMul(c, w2)"),
            rows_network("[t] b = Gemm(a, w1, bias) c = Exp(b) z = MatMul(c, w2)"),
            # A vector is said with three axes: ONNX Runtime makes a Gemm of floats otherwise.
            tokens_network("[t] b = MatMul(a, w1) c = Add(b, bias) d = Exp(c) z = MatMul(d, w2)"),
            tokens_network("[t] b = MatMul(a, w1) c = Add(bias, b) z = MatMul(c, w2)"),
            # Of two, and of something else.
            tokens_network(
                "[t] b = MatMul(a, w1) c = Add(b, bias) d = MatMul(c, w2) e = Add(d, bias) "
                "f = Sub(e, bias) z = MatMul(f, w3)"
            ),
            tokens_network("[t] b = MatMul(a, w1) c = Add(a, b) d = Exp(c) z = MatMul(d, w2)"),
        ],
    )
    def test_nothing_is_rounded_that_is_read_in_float(self, inner) -> None:
        plan, found, runs = ran(inner, "onnxruntime")
        assert runs["t"] == "int8"
        assert found.findings == ()
        assert "b" not in {item.tensor for item in plan.tensors}

    @pytest.mark.parametrize(
        "graph",
        [
            # It would become a Gemm of floats.
            rows_network("[t] b = MatMul(a, w1) c = Add(b, bias) d = Exp(c) z = MatMul(d, w2)"),
            # A Relu in float keeps the kernel away.
            rows_network("[t] b = MatMul(a, w1) c = Relu(b) d = Exp(c) z = MatMul(d, w2)"),
            # A bias at two scales.
            rows_network("[t] b = Gemm(a, w1, bias) c = Exp(b) z = Gemm(c, w2, bias)"),
        ],
    )
    def test_but_where_the_kernel_needs_it(self, graph) -> None:
        plan, found, runs = ran(graph, "onnxruntime")
        assert runs["t"] == "int8"
        assert found.findings == ()
        assert {"b", "c"} & {item.tensor for item in plan.tensors}


class TestAttention:
    def test_of_products_it_stays_in_float(self) -> None:
        """Their results reach it unrounded."""
        graph = tokens_network(
            "q = MatMul(a, w1) k = MatMul(a, w2) v = MatMul(a, w3) "
            "e = Reshape(q, heads) f = Reshape(k, heads) g = Reshape(v, heads) "
            "i = Transpose<perm = [0, 2, 1, 3]>(e) j = Transpose<perm = [0, 2, 3, 1]>(f) "
            "l = Transpose<perm = [0, 2, 1, 3]>(g) [scores] m = MatMul(i, j) n = Softmax(m) "
            "[mix] o = MatMul(n, l) p = Transpose<perm = [0, 2, 1, 3]>(o) "
            "u = Reshape(p, tokens) z = MatMul(u, w4)"
        )
        plan, found, runs = ran(graph, "onnxruntime")
        told = {one.node: one.dtype for one in plan.decisions}
        assert told["scores"] == told["mix"] == runs["scores"] == runs["mix"] == "fp32"
        assert found.findings == ()
        assert not {"q", "k", "v"} & {item.tensor for item in plan.tensors}

    @pytest.mark.parametrize(
        "parts",
        [
            "q = Conv(a, k1) k = Conv(a, k2) v = Conv(a, k3) e = Reshape(q, flat) "
            "f = Reshape(k, flat) g = Reshape(v, flat)",
            # One convolution for all three, cut afterwards.
            "q = Conv(a, all) r = Reshape(q, three) e = Slice(r, i0, i16, i1) "
            "f = Slice(r, i16, i32, i1) g = Slice(r, i16, i32, i1)",
        ],
    )
    def test_of_convolutions_it_runs_in_int8_and_the_plan_says_so(self, parts) -> None:
        """Their results are quantised for the kernels' sake, and ONNX Runtime fuses what it can."""
        graph = image_network(
            f"{parts} i = Transpose<perm = [0, 2, 1]>(e) "
            "[scores] m = MatMul(i, f) u = Add(m, number) n = Softmax(u) "
            "j = Transpose<perm = [0, 2, 1]>(n) [mix] o = MatMul(g, j) "
            "p = Reshape(o, image) z = Conv(p, k4)"
        )
        plan, found, runs = ran(graph, "onnxruntime")
        told = {one.node: one.dtype for one in plan.decisions}
        assert told["scores"] == runs["scores"] == "int8"
        assert told["mix"] == "fp32"
        assert found.findings == ()
        # Nothing is rounded for its sake.
        assert "m" not in {item.tensor for item in plan.tensors}


@pytest.mark.parametrize(
    "inner",
    [
        "b = Conv(a, k1) [t] c = Add(b, a) d = Relu(c) z = Conv(d, k2)",
        "b = Conv(a, k1) [t] c = LeakyRelu(b) d = Exp(c) e = Conv(c, k2) z = Add(d, e)",
        "b = Conv(a, k1) d = Conv(a, k2) [t] c = Add(b, d) e = Exp(c) f = Conv(c, k3) "
        "z = Mul(e, f)",
    ],
)
def test_what_stands_between_quantised_tensors_is_int8_and_the_plan_says_so(inner) -> None:
    plan, found, runs = ran(image_network(inner), "onnxruntime")
    assert {one.node: one.dtype for one in plan.decisions}["t"] == runs["t"] == "int8"
    assert found.findings == found.notes == ()


def test_an_activation_behind_a_convtranspose_of_any_size() -> None:
    graph = image_network(
        "r = Relu(a) b = ConvTranspose<strides = [2, 2]>(r, k1) [t] c = Relu(b) z = Conv(c, k2)"
    ).replace("float[2, 16, 8, 8] x", "float[2, 16, u, v] x")
    model = named(network(graph, {name: weights()[name] for name in ("k0", "k1", "k2", "k9")}))
    _, plan, lowered = planned(model, images(4, 2, 16, 8, 8), "openvino")
    engine = find("openvino").compile(lowered, signature_of(lowered), Target("openvino"), INT8)
    assert (
        check_precision(plan, "int8", engine.proof, costs(lowered, {"u": 8, "v": 8})).findings == ()
    )
    name = node_giving(model, "b").name
    assert {one.node: one.dtype for one in plan.decisions}[name or ""] == "int8"
