"""A plan becomes casts in the graph: few, named, in order; the model's ends stay as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from roadworthy.core.errors import InputError, UnavailableError, UsageError
from roadworthy.core.signature import Array
from roadworthy.graph.signature import signature_of
from roadworthy.precision.half import plan_half, to_half
from roadworthy.precision.plan import Decision, PrecisionPlan
from roadworthy.precision.typed import check, graph_values, is_float, typed_copy
from tests.models import convnet, network, normal, perceptron
from tests.unit.precision.half_made import ranges_of, relative, run

X = {"x": normal(4, 8)}
W = {"w": normal(8, 8, seed=1)}
HEADER = "g (float[n, 8] x) => (float[n, 8] y)"
HALF = ir.DataType.FLOAT16


def plan_of(model: ir.Model, *half: str, precision: str = "fp16") -> PrecisionPlan:
    """A plan by hand: these nodes, named by their first outputs, in half."""
    decisions = (Decision(name, "", precision) for name in half)
    return PrecisionPlan(precision, "", tuple(decisions))


def lowered(body: str, *half: str, weights: dict[str, Array] | None = None) -> ir.Model:
    """Lower a body between x and y, these nodes in half, and compare its answers with FP32's."""
    model = network(f"{HEADER} {{ {body} }}", W | (weights or {}))
    result = to_half(model, plan_of(model, *half))
    assert check(result) == ""
    assert signature_of(result) == signature_of(model)
    assert result.graph.opset_imports == model.graph.opset_imports
    assert relative(run(result, X)["y"], run(model, X)["y"]) < 2e-3
    return result


def casts(model: ir.Model) -> list[tuple[str | None, str, str | None]]:
    """The casts of the main graph, as (input, dtype, output)."""
    return [
        (
            node.inputs[0].name,
            ir.DataType(node.attributes["to"].as_int()).name,
            node.outputs[0].name,
        )
        for node in model.graph
        if node.op_type == "Cast" and node.inputs[0] is not None
    ]


def types(model: ir.Model) -> dict[str | None, str]:
    """The dtype of every node's output."""
    return {
        value.name: value.dtype.name
        for node in model.graph
        for value in node.outputs
        if value.dtype is not None
    }


def test_casts_stand_at_the_ends_and_the_output_keeps_its_name() -> None:
    result = lowered("h = MatMul(x, w) y = Relu(h)", "h", "y")
    assert casts(result) == [("x", "FLOAT16", "x_fp16"), ("y_fp16", "FLOAT", "y")]
    assert types(result) == {
        "x_fp16": "FLOAT16",
        "h": "FLOAT16",
        "y_fp16": "FLOAT16",
        "y": "FLOAT",
    }


def test_a_value_is_cast_once_for_all_who_want_it() -> None:
    result = lowered(
        "a = Exp(x) h = Neg(a) i = Abs(a) b = Exp(h) c = Sin(h) d = Add(b, c) "
        "e = Sub(i, h) y = Add(d, e)",
        "h", "i", "e",
    )  # fmt: skip
    assert casts(result) == [
        ("a", "FLOAT16", "a_fp16"),
        ("h", "FLOAT", "h_fp32"),
        ("e", "FLOAT", "e_fp32"),
    ]


def test_an_output_that_is_used_inside_too_shares_its_cast() -> None:
    model = network(
        "g (float[n, 8] x) => (float[n, 8] y, float[n, 8] z)"
        "{ y = MatMul(x, w) e = Exp(y) z = MatMul(y, w) }",
        W,
    )
    result = to_half(model, plan_of(model, "y", "z"))
    assert casts(result) == [
        ("x", "FLOAT16", "x_fp16"),
        ("y_fp16", "FLOAT", "y"),
        ("z_fp16", "FLOAT", "z"),
    ]


def test_a_constant_for_both_is_stored_twice_else_once() -> None:
    both = lowered("h = MatMul(x, w) e = Exp(h) y = MatMul(e, w)", "h")
    assert {k: v.dtype for k, v in both.graph.initializers.items()} == {
        "w": ir.DataType.FLOAT,
        "w_fp16": HALF,
    }
    once = lowered("h = MatMul(x, w) y = MatMul(h, w)", "h", "y")
    assert {k: v.dtype for k, v in once.graph.initializers.items()} == {"w_fp16": HALF}
    stored = once.graph.initializers["w_fp16"].const_value
    assert stored is not None
    np.testing.assert_array_equal(stored.numpy(), W["w"].astype(np.float16))


def test_a_constant_node_becomes_an_initialiser() -> None:
    result = lowered("k = Constant<value_float = 0.5>() h = MatMul(x, w) y = Mul(h, k)", "h", "y")
    assert "Constant" not in [node.op_type for node in result.graph]
    assert result.graph.initializers["k_fp16"].dtype == HALF


