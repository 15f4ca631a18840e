"""Newer operators said in older ones answer as ONNX Runtime's own and as ONNX's data say.

That TensorRT reads them is shown on a GPU by the same data (`tests/device`).
"""

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import shape_inference
from onnx.reference import ReferenceEvaluator

from roadworthy.backends.tensorrt.opset import lowered
from roadworthy.backends.tensorrt.quirks import without_quirks
from roadworthy.backends.tensorrt.rewrite import schema
from roadworthy.core.errors import CompileError, UnavailableError
from roadworthy.graph.signature import signature_of
from tests import models
from tests.conformance.onnx_cases import cases, differ

TYPES = {"float": 1e-6, "float16": 2e-3}
# Of an ONNX type: how far the same formula in another order may be, relative to the largest answer.


def network(operator, dtype, opset, more=""):
    graph = f"g ({dtype}[n,4,3,5] x) => ({dtype}[n,4,3,5] y) {{ {more} [it] y = {operator} }}"
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]>\n{graph}')
    return ir.from_proto(shape_inference.infer_shapes(proto))


def told(model, opset):
    made = without_quirks(lowered(model, opset, "TensorRT 8.6.0"), (8, 6), "TensorRT 8.6.0")
    onnx.checker.check_model(ir.to_proto(made), full_check=True)
    nodes = list(made.graph.all_nodes())
    assert {node.domain for node in nodes} == {""}
    assert not made.functions
    assert all(schema(node.op_type, opset) for node in nodes)
    assert "CastLike" not in {node.op_type for node in nodes}
    return made


def answer(model, x):
    """By ONNX's reference, which computes each operator as it is defined."""
    with np.errstate(over="ignore"):  # of an exponential in FP16, on its way to 1 / infinity
        return ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})[0]


def assert_same(model, opset, x, limit):
    expected, found = answer(model, x), answer(told(model, opset), x)
    assert found.dtype == expected.dtype == x.dtype
    scale = np.abs(expected.astype(np.float64)).max()
    assert np.abs(found.astype(np.float64) - expected).max() <= limit * scale


OPERATORS = {
    "Gelu": (20, "Gelu(x)"),
    "Gelu by tanh": (20, 'Gelu<approximate = "tanh">(x)'),
    "Mish": (18, "Mish(x)"),
    "Swish": (24, "Swish(x)"),
    "Swish with alpha": (24, "Swish<alpha = 1.7>(x)"),
    "GroupNormalization": (21, "GroupNormalization<num_groups = 2, epsilon = 0.01>(x, s, b)"),
    "GroupNormalization by group": (18, "GroupNormalization<num_groups = 4>(x, s, b)"),
    "RMSNormalization": (23, "RMSNormalization<axis = 2, epsilon = 0.001>(x, t)"),
    "RMSNormalization, last axis": (23, "RMSNormalization(x, t)"),
}


SCALES = """fs = Constant<value = float[4] {0.5, -1.5, 2.0, 1.0}>()
    fb = Constant<value = float[4] {1.0, 0.0, -2.0, 0.25}>()
    ft = Constant<value = float[5] {1.0, 2.0, 0.5, -1.0, 3.0}>()"""


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("opset", [16, 17])
def test_the_answers_stay(operator, dtype, opset):
    since, text = OPERATORS[operator]
    to = ir.DataType[dtype.upper()].value
    scales = f"{SCALES} s = Cast<to = {to}>(fs) b = Cast<to = {to}>(fb) t = Cast<to = {to}>(ft)"
    x = (models.normal(2, 4, 3, 5) * 3).astype(np.float16 if dtype == "float16" else np.float32)
    assert_same(network(text, dtype, since, scales), opset, x, TYPES[dtype])


