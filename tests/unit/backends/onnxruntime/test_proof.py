"""What really runs in ONNX Runtime, read from the graph that it executes."""

import platform

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.onnxruntime.compiler import BACKEND
from roadworthy.backends.onnxruntime.runtime import runner
from roadworthy.core.target import Target
from roadworthy.graph.signature import signature_of
from tests.models import network, normal
from tests.unit.backends.quantised import CONVOLUTIONS, block, deafen, quantised

WIDENS = platform.machine().lower() not in ("arm64", "aarch64")


def engine(model: ir.Model, optimise: bool = True):
    options = CompileOptions(threads=1, optimise=optimise, spinning=False)
    return BACKEND.compile(model, signature_of(model), Target("onnxruntime"), options)


def test_fp32_is_fp32() -> None:
    built = engine(block())
    assert built.proof["layers"].keys() == {"fp32"}
    assert {node: built.proof["nodes"][node] for node in CONVOLUTIONS} == dict.fromkeys(
        CONVOLUTIONS, "fp32"
    )


def test_integer_kernels_are_int8_and_name_what_they_fused() -> None:
    nodes = engine(quantised("onnxruntime")[0]).proof["nodes"]
    assert {node: nodes[node] for node in CONVOLUTIONS} == {
        "first": "fp32", "c1": "int8", "c2": "int8", "c3": "int8", "last": "fp32",
    }  # fmt: skip
    assert nodes["add"] == nodes["r1"] == nodes["r3"] == "int8"


def test_the_same_graph_as_it_is_written_computes_in_fp32_whatever_its_qdq_say(
    monkeypatch,
) -> None:
    deafen(monkeypatch)
    proof = engine(quantised("onnxruntime")[0]).proof
    assert proof["layers"].keys() == {"fp32"}
    assert {proof["nodes"][node] for node in CONVOLUTIONS} == {"fp32"}


def test_a_quantised_matmul_without_a_quantised_result_is_int8_and_what_follows_is_not() -> None:
    graph = """g (float[n, 16] x) => (float[n, 8] y) {
        q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  v = DequantizeLinear(w, t, o)
        [product] p = MatMul(d, v)  [after] y = Softmax(p)
    }"""
    weights = {"s": np.float32(0.02), "z": np.uint8(128), "t": np.float32(0.01), "o": np.int8(0)}
    weights["w"] = (normal(16, 8) * 40).astype(np.int8)
    assert engine(network(graph, weights)).proof["nodes"] == {"product": "int8", "after": "fp32"}


@pytest.mark.skipif(not WIDENS, reason="this CPU computes with half precision itself")
def test_fp16_between_inserted_casts_is_fp32() -> None:
    graph = """g (float16[b, 3, h, w] image) => (float16[b, 4, h, w] y) {
        [conv] c = Conv(image, k) [relu] r = Relu(c) [curve] y = Sigmoid(r)
    }"""
    proof = engine(network(graph, {"k": normal(4, 3, 1, 1).astype(np.float16)})).proof
    assert proof["nodes"] == {"conv": "fp32", "relu": "fp32", "curve": "fp32"}
    assert "fp16" not in proof["layers"]


def test_nodes_in_a_branch_are_told_too() -> None:
    graph = """g (float[n, 4] x, bool b) => (float[n, 4] y) {
        [if] y = If(b) <then_branch = t () => (float[n, 4] p) { [inner] p = MatMul(x, w) },
                   else_branch = e () => (float[n, 4] q) { [other] q = Sin(x) }>
    }"""
    nodes = engine(network(graph, {"w": normal(4, 4)})).proof["nodes"]
    assert (nodes["inner"], nodes["other"]) == ("fp32", "fp32")


def test_the_executed_graph_does_not_ship() -> None:
    assert list(engine(block()).files) == ["model.onnx"]


def test_where_the_graph_cant_be_written_nothing_is_claimed(monkeypatch) -> None:
    real = runner.keep_graph
    monkeypatch.setattr(runner, "keep_graph", lambda o, path: real(o, path / "no" / "folder"))
    built = engine(block())
    assert (built.proof["layers"], built.proof["nodes"]) == ({}, {})
    assert "can't be written" in built.log[0]


def test_without_optimisations_no_graph_is_written_and_none_is_read(monkeypatch) -> None:
    """The file is what is executed; oracles and guards compile so all the time, and never ask."""
    done: list[str] = []

    def counted(module, name):
        real = getattr(module, name)

        def call(*given):
            done.append(name)
            return real(*given)

        monkeypatch.setattr(module, name, call)

    counted(runner, "keep_graph")
    counted(onnx, "load_model_from_string")
    built = engine(block(), optimise=False)
    assert done == []
    assert built.proof == {"provider": "CPUExecutionProvider", "layers": {}, "nodes": {}}
    assert built.log == ()
    engine(block())
    assert done == ["keep_graph", "load_model_from_string", "load_model_from_string"]


def test_floats_that_only_describe_dont_make_a_node_float() -> None:
    """A Resize's scales, and the scale that a QLinearConcat is told first."""
    graph = """g (float[n, 4, h, w] x) => (float[n, 8, u, v] y) {
        q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
        [join] c = Concat<axis = 1>(d, d)
        r = QuantizeLinear(c, s, z)  e = DequantizeLinear(r, s, z)
        [pool] p = MaxPool<kernel_shape = [2, 2]>(e)
        t = QuantizeLinear(p, s, z)  f = DequantizeLinear(t, s, z)
        [size] g = Resize<mode = "nearest">(f, , twice)
        i = QuantizeLinear(g, s, z)  y = DequantizeLinear(i, s, z)
    }"""
    weights = {"s": np.float32(0.02), "z": np.uint8(128)}
    weights["twice"] = np.array([1, 1, 2, 2], np.float32)
    assert engine(network(graph, weights)).proof["nodes"] == dict.fromkeys(
        ("join", "pool", "size"), "int8"
    )
