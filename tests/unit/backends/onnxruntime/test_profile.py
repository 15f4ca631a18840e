"""Time per executed node, on the names of the ONNX nodes that it came from."""

import tempfile

import numpy as np
import pytest

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.onnxruntime.compiler import BACKEND
from roadworthy.backends.onnxruntime.runtime import Runner
from roadworthy.backends.onnxruntime.runtime.trace import by_run, rows_of
from roadworthy.core.target import Target
from roadworthy.graph.signature import signature_of
from tests.models import convnet_weights, engine, network, normal

IMAGE = {"image": normal(1, 1, 32, 32)}
# [name] is the node's; a node without one goes by its output.
NETWORK = """g (float[batch, 1, h, w] image) => (float[batch, 2, h, w] y) {
    [first] c = Conv<pads = [1, 1, 1, 1]>(image, k1)
    [positive] r = Relu(c)
    [second] s = Conv(r, k2)
    [curve] t = Tanh(s)
    i = Identity(t)
    [gate] q = Sigmoid(i)
    [gated] y = Mul(i, q)
}"""
NODES = ["first", "positive", "second", "curve", "i", "gate", "gated"]
LOOP = """g (float[batch, 4] x, int64 n, bool c) => (float[batch, 4] y) {
    [before] d = Cos(x)
    [loop] e = Loop(n, c, d) <body = body (int64 i, bool go, float[batch, 4] s)
        => (bool still, float[batch, 4] so) { still = Identity(go) [inner] so = Sin(s) }>
    [after] y = Neg(e)
}"""
TIMES_THREE = {"x": normal(2, 4), "n": np.array(3), "c": np.array(True)}
KEYS = {"name", "onnx", "kind", "precision", "tactic", "median_us", "share"}


def profile(text, feed, weights=None, optimise=True, runs=3):
    model = network(text, weights)
    options = CompileOptions(threads=1, optimise=optimise, spinning=False)
    built = BACKEND.compile(model, signature_of(model), Target("onnxruntime"), options)
    with built.open() as session:
        return session.profile(feed, runs)


def test_without_optimisations_every_node_is_a_row_of_its_own():
    rows = profile(NETWORK, IMAGE, convnet_weights(), optimise=False)
    assert [row["onnx"] for row in rows] == [[name] for name in NODES]
    assert [row["kind"] for row in rows][:2] == ["Conv", "Relu"]


def test_a_fused_node_names_all_the_nodes_that_it_stands_for():
    rows = profile(NETWORK, IMAGE, convnet_weights())
    assert len(rows) < len(NODES) + 2, "nothing was fused, so this test shows nothing"
    assert [name for row in rows for name in row["onnx"]] == NODES
    assert ["first", "positive"] in [row["onnx"] for row in rows]
    # What only moves a tensor into another layout came from no node, and has its own name.
    assert {row["kind"] for row in rows if not row["onnx"]} <= {"ReorderInput", "ReorderOutput"}


def test_a_row_says_what_where_and_how_long():
    rows = profile(NETWORK, IMAGE, convnet_weights())
    assert all(set(row) == KEYS for row in rows)
    assert {row["precision"] for row in rows} == {"fp32"}
    assert {row["tactic"] for row in rows} == {"CPUExecutionProvider"}
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert all(row["median_us"] >= 0 and row["name"] for row in rows)


def test_a_loop_s_time_is_told_without_that_of_the_nodes_in_it():
    rows = {row["name"]: row for row in profile(LOOP, TIMES_THREE, runs=5)}
    assert [rows[name]["onnx"] for name in ("before", "loop", "inner", "after")] == [
        ["before"], ["loop"], ["inner"], ["after"]
    ]  # fmt: skip
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)


def test_what_runs_several_times_in_a_run_is_added_up():
    """Three rounds of 10 µs each in a loop of 50 µs: 30 for the node, 20 for the loop itself."""

    def event(name, kind, start, took):
        args = {"op_name": kind, "provider": "P", "node_index": "0"}
        return {"name": f"{name}_kernel_time", "ts": start, "dur": took, "args": args}

    run = [
        event("before", "Cos", 90, 5),
        *(event("inner", "Sin", start, 10) for start in (105, 120, 135)),
        event("loop", "Loop", 100, 50),
        event("after", "Neg", 151, 2),
    ]
    rows = rows_of([run, run], {})
    assert [(row["name"], row["inside"], row["median_us"]) for row in rows] == [
        ("before", "", 5), ("loop", "", 20), ("inner", "loop", 30), ("after", "", 2)
    ]  # fmt: skip


def test_nodes_without_names_are_told_apart_though_constants_stand_between_them():
    """ONNX Runtime numbers nodes without the constants: the third node has the number 1."""
    text = """g (float[n] x) => (float[n] y) {
        a = Neg(x)  one = Constant <value_float = 1.0> ()  b = Neg(a)  c = Add(b, one)
        two = Constant <value_float = 2.0> ()  d = Add(c, two)  y = Add(d, x)
    }"""
    rows = profile(text, {"x": normal(4)}, optimise=False)
    assert [row["onnx"] for row in rows] == [["a"], ["b"], ["c"], ["d"], ["y"]]


def test_the_nodes_that_one_was_taken_apart_into_have_names_of_their_own():
    """There is no kernel for a GroupNormalization of this form; its function's nodes run."""
    text = """g (float[1, 4, 8] x, float[4] s, float[4] b) => (float[1, 4, 8] y) {
        y = GroupNormalization <num_groups = 2> (x, s, b)
    }"""
    feed = {"x": normal(1, 4, 8), "s": normal(4), "b": normal(4)}
    rows = profile(text, feed)
    assert len(rows) > 3
    assert {name for row in rows for name in row["onnx"]} <= {"y"}


def test_constants_are_nobodys_work():
    """The quantised weights are unpacked when the session opens, not when it runs."""
    text = """g (float[n, 4] x) => (float[n, 2] y)
        <int8[4, 2] q = {1, 2, 3, 4, 5, 6, 7, 8}, float s = {0.5}> {
        [unpack] w = DequantizeLinear(q, s)
        [times] m = MatMul(x, w)
        [cut] y = Relu(m)
    }"""
    rows = profile(text, {"x": normal(3, 4)})
    assert "unpack" not in [name for row in rows for name in row["onnx"]]
    assert {"times", "cut"} <= {name for row in rows for name in row["onnx"]}


def test_the_session_is_as_before_and_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with engine(network(NETWORK, convnet_weights())).open() as session:
        want = session.run(IMAGE)["y"]
        session.profile(IMAGE, 2)
        np.testing.assert_array_equal(session.run(IMAGE)["y"], want)
        assert not list(tmp_path.iterdir())


def test_runs_that_the_profiler_lost_are_an_error():
    """Its buffer is bounded; a median of some of the runs would pass for one of all."""
    events = [{"cat": "Session", "name": "model_run"}] * 3
    with pytest.raises(RuntimeError, match="kept 2 of 5 runs"):
        by_run(events, 5)


def test_the_launch_of_a_cuda_kernel_is_not_sold_as_its_time():
    runner = Runner.__new__(Runner)
    runner._provider = "CUDAExecutionProvider"
    with pytest.raises(RuntimeError, match="launch"):
        runner.profile({}, 1)