def test_a_mean_far_from_zero_is_taken_off_before_squaring():
    """In FP32 the mean of squares less the square of the mean would lose all digits here."""
    scales = "s = Constant<value = float[4] {1,1,1,1}>() b = Constant<value = float[4] {0,0,0,0}>()"
    model = network("GroupNormalization<num_groups = 2>(x, s, b)", "float", 21, scales)
    x = models.normal(2, 4, 3, 5) + np.float32(3000)
    exact = x.astype(np.float64).reshape(2, 2, -1)
    exact = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-5)
    with models.engine(told(model, 17)).open() as session:
        found = session.run({"x": x})["y"]
    np.testing.assert_allclose(found, exact.reshape(x.shape), atol=2e-3)


@given(st.floats(-30, 30, width=32), st.sampled_from(["Gelu", "Gelu by tanh", "Mish", "Swish"]))
def test_single_numbers(number, operator):
    since, text = OPERATORS[operator]
    x = np.full((1, 4, 3, 5), number, np.float32)
    model = network(text, "float", since)
    np.testing.assert_allclose(
        answer(told(model, 17), x), answer(model, x), rtol=1e-5, atol=abs(number) * 1e-6
    )


def test_inside_a_branch_and_twice_over():
    text = """g (float[2,3] x, bool c) => (float[2,3] y) {
        a = If <then_branch = t () => (float[2,3] u) { v = Gelu(x) u = Mish(v) },
                else_branch = e () => (float[2,3] w) { w = Gelu <approximate = "tanh"> (x) }>(c)
        y = Gelu(a) }"""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]>\n{text}')
    model = ir.from_proto(shape_inference.infer_shapes(proto))
    made = told(model, 17)
    names = [value.name for node in made.graph.all_nodes() for value in node.outputs]
    assert len(set(names)) == len(names)
    for c in (True, False):
        feed = {"x": models.normal(2, 3), "c": np.array(c)}
        with models.engine(model).open() as one, models.engine(made).open() as other:
            expected, found = one.run(feed)["y"], other.run(feed)["y"]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_what_is_made_of_a_node_bears_its_name():
    made = lowered(network("Gelu(x)", "float", 20), 17, "")
    assert all(node.name.startswith("it/") for node in made.graph)
    made = lowered(network("RMSNormalization(x, ft)", "float", 23, SCALES), 17, "")
    assert all(node.name.startswith("y_") for node in made.graph if node.op_type != "Constant")


SAID = {
    "Attention": 61,
    "CenterCropPad": 3,
    "Gelu": 4,
    "GroupNormalization": 2,
    "Mish": 1,
    "RMSNormalization": 19,
    "RotaryEmbedding": 8,
    "Swish": 1,
}
"""Of ONNX's data for operators newer than opset 17: how many cases can be said in it."""


def test_onnx_s_own_data():
    found = Counter()
    for case in cases():
        nodes = onnx.load(case.folder / "model.onnx", load_external_data=False).graph.node
        if len(nodes) != 1 or nodes[0].domain or schema(nodes[0].op_type, 17) is not None:
            continue
        try:
            model = case.model()
            made = told(model, 17)
        except (CompileError, UnavailableError):
            continue
        for feed, expected in case.data_sets(signature_of(model)):
            names = list(expected)
            with np.errstate(invalid="ignore", divide="ignore"):  # masks are infinite
                ours = ReferenceEvaluator(ir.to_proto(made)).run(names, feed)
            said = dict(zip(names, ours, strict=True))
            assert not differ(said, expected, case.rtol, case.atol)
        found[nodes[0].op_type] += 1
    assert found == SAID


def parsed(text, opset):
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]>\n{text}')
    return ir.from_proto(shape_inference.infer_shapes(proto))


