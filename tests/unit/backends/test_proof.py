"""The one form of proof, and the line that people read."""

import pytest

from roadworthy.backends.proof import Behind, Layer, operators_of, runs_in, standard_form
from tests.models import proto

OPERATORS = {"conv": "Conv", "relu": "Relu", "add": "Add", "q": "QuantizeLinear"}


def test_layers_are_counted_and_nodes_named() -> None:
    layers = [
        Layer("Convolution", "int8", ("conv", "relu")),
        Layer("Eltwise", "fp32", ("add",)),
        Layer("Transpose", "fp32", (), computes=False),
    ]
    assert standard_form(layers, OPERATORS) == {
        "layers": {"int8": 1, "fp32": 1},
        "nodes": {"conv": "int8", "relu": "int8", "add": "fp32"},
    }


def test_a_convolution_computes_where_its_products_are_not_where_its_bias_is_added() -> None:
    layers = [Layer("Convolution", "int8", ("conv",)), Layer("Eltwise", "fp32", ("conv",))]
    assert standard_form(layers, OPERATORS)["nodes"] == {"conv": "int8"}
    assert standard_form(layers[1:], OPERATORS)["nodes"] == {}


def test_what_layers_disagree_about_or_dont_tell_is_not_known() -> None:
    layers = [Layer("Eltwise", "int8", ("add",)), Layer("Eltwise", "fp32", ("add",))]
    assert standard_form(layers, OPERATORS)["nodes"] == {}
    assert standard_form([Layer("Eltwise", "other", ("add",))], OPERATORS)["nodes"] == {}


def test_conversions_and_strangers_compute_nothing() -> None:
    layers = [Layer("Reorder", "fp32", ("q", "no node of the model"))]
    assert standard_form(layers, OPERATORS)["nodes"] == {}


def test_two_nodes_of_one_name_are_no_name() -> None:
    graph = proto("g (float[2] x) => (float[2] y) { [a] b = Relu(x) [a] y = Neg(b) }").graph
    assert operators_of(graph) == {}


def test_nodes_before_a_quantisation_are_fused_only_if_nobody_else_reads_them() -> None:
    text = """g (float[2] x, float s, uint8 z) => (uint8[2] y{}) {{
        [a] b = Neg(x) [r] c = Relu(b) [q] y = QuantizeLinear(c, s, z){}
    }}"""
    fused = Behind(proto(text.format("", "")).graph)
    assert list(fused.fused(["a"], ["q"])) == list(fused.fused(["a"], ["s"])) == ["r"]
    assert not list(fused.fused(["a"], ["another scale"]))
    read = Behind(proto(text.format(", float[2] e", " e = Abs(b)")).graph)
    assert not list(read.fused(["a"], ["q"]))


@pytest.mark.parametrize(
    ("proof", "line"),
    [
        (
            {"layers": {"int8": 38, "fp32": 4}, "macs": {"int8": 0.92, "fp32": 0.08}},
            "int8 92 % of MACs (38 layers), fp32 8 % (4)",
        ),
        ({"layers": {"fp32": 1}}, "fp32 (1 layer)"),
        (
            {"layers": {"fp16": 2, "other": 3}, "macs": {"fp16": 0.999, "unknown": 0.001}},
            "fp16 more than 99 % of MACs (2 layers), unknown less than 1 %",
        ),
        ({}, ""),
        (None, ""),
        ({"layers": ["int8"], "macs": {"int8": "all"}}, ""),
    ],
)
def test_a_line_for_people(proof, line) -> None:
    assert runs_in(proof) == line
