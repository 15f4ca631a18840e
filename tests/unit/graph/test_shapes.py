"""What follows from the inputs' shapes is known, is what a runtime finds, and changes no answer."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadworthy.graph import shapes as module
from roadworthy.graph.shapes import infer_shapes
from tests import models


def network(graph, opset=18):
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]>\n{graph}')
    onnx.checker.check_model(proto)
    return ir.from_proto(proto)


def shapes(model):
    values = ir.convenience.create_value_mapping(model.graph)
    return {name: value.shape for name, value in values.items()}


def operators(model):
    return {node.op_type for node in model.graph} - {"Constant"}


# To a multiple of 16, as UNets do it, and a convolution that sees the result.
PADDED = """g (float[1,2,{height},{width}] x) => (float[1,3,n,m] y) {{
    w = Constant<value = float[3,2,1,1] {{1.0,2.0,3.0,4.0,5.0,6.0}}>()
    s = Shape(x) i = Constant<value = int64[2] {{2,3}}>() hw = Gather(s, i)
    k = Constant<value = int64 {{16}}>() r = Mod(hw, k) d = Sub(k, r) more = Mod(d, k)
    none = Constant<value = int64[6] {{0,0,0,0,0,0}}>()
    p = Concat<axis = 0>(none, more) z = Pad(x, p) y = Conv(z, w) }}"""


@given(st.integers(1, 40), st.integers(1, 40))
def test_arithmetic_that_onnx_does_not_follow_is_computed(height, width):
    model = network(PADDED.format(height=height, width=width))
    feed = {"x": models.normal(1, 2, height, width)}
    with models.engine(model).open() as session:
        expected = session.run(feed)["y"]
    infer_shapes(model)
    assert tuple(shapes(model)["y"]) == expected.shape
    assert tuple(shapes(model)["z"]) == (1, 2, *expected.shape[2:])
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert operators(model) == {"Pad", "Conv"}
    with models.engine(model).open() as session:
        np.testing.assert_array_equal(session.run(feed)["y"], expected)


def test_one_step_is_learned_from_another():
    """The second Pad's sizes are known when the first one's result is."""
    model = network("""g (float[5,7] x) => (float[n,m] y) {
        two = Constant<value = int64 {2}>() none = Constant<value = int64[2] {0,0}>()
        s = Shape(x) a = Mod(s, two) p = Concat<axis = 0>(none, a) u = Pad(x, p)
        t = Shape(u) b = Div(t, two) q = Concat<axis = 0>(none, b) y = Pad(u, q) }""")
    infer_shapes(model)
    assert tuple(shapes(model)["y"]) == (9, 12)


def test_what_depends_on_numbers_or_on_open_sizes_stays():
    model = network("""g (float[n,3] x, int64 k) => (float[m,l] y, float[a] z) {
        s = Shape(x) t = Mod(s, k) y = Reshape(x, t) u = NonZero(x) c = Cast<to = 1>(u)
        e = Constant<value = int64[1] {-1}>() z = Reshape(c, e) }""")
    before = operators(model)
    infer_shapes(model)
    assert operators(model) == before


def test_outputs_and_chance_stay_nodes():
    model = network("""g (float[2,3] x) => (int64[2] s, float[2,3] r) {
        s = Shape(x) r = RandomUniformLike(x) }""")
    infer_shapes(model)
    assert operators(model) == {"Shape", "RandomUniformLike"}


def test_large_constants_are_left_where_they_are():
    model = network("""g (float[40,40] x) => (float[40,40] y) {
        s = Shape(x) z = ConstantOfShape(s) y = Add(x, z) }""")
    infer_shapes(model)
    assert operators(model) == {"ConstantOfShape", "Add"}


def test_parts_of_a_shape_and_its_size():
    model = network("""g (float[2,3,4] x) => (float[n] y, float[m,k] z) {
        zero = Constant<value = int64[1] {0}>() rest = Constant<value = int64[1] {-1}>()
        n = Size(x) all = Unsqueeze(n, zero) y = Reshape(x, all)
        b = Shape<start = -3, end = 1>(x) q = Concat<axis = 0>(b, rest) z = Reshape(x, q) }""")
    infer_shapes(model)
    assert tuple(shapes(model)["y"]) == (24,)
    assert tuple(shapes(model)["z"]) == (2, 12)


def test_what_is_large_is_not_even_computed(monkeypatch):
    """A mask of a long sequence has gigabytes; it was made, and thrown away, in every round."""
    computed = []
    real = module._evaluated

    def evaluated(node, *more):
        computed.append(node.op_type)
        return real(node, *more)

    monkeypatch.setattr(module, "_evaluated", evaluated)
    model = network("""g (float[1,3000,2] x) => (float[a,b] y, float[c,d] z, int64[e] r) {
        s = Shape<start = 1, end = 2>(x) q = Concat<axis = 0>(s, s) m = ConstantOfShape(q)
        one = Constant<value = float {1}>() e = Expand(one, q) y = Neg(m) z = Neg(e)
        zero = Constant<value = int64 {0}>() step = Constant<value = int64 {1}>()
        n = Squeeze(s) l = Range(zero, n, step) r = Neg(l) }""")
    infer_shapes(model)
    assert tuple(shapes(model)["y"]) == tuple(shapes(model)["z"]) == (3000, 3000)
    assert not set(computed) & {"ConstantOfShape", "Expand", "Range"}


def test_small_ones_of_those_are_computed():
    model = network("""g (float[2,3] x) => (int64[a,b] y, int64[c] z) {
        s = Shape(x) c = ConstantOfShape<value = int64[1] {7}>(s) d = Expand(c, s) y = Identity(d)
        zero = Constant<value = int64 {0}>() step = Constant<value = int64 {1}>()
        n = ReduceProd<keepdims = 0>(s) l = Range(zero, n, step) z = Identity(l) }""")
    infer_shapes(model)
    assert operators(model) == {"Identity"}
    assert tuple(shapes(model)["z"]) == (6,)


@pytest.mark.parametrize(
    ("text", "axes"),
    [
        ("r = Constant<value_ints = [2, 1]>() m = Reshape(s, r) u = Gather(m, none)", "a,b"),
        ("t = Gather(s, zero) u = Slice(t, four, four, zero, two)", "a"),
    ],
)
def test_where_the_evaluator_is_wrong_the_node_stays(text, axes):
    """It forgets axes when nothing is gathered, and clamps starts of steps back otherwise."""
    model = network(f"""g (float[2,3] x) => (int64[{axes}] y) {{
        s = Shape(x) zero = Constant<value_ints = [0]>() none = Slice(zero, zero, zero)
        four = Constant<value_ints = [-4]>() two = Constant<value_ints = [-2]>()
        {text} y = Identity(u) }}""")
    feed = {"x": np.zeros((2, 3), np.float32)}
    with models.engine(model).open() as session:
        expected = session.run(feed)["y"]
    infer_shapes(model)
    with models.engine(model).open() as session:
        found = session.run(feed)["y"]
    assert (found.shape, found.tolist()) == (expected.shape, expected.tolist())


def test_minus_one_is_no_size():
    """Some tools state an open axis so."""
    model = network("""g (float[n,3] x) => (int64[2] y) {
        s = Shape(x) t = Add(s, s) y = Identity(t) }""")
    model.graph.inputs[0].shape = ir.Shape([-1, 3])
    infer_shapes(model)
    assert operators(model) == {"Shape", "Add", "Identity"}
    assert not isinstance(model.graph.inputs[0].shape[0], int)


def test_old_broadcasting_is_left_alone():
    """Before opset 7 `axis` said where it begins; ONNX's evaluator doesn't look at it."""
    model = network(
        """g (float[2,2] x) => (int64[2,2] y) { s = Shape(x)
        t = Constant<value = int64[2,2] {10,20,30,40}>()
        u = Add<broadcast = 1, axis = 0>(t, s) y = Identity(u) }""",
        opset=6,
    )
    infer_shapes(model)
    assert "Add" in operators(model)


def test_sequences_stay_sequences():
    model = network("""g (float[2,3] x, int64 i) => (float[a,b] y) {
        s = SequenceConstruct(x, x) t = SequenceInsert(s, x) y = SequenceAt(t, i) }""")
    feed = {"x": models.normal(2, 3), "i": np.array(1)}
    infer_shapes(model)
    with models.engine(model).open() as session:
        np.testing.assert_array_equal(session.run(feed)["y"], feed["x"])
