"""A network run piece by piece shows the same tensors as one that gives them all at once."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from roadworthy.core.errors import CompileError, UnavailableError
from roadworthy.core.signature import Feed
from roadworthy.graph.signature import signature_of
from roadworthy.precision import segments
from roadworthy.precision.segments import SegmentedNetwork, cut
from tests.conformance.onnx_cases import Case, cases
from tests.models import network, normal, proto
from tests.unit.precision.int8_made import CONVNET8, convnet8_weights, every_tensor, float_tensors

# Fused operators of the optimiser round otherwise than single ones.
RTOL, ATOL = 1e-4, 1e-5
# Every so many of ONNX's cases; all of them (some 1,300) were run by hand.
EVERY = 9
IF = """g (float[2, 4] x, bool c) => (float[2, 4] y) {
    a = Relu(x)
    n = Neg(x)
    b = If (c) <
        then_branch = g1 () => (float[2, 4] t) { t = Add(a, w) },
        else_branch = g2 () => (float[2, 4] e) { z = Exp(n) e = Mul(z, a) }
    >
    y = Add(b, n)
}"""
LOOP = """g (float[4] x, int64 m, bool c) => (float[4] y, float[k, 4] all) {
    two = Add(x, x)
    y, all = Loop (m, c, x) <
        body = g1 (int64 i, bool ci, float[4] s) => (bool co, float[4] so, float[4] scan) {
            co = Identity(ci) half = Mul(s, w) so = Add(half, two) scan = Relu(so)
        }
    >
    end = Neg(y)
}"""
SEQUENCE = """g (float[4, 3] x) => (float[4, 3] y) {
    a = Relu(x)
    s = SplitToSequence<axis = 0, keepdims = 0>(a)
    b = Neg(x)
    i = Constant<value = int64 {2}>()
    one = SequenceAt(s, i)
    c = Add(b, one)
    j = Constant<value = int64 {1}>()
    two = SequenceAt(s, j)
    y = Add(c, two)
}"""
SHARED = """g (float[b, 4] x) => (float[b, 4] y) {
    a = MatMul(x, w) r = Relu(a) c = MatMul(r, w) d = Tanh(c) e = MatMul(d, w) y = Add(e, x)
}"""
SQUARE = {"w": normal(4, 4)}
NETWORKS = {
    "if, then": (proto(IF, {"w": normal(4)}), {"x": normal(2, 4), "c": np.array(True)}),
    "if, else": (proto(IF, {"w": normal(4)}), {"x": normal(2, 4), "c": np.array(False)}),
    "loop": (
        proto(LOOP, {"w": np.float32(0.5)}),
        {"x": normal(4), "m": np.array(3), "c": np.array(True)},
    ),
    "sequence": (proto(SEQUENCE), {"x": normal(4, 3)}),
    "shared weights": (proto(SHARED, SQUARE), {"x": normal(3, 4)}),
    "convolutions": (proto(CONVNET8, convnet8_weights()), {"x": normal(1, 8, 5, 7)}),
}


def with_function() -> tuple[onnx.ModelProto, Feed]:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 21, "own": 1]>
        g (float[2, 4] x) => (float[2, 4] y) {
            a = Relu(x) b = own.twice(a) c = Neg(b) y = own.twice(c)
        }
        <domain: "own", opset_import: ["": 21]> twice (v) => (w) { w = Add(v, v) }"""
    )
    return model, {"x": normal(2, 4)}


NETWORKS["function"] = with_function()


def shown(model: onnx.ModelProto, feed: Feed, names: list[str]) -> dict[str, np.ndarray]:
    with SegmentedNetwork(ir.from_proto(model), names, threads=1) as net:
        found = [(name, array) for together in net.run(feed) for name, array in together.items()]
    assert len(found) == len({name for name, _ in found}), "a tensor was shown twice"
    return dict(found)


def assert_alike(ours, truth, where: str) -> None:
    assert ours.keys() == truth.keys(), where
    for name, array in truth.items():
        np.testing.assert_allclose(
            ours[name], array, rtol=RTOL, atol=ATOL, err_msg=f"{where}: {name}"
        )
        assert ours[name].shape == array.shape


@pytest.mark.parametrize("each", [1, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_is_that_of_the_whole_network(name, each, monkeypatch) -> None:
    monkeypatch.setattr(segments, "TENSORS_PER_SEGMENT", each)
    model, feed = NETWORKS[name]
    names = float_tensors(model)
    assert len(names) >= 4 or name == "loop"
    assert_alike(shown(model, feed, names), every_tensor(model, feed, names), name)


# A convolution by itself still gets ONNX Runtime's blocked layout, which sums in another order;
# of the sequence several nodes stay together, which the optimiser may fuse.
@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"convolutions", "sequence"}))
def test_one_node_at_a_time_is_equal_to_the_last_bit(name, monkeypatch) -> None:
    monkeypatch.setattr(segments, "TENSORS_PER_SEGMENT", 1)
    model, feed = NETWORKS[name]
    names = float_tensors(model)
    ours = shown(model, feed, names)
    for tensor, array in every_tensor(model, feed, names).items():
        np.testing.assert_array_equal(ours[tensor], array, err_msg=tensor)