@pytest.mark.parametrize(("x", "scale"), [("float16", "float"), ("float", "float16")])
def test_the_scale_says_the_type_of_a_root_mean_square_s_result(x, scale):
    text = f"g ({x}[2,4] x, {scale}[4] s) => ({scale}[2,4] y) {{ y = RMSNormalization(x, s) }}"
    made = told(parsed(text, 23), 17)
    data = models.normal(2, 4).astype(ir.DataType[x.upper()].numpy())
    weights = models.normal(4).astype(ir.DataType[scale.upper()].numpy())
    (found,) = ReferenceEvaluator(ir.to_proto(made)).run(None, {"x": data, "s": weights})
    wide = data.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-5) * weights
    assert found.dtype == weights.dtype
    np.testing.assert_allclose(found, expected, rtol=4e-3, atol=4e-3)


def test_a_later_branch_may_use_the_names_of_a_definition():
    """Gelu's has a value "Half"."""
    made = told(
        parsed(
            """g (float[3] x, bool c) => (float[3] y) { a = Gelu(x)
            y = If(c) <then_branch = t () => (float[3] u) { Half = Neg(a) u = Abs(Half) },
                       else_branch = e () => (float[3] w) { w = Abs(a) }> }""",
            20,
        ),
        17,
    )
    with models.engine(made).open() as session:
        assert session.run({"x": models.normal(3), "c": np.array(True)})["y"].shape == (3,)


def test_nodes_whose_first_output_nobody_wants():
    def split(x, y):
        return onnx.helper.make_node("Split", [x], ["", y], num_outputs=2, axis=1)

    def value(name, size):
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, size])

    graph = onnx.helper.make_graph(
        [split("x", "y"), split("z", "w")],
        "g",
        [value("x", 5), value("z", 7)],
        [value("y", 2), value("w", 3)],
    )
    opsets = [onnx.helper.make_opsetid("", 18)]
    made = told(ir.from_proto(onnx.helper.make_model(graph, opset_imports=opsets)), 17)
    feed = {"x": models.normal(2, 5), "z": models.normal(2, 7)}
    y, w = ReferenceEvaluator(ir.to_proto(made)).run(None, feed)
    np.testing.assert_array_equal(y, feed["x"][:, 3:])
    np.testing.assert_array_equal(w, feed["z"][:, 4:])


@pytest.mark.parametrize(
    "body", ["t = Gelu(a) b = Neg(t)", "i = Constant<value_ints = [0]>() b = ReduceMean(a, i)"]
)
def test_the_model_s_own_functions_are_lowered_too(body):
    text = f"""<ir_version: 10, opset_import: ["": 20, "my": 1]>
        g (float[3] x) => (float[m] y) {{ u = my.F(x) v = my.F(u) y = Gelu(v) }}
        <domain: "my", opset_import: ["": 20]> F (a) => (b) {{ {body} }}"""
    model = ir.from_proto(onnx.parser.parse_model(text))
    x = models.normal(3)
    made = told(model, 17)
    assert set(made.opset_imports) == {""}
    with models.engine(model).open() as one, models.engine(made).open() as other:
        expected, found = one.run({"x": x})["y"], other.run({"x": x})["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_function_of_another_opset_is_refused():
    text = """<ir_version: 10, opset_import: ["": 20, "my": 1]>
        g (float[3] x) => (float[3] y) { y = my.F(x) }
        <domain: "my", opset_import: ["": 12]> F (a) => (b) { b = Neg(a) }"""
    with pytest.raises(CompileError, match="functions"):
        lowered(ir.from_proto(onnx.parser.parse_model(text)), 17, "TensorRT 8.6.0")


def test_what_is_given_a_graph_is_refused():
    """SequenceMap is a function, but of a graph; 8.5 reads opset 16."""
    text = """g (float[2,3] x, int64 i) => (float[2,3] y) { s = SequenceConstruct(x, x)
        t = SequenceMap<body = b (float[2,3] a) => (float[2,3] c) { c = Neg(a) }>(s)
        y = SequenceAt(t, i) }"""
    with pytest.raises(CompileError, match="SequenceMap"):
        lowered(parsed(text, 17), 16, "TensorRT 8.5.3")
