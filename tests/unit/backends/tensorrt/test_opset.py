"""Down to an older opset with the same answers, or refused by the node's name."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from roadworthy.backends.tensorrt.lower import graph_types
from roadworthy.backends.tensorrt.opset import highest_opset, lowered
from roadworthy.core.errors import CompileError
from tests import models

X = models.normal(2, 4, 6)


def network(graph, opset):
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]>\n{graph}')
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def answers(model):
    with models.engine(model).open() as session:
        return session.run({"x": X})


SAID_IN_BOTH = {
    "ReduceMean over axes": """g (float[2,4,6] x) => (float[2,4] y) {
        a = Constant<value = int64[1] {2}>() y = ReduceMean<keepdims = 0>(x, a) }""",
    "ReduceMax over all": "g (float[2,4,6] x) => (float[1,1,1] y) { y = ReduceMax(x) }",
    "Split in halves": """g (float[2,4,6] x) => (float[2,2,6] y, float[2,2,6] z) {
        y, z = Split<axis = 1, num_outputs = 2>(x) }""",
    "Pad": """g (float[2,4,6] x) => (float[2,6,6] y) {
        p = Constant<value = int64[6] {0,1,0,0,1,0}>() y = Pad<mode = "reflect">(x, p) }""",
    "Reshape": """g (float[2,4,6] x) => (float[4,12] y) {
        s = Constant<value = int64[2] {4,12}>() y = Reshape(x, s) }""",
    "Split in unequal parts": """g (float[2,4,6] x) => (float[2,5] a, float[2,4] e) {
        s = Constant<value = int64[2] {2,24}>() r = Reshape(x, s)
        a, b, c, d, e = Split<axis = -1, num_outputs = 5>(r) }""",
    "Cast": "g (float[2,4,6] x) => (float16[2,4,6] y) { y = Cast<to = 10, saturate = 1>(x) }",
}


@pytest.mark.parametrize("graph", SAID_IN_BOTH.values(), ids=SAID_IN_BOTH)
def test_the_answers_stay(graph):
    model = network(graph, 19)
    low = lowered(model, 17, "TensorRT 8.6.0")
    onnx.checker.check_model(ir.to_proto(low), full_check=True)
    assert low.opset_imports[""] == 17
    assert low.ir_version == 8
    assert model.opset_imports[""] == 19, "the given model stays as it was"
    found, expected = answers(low), answers(model)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (
            "g (float[n,c,h,w] x) => (float[n,c,k,l] y)"
            " { s = Constant<value = int64[2] {2,2}>() i = Constant<value = int64[2] {2,2}>()"
            " [guilty] y = Col2Im(x, s, i) }",
            "newer than opset 17",
        ),
        (
            "g (float[2,4,6] x) => (float[2,2,6] y, float[2,2,6] z, float[2,0,6] w)"
            " { [guilty] y, z, w = Split<axis = 1, num_outputs = 3>(x) }",
            "no 3 parts",
        ),
        (
            "g (float[4] x, int64[r] s) => (float y) { t = Reshape(x, s) [guilty] u = Gelu(t)"
            " y = ReduceSum(u) }",
            "newer than opset 17",
        ),
        (
            "g (float[2,n,6] x) => (float[2,a,6] y, float[2,b,6] z)"
            " { [guilty] y, z = Split<axis = 1, num_outputs = 2>(x) }",
            "parts are equal",
        ),
        (
            "g (float[2,4,6] x, int64[1] a) => (float[m,n,o] y) { [guilty] y = ReduceMean(x, a) }",
            "computed at run time",
        ),
        (
            "g (float16[2,4,6] x, float16 s) => (int8[2,4,6] y)"
            " { z = Constant<value = int8 {0}>() [guilty] y = QuantizeLinear(x, s, z) }",
            "its scale is FLOAT16",
        ),
        (
            "g (float[2,4,6] x) => (float[2,4,6] y)"
            " { e = Constant<value = int64[0] {}>()"
            " [guilty] y = ReduceMean<noop_with_empty_axes = 1>(x, e) }",
            "reduces nothing",
        ),
    ],
    ids=["Col2Im", "empty part", "unknown rank", "Split", "run-time axes", "FP16 scales", "noop"],
)
def test_what_cannot_be_said_is_refused_by_name(graph, why):
    with pytest.raises(CompileError, match=why) as caught:
        lowered(network(graph, 20), 17, "TensorRT 8.6.0")
    assert caught.value.where == "guilty"
    assert "opset 17" in str(caught.value.remedy)


def test_grid_samples_modes_have_their_old_names_again():
    graph = (
        "g (float[1,1,4,4] x, float[1,2,2,2] g) => (float[1,1,2,2] y)"
        ' { y = GridSample<mode = "linear">(x, g) }'
    )
    low = lowered(network(graph, 20), 17, "TensorRT")
    (node,) = low.graph
    assert node.attributes["mode"].value == "bilinear"


def test_a_model_that_is_low_enough_is_left_alone():
    model = network("g (float[2] x) => (float[2] y) { y = Relu(x) }", 13)
    assert lowered(model, 17, "TensorRT") is model


@pytest.mark.parametrize(
    ("version", "opset"),
    [((8, 4), 13), ((8, 5), 16), ((8, 6), 17), ((10, 0), 20), ((10, 16), 24), ((11, 4), 24)],
)
def test_what_each_version_reads(version, opset):
    assert highest_opset(version) == opset


def test_types_below_fp32_and_quantisation_are_found():
    assert graph_types(models.convnet()) == (set(), False)
    model = network("g (float16[2] x) => (float16[2] y) { y = Relu(x) }", 17)
    assert graph_types(model) == ({"float16"}, False)
    model = network(
        "g (float[2] x) => (int8[2] y) { s = Constant<value = float {1.0}>()"
        " z = Constant<value = int8 {0}>() y = QuantizeLinear(x, s, z) }",
        17,
    )
    assert graph_types(model)[1]


@pytest.mark.parametrize(
    "function",
    [
        '<domain: "my", opset_import: ["": 19]> F (a) => (b) { b = Relu(a) }',
        '<domain: "my", opset_import: ["": 20, "my": 1]> F (a) => (b) { b = my.F(a) }',
    ],
    ids=["of another opset", "recursive"],
)
def test_functions_that_cannot_be_put_in_place_are_refused(function):
    head = '<ir_version: 10, opset_import: ["": 20, "my": 1]>'
    graph = "g (float[3] x) => (float[3] y) { y = my.F(x) }"
    model = ir.from_proto(onnx.parser.parse_model(f"{head} {graph} {function}"))
    with pytest.raises(CompileError, match="reads functions only in the opset of the model"):
        lowered(model, 17, "TensorRT 8.6.0")
