"""How long the longest chain of rounding is."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from roadworthy.graph.depth import arithmetic_depth
from tests.models import HEAD, convnet, network, perceptron


@pytest.mark.parametrize(
    ("body", "depth"),
    [
        ("y = Identity(x)", 0),
        ("y = Exp(x)", 1),
        ("a = Exp(x) b = Log(a) y = Sqrt(b)", 3),
        ("a = Exp(x) b = Log(a) y = Add(b, x)", 3),  # the longer of two paths
        ("a = Exp(x) b = Exp(x) y = Add(a, b)", 2),
        ("a = Relu(x) b = Transpose(a) c = Identity(b) y = Exp(c)", 1),  # moving rounds nothing
        ("a = Exp(x) s = Shape(a) y = Reshape(x, s)", 1),
    ],
)
def test_rounding_nodes_on_the_longest_path(body: str, depth: int) -> None:
    assert arithmetic_depth(network(f"g (float[n, 2] x) => (float[n, 2] y) {{ {body} }}")) == depth


def test_real_networks() -> None:
    assert arithmetic_depth(perceptron()) == 3  # MatMul, MatMul, ArgMax
    assert arithmetic_depth(convnet()) == 2


IF = """g (bool c, float[2] x) => (float[2] y) {{
    a = Exp(x) b = Log(a)
    y = If(c) <
        then_branch = t () => (float[2] p) {{ {then} }},
        else_branch = e () => (float[2] q) {{ q = Exp(x) }}
    >
}}"""


@pytest.mark.parametrize(
    ("then", "depth"),
    [
        ("p = Exp(x)", 2),
        ("u = Exp(x) v = Exp(u) w = Exp(v) p = Exp(w)", 4),
        ("p = Exp(b)", 3),  # a value from outside that is deep already
        ("u = Exp(b) p = Exp(u)", 4),
    ],
)
def test_the_deeper_branch_counts_from_what_it_sees_outside(then: str, depth: int) -> None:
    assert arithmetic_depth(network(IF.format(then=then))) == depth


def test_what_follows_a_branch_stands_on_it() -> None:
    graph = IF.format(then="u = Exp(b) p = Exp(u)").replace("y = If", "z = If")
    assert arithmetic_depth(network(graph[:-1] + " y = Exp(z) }")) == 5


def test_a_loop_counts_once() -> None:
    graph = """g (float[2] x, int64 n, bool go) => (float[2] y) {
        a = Exp(x)
        y = Loop(n, go, a) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] t) {
            d = Identity(c) u = Exp(s) t = Exp(u)
        }>
    }"""
    assert arithmetic_depth(network(graph)) == 3


def test_a_function_counts_as_its_body_each_time() -> None:
    text = (
        HEAD.replace('"": 21', '"": 21, "local": 1')
        + """g (float[2] x) => (float[2] y) { a = local.twice(x) y = local.twice(a) }
        <domain: "local", opset_import: ["": 21]>
        twice (v) => (w) { u = Exp(v) w = Exp(u) }"""
    )
    assert arithmetic_depth(ir.from_onnx_text(text)) == 4
