"""Which nodes stay FP32, each with its reason."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from roadworthy.core.errors import InputError, UnavailableError, UsageError
from roadworthy.core.signature import Array, Feed
from roadworthy.precision.half import plan_half
from roadworthy.precision.plan import PrecisionPlan
from tests.models import convnet, network, normal
from tests.unit.precision.half_made import dtypes, ranges_of, reason

X = {"x": normal(4, 8)}
EYE = {"w": np.eye(8, dtype=np.float32)}
HEADER = "g (float[n, 8] x) => (float[n, 8] y)"


def planned(
    body: str, weights: dict[str, Array] | None = None, feed: Feed | None = None
) -> PrecisionPlan:
    """Plan FP16 for a body between x and y, with the ranges of one feed."""
    model = network(f"{HEADER} {{ {body} }}", EYE | (weights or {}))
    return plan_half(model, "fp16", ranges_of(model, feed or X))


def of_y(body: str, weights: dict[str, Array] | None = None, feed: Feed | None = None) -> str:
    """Return the reason of the node that makes y; empty when it is half."""
    return reason(planned(body, weights, feed), "y")


def test_plain_arithmetic_beside_a_product_is_half() -> None:
    plan = planned("h = MatMul(x, w) r = Relu(h) s = Add(r, x) y = Sigmoid(s)")
    assert dtypes(plan) == dict.fromkeys("hrsy", "fp16")
    assert plan.exceptions == ()


def test_every_node_that_computes_floats_is_decided_and_no_other() -> None:
    plan = planned(
        "k = Constant<value_floats = [1.0]>() h = MatMul(x, w) s = Shape(h) "
        "n = Slice(s, zero, one) t = Concat<axis = 0>(n, eight) y = Reshape(h, t)",
        {"zero": np.array([0]), "one": np.array([1]), "eight": np.array([8])},
    )
    assert [item.node for item in plan.decisions] == ["h", "y"]


class TestRanges:
    def test_a_tensor_above_a_quarter_of_the_largest_number(self) -> None:
        body = "h = MatMul(x, w) y = Mul(h, thousand)"
        weights = {"thousand": np.float32(1000.0)}
        assert of_y(body, weights, {"x": np.full((1, 8), 16.3, np.float32)}) == ""
        told = of_y(body, weights, {"x": np.full((1, 8), 16.5, np.float32)})
        assert "reaches 1.6e+04" in told and "65504" in told

    def test_both_ends_of_a_wide_tensor_stay_fp32(self) -> None:
        plan = planned("h = MatMul(x, big) y = Tanh(h)", {"big": EYE["w"] * np.float32(3e4)})
        assert set(dtypes(plan).values()) == {"fp32"}

    def test_a_tensor_among_the_subnormals(self) -> None:
        tiny = {"x": np.full((1, 8), 2.0**-15, np.float32)}
        assert "subnormal" in of_y("y = MatMul(x, w)", feed=tiny)
        assert of_y("y = MatMul(x, w)", feed={"x": tiny["x"] * 2}) == ""

    def test_not_finite(self) -> None:
        assert "isn't finite" in of_y(
            "h = MatMul(x, w) y = Neg(h)", feed={"x": np.full((1, 8), np.inf, np.float32)}
        )

    def test_an_unobserved_tensor_keeps_its_nodes_in_fp32(self) -> None:
        model = network(f"{HEADER} {{ h = MatMul(x, w) y = Neg(h) }}", EYE)
        plan = plan_half(model, "fp16", {"x": (-1.0, 1.0), "y": (-1.0, 1.0)})
        assert {item.reason for item in plan.decisions} == {"a tensor of it has no observed range"}

    def test_unless_what_made_it_bounds_it(self) -> None:
        model = network(
            f"{HEADER} {{ a = Relu(x) b = Transpose(a) c = Transpose(b) y = MatMul(c, w) }}", EYE
        )
        plan = plan_half(model, "fp16", {"x": (-1.0, 1.0), "y": (-1.0, 1.0)})
        assert set(dtypes(plan).values()) == {"fp16"}

    def test_a_range_of_nothing_is_no_range(self) -> None:
        model = network(f"{HEADER} {{ y = MatMul(x, w) }}", EYE)
        plan = plan_half(model, "fp16", {"x": (np.inf, -np.inf), "y": (-1.0, 1.0)})
        assert "no observed range" in reason(plan, "y")


class TestConstants:
    @pytest.mark.parametrize(
        ("value", "told"),
        [
            (1e5, "a constant of it reaches 1e+05"),
            (-np.inf, "masks stay FP32"),
            (1e-12, "too small for fp16"),
        ],
    )
    def test_one_that_does_not_fit(self, value: float, told: str) -> None:
        weights = {"c": np.full(8, value, np.float32)}
        assert told in of_y("h = MatMul(x, w) y = Max(h, c)", weights)

    def test_a_mask_stays_fp32_up_to_the_softmax(self) -> None:
        plan = planned(
            "h = MatMul(x, w) m = Where(keep, h, low) s = Softmax(m) y = MatMul(s, w)",
            {"keep": np.arange(8) < 4, "low": np.float32(-1e9)},
        )
        assert dtypes(plan) == {"h": "fp16", "m": "fp32", "s": "fp32", "y": "fp16"}
        assert "-1e+09" in reason(plan, "m") or "1e+09" in reason(plan, "m")

    def test_a_few_weights_may_vanish_but_not_most(self) -> None:
        few = np.where(np.eye(8) > 0, 1.0, 1e-9).astype(np.float32)
        assert of_y("y = MatMul(x, v)", {"v": few}) == ""
        # Subnormal in FP16, six bits left: the worst rounding of them is 2^-7.
        most = np.full((8, 8), 1.01 * 2.0**-18, np.float32)
        feed = {"x": np.full((1, 8), 4e3, np.float32)}
        assert "too small" in of_y("y = MatMul(x, v)", {"v": most}, feed)


class TestOperators:
    @pytest.mark.parametrize(
        ("node", "told"),
        [
            ("LayerNormalization(h, one)", "variance underflows"),
            ("Softmax(h)", "exponentials"),
            ("Exp(h)", "exponentials"),
            ("Div(one, h)", "quotients"),
            ("Sin(h)", "angle"),
            ("CumSum(h, axis)", "half is exact up to 2048"),
            ("RandomNormalLike(h)", "random"),
        ],
    )
    def test_fp32_whatever_the_numbers(self, node: str, told: str) -> None:
        weights = {"one": np.ones(8, np.float32), "axis": np.int64(1)}
        feed = {"x": np.full((2, 8), 1.5, np.float32)}
        assert told in of_y(f"h = MatMul(x, w) y = {node}", weights, feed)

    def test_dividing_by_a_constant_is_multiplying(self) -> None:
        body = "h = MatMul(x, w) y = Div(h, c)"
        assert of_y(body, {"c": np.float32(8.0)}) == ""
        assert "quotients" in of_y(body, {"c": np.float32(1e-6)})

    def test_a_reduction_by_its_length(self) -> None:
        for length, half in ((64, True), (65, False)):
            model = network(
                f"g (float[1, {length}] x) => (float[1, 1] y)"
                "{ h = MatMul(x, w) y = ReduceMean(h, axis) }",
                {"w": np.eye(length, dtype=np.float32), "axis": np.array([1])},
            )
            plan = plan_half(model, "fp16", ranges_of(model, {"x": normal(1, length)}))
            assert (reason(plan, "y") == "") is half, length

    def test_a_reduction_over_an_unknown_size(self) -> None:
        body = "h = MatMul(x, w) m = ReduceMean<keepdims = 1>(h, axis) y = Sub(h, m)"
        plan = planned(body, {"axis": np.array([0])})
        assert "a size that isn't known" in reason(plan, "m")

    def test_a_long_product_is_half_for_sums_are_fp32_on_the_targets(self) -> None:
        model = network(
            "g (float[1, 9000] x) => (float[1, 2] y) { y = MatMul(x, w) }",
            {"w": normal(9000, 2)},
        )
        plan = plan_half(model, "fp16", ranges_of(model, {"x": normal(1, 9000, seed=1)}))
        assert dtypes(plan) == {"y": "fp16"}

    def test_no_such_type_in_the_schema(self) -> None:
        # NonMaxSuppression's boxes are tensor(float) and nothing else.
        model = network(
            "g (float[1, 4, 4] x) => (int64[n, 3] y)"
            "{ h = MatMul(x, w) s = Transpose<perm = [0, 2, 1]>(h) y = NonMaxSuppression(h, s) }",
            {"w": np.eye(4, dtype=np.float32)},
        )
        plan = plan_half(model, "fp16", ranges_of(model, {"x": normal(1, 4, 4)}))
        assert reason(plan, "y") == "ONNX opset 21 has no FLOAT16 for NonMaxSuppression"

    def test_choices_are_named_as_near_ties(self) -> None:
        plan = planned(
            "h = MatMul(x, w) i = ArgMax(h) j = ArgMax(x) f = Cast<to = 1>(i) y = Add(h, f)"
        )
        assert plan.account == {"near_ties": ["i"]}


class TestPatterns:
    NORM = (
        "h = MatMul(x, w) m = ReduceMean(h, axis) c = Sub(h, m) q = {square} "
        "v = ReduceMean(q, axis) e = Add(v, eps) d = Sqrt(e) {quotient} y = MatMul(n, w)"
    )
    WEIGHTS: ClassVar = {"axis": np.array([1]), "eps": np.float32(1e-3), "two": np.float32(2.0)}

    @pytest.mark.parametrize("square", ["Pow(c, two)", "Mul(c, c)"])
    @pytest.mark.parametrize("quotient", ["n = Div(c, d)", "r = Reciprocal(d) n = Mul(c, r)"])
    def test_a_norm_written_out_is_one_island(self, square: str, quotient: str) -> None:
        plan = planned(self.NORM.format(square=square, quotient=quotient), self.WEIGHTS)
        told = {item.node: item.reason for item in plan.exceptions}
        assert set(told) == {"m", "c", "q", "v", "e", "d", "n"} | ({"r"} & dtypes(plan).keys())
        assert all("normalisation written out" in text for text in told.values())

    def test_counting_stays_exact(self) -> None:
        plan = planned(
            "s = Shape(x) f = Cast<to = 1>(s) t = Mul(f, f) u = ReduceMax<keepdims = 0>(t) "
            "h = MatMul(x, w) y = Add(h, u)"
        )
        assert [item.node for item in plan.exceptions] == ["f", "t", "u"]
        assert all("half is exact up to 2048 only" in item.reason for item in plan.exceptions)

    def test_bytes_are_exact_in_half(self) -> None:
        model = network(
            "g (uint8[n, 8] x) => (float[n, 8] y) { f = Cast<to = 1>(x) y = MatMul(f, w) }", EYE
        )
        plan = plan_half(model, "fp16", ranges_of(model, {"x": np.full((2, 8), 200, np.uint8)}))
        assert dtypes(plan) == {"f": "fp16", "y": "fp16"}

    def test_a_quantised_region_is_left_alone(self) -> None:
        plan = planned(
            "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) h = MatMul(d, w) "
            "n = Neg(h) p = QuantizeLinear(n, s, z) e = DequantizeLinear(p, s, z) "
            "a = Neg(e) b = MatMul(a, w) y = MatMul(b, w)",
            {"s": np.float32(0.1), "z": np.int8(0)},
        )
        told = dtypes(plan)
        assert [name for name in "qdhnpea" if told[name] != "fp32"] == []
        assert told["b"] == told["y"] == "fp16"
        assert "quantised region" in reason(plan, "h")


class TestIslands:
    def test_a_cheap_node_between_fp32_ones(self) -> None:
        assert "casts would cost more" in reason(
            planned("e = Exp(x) s = Neg(e) y = Softmax(s)"), "s"
        )

    def test_a_chain_longer_than_its_casts_is_worth_it(self) -> None:
        plan = planned("e = Softmax(x) a = Neg(e) b = Abs(a) c = Neg(b) y = Softmax(c)")
        assert dtypes(plan) == {"e": "fp32", "a": "fp16", "b": "fp16", "c": "fp16", "y": "fp32"}

    def test_a_product_between_them_is_worth_two_casts(self) -> None:
        assert dtypes(planned("e = Softmax(x) m = MatMul(e, w) y = Softmax(m)"))["m"] == "fp16"


class TestWhatKeepsItsTypes:
    def test_bodies(self) -> None:
        model = network(
            f"""{HEADER} {{
                h = MatMul(x, w)
                y = If (yes) <
                    then_branch = a () => (float[n, 8] t) {{ t = Neg(h) }},
                    else_branch = b () => (float[n, 8] e) {{ e = Abs(h) }} >
            }}""",
            EYE | {"yes": np.bool_(True)},
        )
        plan = plan_half(model, "fp16", {"x": (-1, 1), "h": (-1, 1)})
        assert dtypes(plan) == {"h": "fp16", "y": "fp32", "t": "fp32", "e": "fp32"}
        assert reason(plan, "t") == "inside If"

    def test_functions(self) -> None:
        model = ir.from_proto(
            onnx.parser.parse_model(
                """<ir_version: 10, opset_import: ["": 21, "own": 1]>
                g (float[n] x) => (float[n] y) { y = own.twice(x) }
                <domain: "own", opset_import: ["": 21]>
                twice (a) => (b) { b = Add(a, a) }"""
            )
        )
        plan = plan_half(model, "fp16", {"x": (-1, 1), "y": (-1, 1)})
        assert "isn't ONNX's own domain" in reason(plan, "y")


class TestBfloat16:
    def test_a_convolution_before_opset_22_is_refused_by_name(self) -> None:
        with pytest.raises(UnavailableError, match="opset 21 has no BFLOAT16 for Conv") as caught:
            plan_half(convnet(), "bf16", {})
        assert "opset 22" in str(caught.value.remedy)

    def test_opset_22_has_it(self) -> None:
        proto = ir.to_proto(convnet())
        model = ir.from_proto(onnx.version_converter.convert_version(proto, 22))
        plan = plan_half(model, "bf16", ranges_of(model, {"image": normal(1, 1, 8, 8)}))
        assert set(dtypes(plan).values()) == {"bf16"}

    def test_its_range_is_that_of_fp32_but_for_the_end(self) -> None:
        for value, fits in ((-1e9, True), (float(np.finfo(np.float32).min), False)):
            model = network(
                f"{HEADER} {{ h = MatMul(x, w) y = Max(h, c) }}", EYE | {"c": np.float32(value)}
            )
            plan = plan_half(model, "bf16", ranges_of(model, X))
            assert (dtypes(plan)["y"] == "bf16") is fits

    def test_before_cast_knew_it(self) -> None:
        text = (
            '<ir_version: 7, opset_import: ["": 12]> g (float[2] x) => (float[2] y) { y = Abs(x) }'
        )
        model = ir.from_proto(onnx.parser.parse_model(text))
        with pytest.raises(UnavailableError, match="from opset 13 on"):
            plan_half(model, "bf16", {})


def test_another_word_is_refused() -> None:
    with pytest.raises(UsageError, match="'int8' is no half precision"):
        plan_half(convnet(), "int8", {})  # type: ignore[arg-type]


def test_a_model_without_an_opset_is_refused() -> None:
    model = network(f"{HEADER} {{ y = Abs(x) }}")
    model.graph.opset_imports.clear()
    with pytest.raises(InputError, match="states no opset"):
        plan_half(model, "fp16", {})


def test_the_model_is_left_alone() -> None:
    model = convnet()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    plan_half(model, "fp16", {})
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