def test_an_initialiser_that_the_caller_may_replace_is_cast() -> None:
    model = network("g (float[n, 8] x, float[8, 8] w) => (float[n, 8] y) { y = MatMul(x, w) }", W)
    result = to_half(model, plan_of(model, "y"))
    assert ("w", "FLOAT16", "w_fp16") in casts(result)
    other = {"w": normal(8, 8, seed=5)}
    assert relative(run(result, X | other)["y"], run(model, X | other)["y"]) < 2e-3


def test_a_cast_of_the_model_itself_is_not_undone_by_a_second_one() -> None:
    result = lowered("e = Exp(x) c = Cast<to = 10>(e) f = Cast<to = 1>(c) y = MatMul(f, w)", "y")
    assert casts(result) == [("e", "FLOAT16", "c"), ("y_fp16", "FLOAT", "y")]


def test_weights_of_an_old_model_are_inputs_only_by_form() -> None:
    text = '<ir_version: 3, opset_import: ["": 8]>'
    proto = onnx.parser.parse_model(
        f"{text} g (float[n, 8] x, float[8, 8] w) => (float[n, 8] y) {{ y = MatMul(x, w) }}"
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(W["w"], "w"))
    model = ir.from_proto(proto)
    result = to_half(model, plan_half(model, "fp16", ranges_of(model, X)))
    assert [value.name for value in result.graph.inputs] == ["x"]
    assert list(result.graph.initializers) == ["w_fp16"]
    assert signature_of(result) == signature_of(model)
    assert relative(run(result, X)["y"], run(model, X)["y"]) < 2e-3


def test_scales_of_resize_stay_fp32() -> None:
    model = network(
        'g (float[1, 2, 4, 4] x) => (float[1, 2, 8, 8] y) { y = Resize<mode = "linear">(x, , s) }',
        {"s": np.array([1, 1, 2, 2], np.float32)},
    )
    result = to_half(model, plan_of(model, "y"))
    assert result.graph.initializers["s"].dtype == ir.DataType.FLOAT
    feed = {"x": normal(1, 2, 4, 4)}
    assert relative(run(result, feed)["y"], run(model, feed)["y"]) < 2e-3


def test_nodes_that_state_a_dtype_state_half() -> None:
    result = lowered(
        "s = Shape(x) z = ConstantOfShape(s) g = Greater(x, z) c = Cast<to = 1>(g) "
        "h = MatMul(x, w) i = Add(h, c) y = Sub(i, z)",
        "z", "c", "h", "i", "y",
    )  # fmt: skip
    assert types(result)["z"] == types(result)["c"] == "FLOAT16"


def test_shape_is_asked_of_whatever_is_there() -> None:
    result = lowered("h = MatMul(x, w) s = Shape(h) t = Reshape(h, s) y = Relu(t)", "h", "t", "y")
    assert len(casts(result)) == 2


def test_names_that_are_taken_get_a_number() -> None:
    result = lowered("x_fp16 = Exp(x) y_fp16 = MatMul(x, w) y = Mul(x_fp16, y_fp16)", "y_fp16", "y")
    names = [value.name for node in result.graph for value in node.outputs]
    assert len(names) == len(set(names))
    assert {"x_fp16_2", "y_fp16_2", "y"} <= set(names)


def test_bodies_see_the_values_around_them_in_fp32() -> None:
    model = network(
        """g (float[n, 8] x, bool yes) => (float[n, 8] y) {
            h = MatMul(x, w)
            i = If (yes) <
                then_branch = a () => (float[n, 8] t) { t = Neg(h) },
                else_branch = b () => (float[n, 8] e) {
                    e = If (yes) <
                        then_branch = c () => (float[n, 8] u) { u = Abs(h) },
                        else_branch = d () => (float[n, 8] v) { v = MatMul(h, w) } >
                } >
            y = MatMul(i, w)
        }""",
        W,
    )
    result = to_half(model, plan_of(model, "h", "y"))
    assert [cast[0] for cast in casts(result)] == ["x", "h", "i", "y_fp16"]
    for yes in (True, False):
        feed = X | {"yes": np.array(yes)}
        assert relative(run(result, feed)["y"], run(model, feed)["y"]) < 2e-3


def test_loops_and_functions_run_as_before_beside_half() -> None:
    model = ir.from_proto(
        onnx.parser.parse_model(
            """<ir_version: 10, opset_import: ["": 21, "own": 1]>
            g (float[4, 8] x) => (float[4, 8] y) <int64 n = {3}, bool go = {1}> {
                h = Neg(x)
                f = own.twice(h)
                l = Loop (n, go, f) <body = b (int64 i, bool c, float[4, 8] s)
                    => (bool d, float[4, 8] t) { d = Identity(c) t = Add(s, h) }>
                y = Abs(l)
            }
            <domain: "own", opset_import: ["": 21]> twice (a) => (b) { b = Add(a, a) }"""
        )
    )
    result = to_half(model, plan_of(model, "h", "y"))
    assert [cast[0] for cast in casts(result)] == ["x", "h", "l", "y_fp16"]
    assert relative(run(result, X)["y"], np.abs(-5 * X["x"])) < 2e-3


