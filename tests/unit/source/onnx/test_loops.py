"""Loops that ONNX's own reference evaluator gets wrong: both oracles must agree on each."""

from __future__ import annotations

import numpy as np
import pytest

from roadworthy.backends.registry import find
from roadworthy.core.signature import Array
from roadworthy.core.target import Target
from roadworthy.graph.signature import signature_of
from roadworthy.source.onnx import evaluator
from roadworthy.source.onnx.oracles import EvaluatorOracle
from tests.models import PLAIN, network, normal

X = normal(3, 2)
BOTH = {"a": X, "b": normal(3, 2, seed=1)}
THREE, NONE = np.array(3), np.array(0)

FOR = """g (int64 n, float[3, 2] a) => (float[3, 2] y) {
    y = Loop(n, , a) <body = l (int64 i, bool c, float[3, 2] s) => (bool c2, float[3, 2] t) {
        c2 = Identity(c)  t = Add(s, s)
    }>
}"""
WHILE = """g (float[3, 2] a) => (float[3, 2] y) {
    yes = Constant<value = bool {1}>()
    y = Loop(, yes, a) <body = l (int64 i, bool c, float[3, 2] s) => (bool more, float[3, 2] t) {
        four = Constant<value_int = 4>()  more = Less(i, four)  t = Add(s, s)
    }>
}"""
COLLECTS = """g (int64 n, float[3, 2] a) => (float[3, 2] y, float[k, 3, 2] all, int64[k] trips) {
    y, all, trips = Loop(n, , a) <body = l (int64 i, bool c, float[3, 2] s)
        => (bool c2, float[3, 2] t, float[3, 2] u, int64 j) {
        c2 = Identity(c)  t = Add(s, a)  u = Neg(t)  j = Identity(i)
    }>
}"""
# Sums and a running product, over the rows of two arrays.
ONE_STATE = """g (float[3, 2] a, float[3, 2] b) => (float[2] y, float[3, 2] all) {
    zero = Constant<value_floats = [0.0, 0.0]>()
    y, all = Scan<num_scan_inputs = 2, body = l (float[2] s, float[2] p, float[2] q)
        => (float[2] t, float[2] u) { r = Mul(p, q)  t = Add(s, r)  u = Neg(t) }>(zero, a, b)
}"""
TWO_STATES = """g (float[3, 2] a) => (float[2] y, float[2] z) {
    zero = Constant<value_floats = [0.0, 0.0]>()  one = Constant<value_floats = [1.0, 1.0]>()
    y, z = Scan<num_scan_inputs = 1, body = l (float[2] s, float[2] m, float[2] p)
        => (float[2] t, float[2] n) { t = Add(s, p)  n = Mul(m, p) }>(zero, one, a)
}"""
BACKWARDS = """g (float[3, 2] a) => (float[3] y, float[3, 2] all) {
    zero = Constant<value_floats = [0.0, 0.0, 0.0]>()
    y, all = Scan<num_scan_inputs = 1, scan_input_axes = [1], scan_input_directions = [1],
        scan_output_axes = [-1], scan_output_directions = [1], body = l (float[3] s, float[3] p)
        => (float[3] t, float[3] u) { t = Add(s, p)  u = Add(t, t) }>(zero, a)
}"""


@pytest.fixture(scope="module", autouse=True)
def one_process():
    with evaluator.kept():
        yield


@pytest.mark.parametrize(
    ("graph", "feed"),
    [
        pytest.param(FOR, {"n": THREE, "a": X}, id="1: no condition"),
        pytest.param(FOR, {"n": NONE, "a": X}, id="1: no condition, no trip"),
        pytest.param(WHILE, {"a": X}, id="1: no limit"),
        pytest.param(COLLECTS, {"n": THREE, "a": X}, id="2: collected"),
        pytest.param(COLLECTS, {"n": NONE, "a": X}, id="2: nothing collected"),
        pytest.param(ONE_STATE, BOTH, id="3: more scanned inputs than states"),
        pytest.param(TWO_STATES, {"a": X}, id="3: more states than scanned inputs"),
        pytest.param(BACKWARDS, {"a": X}, id="4: other axes and directions"),
    ],
)
def test_the_evaluator_answers_like_onnx_runtime(graph: str, feed: dict[str, Array]) -> None:
    model = network(graph)
    engine = find("onnxruntime").compile(model, signature_of(model), Target("onnxruntime"), PLAIN)
    with engine.open() as session:
        expected = session.run(feed)
    answers = EvaluatorOracle(model).run(feed)
    assert list(answers) == list(expected)
    for name, answer in answers.items():
        np.testing.assert_allclose(answer, expected[name], rtol=1e-5)
        assert answer.shape == expected[name].shape