@pytest.mark.parametrize("each", [1, 4])
def test_a_sample_of_onnxs_own_models(each, monkeypatch) -> None:
    monkeypatch.setattr(segments, "TENSORS_PER_SEGMENT", each)
    compared = 0
    for case, model, feed, names, truth in float_cases():
        ours = shown(model, feed, names)
        for name in [name for name in truth if truth[name].dtype != np.float32]:
            del truth[name], ours[name]
        assert ours.keys() == truth.keys(), case.name
        for name, array in truth.items():
            np.testing.assert_allclose(
                ours[name], array, rtol=max(case.rtol, RTOL), atol=ATOL, err_msg=case.name
            )
        compared += 1
    assert compared > 60


def float_cases():
    """Some of ONNX's cases, each with what `float_case` says of it."""
    for case in cases()[::EVERY]:
        found = float_case(case)
        if found is not None:
            yield case, *found


def float_case(case: Case):
    """The model, a feed, its float tensors and their values; None for what ONNX Runtime refuses."""
    if "dropout" in case.name or "random" in case.name or "bernoulli" in case.name:
        return None
    try:
        model = ir.to_proto(case.model())
        feed, _ = case.data_sets(signature_of(case.model()))[0]
        names = float_tensors(model)
        return (model, feed, names, every_tensor(model, feed, names)) if names else None
    except UnavailableError:
        return None  # no plain tensors
    except Exception as error:
        # ONNX Runtime derives its errors from Exception itself, one by one.
        if not type(error).__module__.startswith(("onnxruntime", "builtins")):
            raise
        return None


def test_sizes_may_change_from_run_to_run() -> None:
    model = proto(CONVNET8, convnet8_weights())
    names = float_tensors(model)
    with SegmentedNetwork(ir.from_proto(model), names, threads=1) as net:
        for shape in ((1, 8, 4, 4), (3, 8, 7, 5), (2, 8, 4, 9)):
            feed = {"x": normal(*shape)}
            found = {name: array for together in net.run(feed) for name, array in together.items()}
            assert_alike(found, every_tensor(model, feed, names), str(shape))


def test_an_input_of_the_network_is_shown_first() -> None:
    model = proto(SHARED, SQUARE)
    feed = {"x": normal(3, 4)}
    with SegmentedNetwork(ir.from_proto(model), ["d", "x", "y"], threads=1) as net:
        found = list(net.run(feed))
    assert [name for together in found for name in together] == ["x", "d", "y"]
    assert found[0]["x"] is feed["x"]


def test_the_model_is_left_as_it_is() -> None:
    model = network(SHARED, SQUARE)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    cut(model, frozenset({"a", "d"}))
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_every_node_is_in_one_segment_in_order(monkeypatch) -> None:
    monkeypatch.setattr(segments, "TENSORS_PER_SEGMENT", 1)
    model = network(CONVNET8, convnet8_weights())
    parts = cut(model, frozenset({"r1", "r2", "s", "c4"}))
    assert [list(node.output) for part in parts for node in part.model.graph.node] == [
        [value.name for value in node.outputs] for node in model.graph
    ]
    assert len(parts) == 5


def test_a_tensor_that_isnt_there_is_named() -> None:
    with pytest.raises(CompileError, match="'nowhere'"):
        SegmentedNetwork(network(SHARED, SQUARE), ["a", "nowhere"])


def test_what_nobody_needs_any_more_is_gone(monkeypatch) -> None:
    """Of a chain of tensors only the last two exist at any time."""
    monkeypatch.setattr(segments, "TENSORS_PER_SEGMENT", 1)
    steps = "\n".join(f"t{i + 1} = Relu(t{i})" for i in range(12))
    model = network(f"g (float[4, 4] t0) => (float[4, 4] t12) {{ {steps} }}")
    living: list[weakref.ref] = []
    most = 0
    with SegmentedNetwork(model, [f"t{i + 1}" for i in range(12)], threads=1) as net:
        for together in net.run({"t0": normal(4, 4)}):
            living += map(weakref.ref, together.values())
            gc.collect()
            most = max(most, sum(item() is not None for item in living))
    assert len(living) == 12
    assert most <= 2


def test_a_value_from_long_before_is_kept_until_its_last_reader(monkeypatch) -> None:
    monkeypatch.setattr(segments, "TENSORS_PER_SEGMENT", 1)
    parts = cut(network(CONVNET8, convnet8_weights()), frozenset({"first", "r1", "c2", "s", "c4"}))
    [where] = [i for i, part in enumerate(parts) if "r1" in part.ends]
    assert "s" in {name for node in parts[where].model.graph.node for name in node.output}
    assert all("r1" not in part.ends for part in parts[:where])


@pytest.mark.parametrize("name", NETWORKS)
def test_of_a_large_network_every_tensor_has_the_same_bits(name, as_large) -> None:
    model, feed = NETWORKS[name]
    names = float_tensors(model)
    expected = shown(model, feed, names)
    as_large()
    found = shown(model, feed, names)
    assert found.keys() == expected.keys()
    for tensor, array in expected.items():
        np.testing.assert_array_equal(found[tensor], array, err_msg=tensor)


def test_a_large_networks_weights_are_in_no_message(as_large) -> None:
    as_large()
    weights = convnet8_weights()
    parts = cut(network(CONVNET8, weights), frozenset({"first", "r1", "c2", "s", "c4"}))
    assert all(
        item.data_location == item.EXTERNAL
        for part in parts
        for item in part.model.graph.initializer
        if weights[item.name].nbytes > 32
    )
    assert {one.name for part in parts for one in part.weights.values()} <= weights.keys()
    assert any(part.weights for part in parts)