def test_nodes_of_one_name_or_none_are_told_apart() -> None:
    model = network(f"{HEADER} {{ a = Exp(x) b = Neg(a) c = Abs(b) y = MatMul(c, w) }}", W)
    ranges = ranges_of(model, X)
    for node, name in zip(model.graph, ("same", "same", "", "same"), strict=True):
        node.name = name
    plan = plan_half(model, "fp16", ranges)
    assert [item.node for item in plan.decisions] == ["same", "b", "c", "y"]
    result = to_half(model, plan)
    assert types(result)["b"] == types(result)["c"] == "FLOAT16"


def test_twice_gives_the_same_bytes_and_leaves_the_model_alone() -> None:
    model = convnet()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    plan = plan_half(model, "fp16", ranges_of(model, {"image": normal(1, 1, 8, 8)}))
    first, second = (
        ir.to_proto(to_half(model, plan)).SerializeToString(deterministic=True) for _ in range(2)
    )
    assert first == second
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_bfloat16_rounds_to_eight_bits() -> None:
    """The truth is ONNX's reference evaluator: ONNX Runtime's CPU has no BF16 product."""
    model = perceptron()
    feed = {"x": normal(5, 3)}
    plan = plan_half(model, "bf16", ranges_of(model, feed))
    result = to_half(model, plan)
    assert types(result)["h"] == "BFLOAT16"
    evaluator = ReferenceEvaluator(ir.to_proto(result))
    y = evaluator.run(["y"], feed)[0]
    # Three roundings of at most 2^-8 in a row, and not the answers of FP32 or FP16.
    assert 2**-12 < relative(y, run(model, feed)["y"]) < 3 * 2**-8


def test_half_is_refused_where_the_operator_has_none() -> None:
    with pytest.raises(UnavailableError, match="opset 21 has no BFLOAT16 for Conv") as caught:
        to_half(convnet(), plan_of(convnet(), "c", precision="bf16"))
    assert "'c'" in str(caught.value.where)


SEQUENCES = {
    "made": "s = SequenceConstruct(h) i = Constant<value = int64{0}>() e = SequenceAt(s, i)",
    "split": "s = SplitToSequence<axis = 0>(h) e = ConcatFromSequence<axis = 0>(s)",
    "optional": "s = Optional(h) e = OptionalGetElement(s)",
    "carried": """s0 = SequenceConstruct(h)
        n = Constant<value = int64{2}>() yes = Constant<value = bool{1}>()
        s1 = Loop(n, yes, s0) <body = b (int64 i, bool c, seq(float[4, 8]) a)
            => (bool d, seq(float[4, 8]) o) { d = Identity(c) o = SequenceInsert(a, h) }>
        s = Identity(s1) i = Constant<value = int64{0}>() e = SequenceAt(s, i)""",
}


@pytest.mark.parametrize("body", SEQUENCES.values(), ids=SEQUENCES)
def test_sequences_and_optional_values_are_no_tensors(body) -> None:
    """Their types are inferred: few exporters state them."""
    model = network(f"{HEADER} {{ h = MatMul(x, w) {body} y = MatMul(e, w) }}", W)
    typed = typed_copy(model)
    assert "s" not in {value.name for value in graph_values(typed) if is_float(value)}
    result = lowered(f"h = MatMul(x, w) {body} y = MatMul(e, w)", "h", "y")
    assert types(result)["h"] == "FLOAT16"


def test_half_inside_a_body_is_refused() -> None:
    model = network(
        """g (float[n] x, bool yes) => (float[n] y) { y = If (yes) <
            then_branch = a () => (float[n] t) { t = Neg(x) },
            else_branch = b () => (float[n] e) { e = Abs(x) }> }"""
    )
    with pytest.raises(UnavailableError, match="inside a body"):
        to_half(model, plan_of(model, "t"))


def test_a_plan_of_another_model_is_refused() -> None:
    with pytest.raises(InputError, match="nodes that the model doesn't have") as caught:
        to_half(convnet(), plan_of(convnet(), "h"))
    assert "'h'" in str(caught.value.where)


def test_a_plan_for_another_precision_is_refused() -> None:
    with pytest.raises(UsageError, match="'int8'"):
        to_half(convnet(), replace(plan_of(convnet()), precision="int8"))


def test_a_model_that_was_invalid_before_is_named_as_such() -> None:
    model = network("g (float[2, 3] x) => (float[2, 3] y) { h = Neg(x) y = MatMul(h, h) }")
    with pytest.raises(InputError, match="the model isn't valid ONNX"):
        to_half(model, plan_of(model, "h"))
