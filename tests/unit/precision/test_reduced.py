"""What ONNX Runtime reduces is what NumPy makes of the tensors, or it says that it can't tell."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from roadworthy.core.errors import CompileError
from roadworthy.precision.reduced import Extent, ReducedNetwork
from tests.models import network, normal, proto
from tests.unit.precision.int8_made import CONVNET8, convnet8_weights, every_tensor, float_tensors
from tests.unit.precision.test_segments import ATOL, NETWORKS, RTOL, float_cases

AXES = (None, 1, -1)
COPIED = "g (float[a, b, c, d] x) => (float[a, b, c, d] y) { y = Neg(x) }"
FINITE = st.floats(-(2.0**100), 2.0**100, width=32)
BAD = st.sampled_from([np.nan, np.inf, -np.inf])


def reduced(model, feed, axes):
    with ReducedNetwork(ir.from_proto(model), axes, threads=1) as net:
        return net.run(feed)


def by_numpy(array, axis):
    """The same of a tensor that is there."""
    if axis is None or array.ndim < 2:
        return Extent(array.min(), array.max(), array.size)
    over = tuple(place for place in range(array.ndim) if place != axis % array.ndim)
    return Extent(array.min(over), array.max(over), array.size)


def assert_alike(found, truth, where, rtol=RTOL, atol=ATOL):
    assert found.count == truth.count, where
    for ours, theirs in ((found.low, truth.low), (found.high, truth.high)):
        assert np.shape(ours) == np.shape(theirs), where
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol, err_msg=where)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensors_range_is_numpys(name, axis):
    model, feed = NETWORKS[name]
    names = float_tensors(model)
    truth = every_tensor(model, feed, names)
    try:
        found = reduced(model, feed, dict.fromkeys(names, axis))
    except CompileError as error:
        # What a sequence or a branch gives has no known axes.
        assert axis is not None or name == "sequence", name
        assert "aren't known" in error.what or "isn't known" in error.what
        return
    assert found is not None
    assert found.keys() == truth.keys()
    for tensor, array in truth.items():
        assert_alike(found[tensor], by_numpy(array, axis), f"{name}: {tensor}")


@pytest.mark.parametrize("opset", [11, 13, 17, 18, 21])
def test_axes_are_stated_as_the_opset_has_them(opset):
    model = proto(CONVNET8, convnet8_weights())
    # Its operators are written alike in all of them.
    model.opset_import[0].version = opset
    feed = {"x": normal(2, 8, 5, 7)}
    names = float_tensors(model)
    found = reduced(model, feed, {"x": 1, **dict.fromkeys(names, 1)})
    truth = {"x": feed["x"], **every_tensor(model, feed, names)}
    assert found is not None
    for tensor, array in truth.items():
        assert_alike(found[tensor], by_numpy(array, 1), f"opset {opset}: {tensor}")


def test_a_sample_of_onnxs_own_models():
    compared = 0
    for case, model, feed, _, truth in float_cases():
        truth = {name: array for name, array in truth.items() if array.dtype == np.float32}
        if not truth:
            continue
        try:
            found = reduced(model, feed, dict.fromkeys(truth))
        except CompileError:
            continue
        finite = all(array.size and np.isfinite(array.sum()) for array in truth.values())
        assert (found is not None) == finite, case.name
        for name, array in truth.items() if found is not None else ():
            rtol = max(case.rtol, RTOL)
            assert_alike(found[name], by_numpy(array, None), f"{case.name}: {name}", rtol)
        compared += 1
    assert compared > 60


@pytest.fixture(scope="module")
def copied():
    """Networks that only negate their input, each reducing it by one axis."""
    axes = [(ReducedNetwork(network(COPIED), {"x": axis, "y": axis}, 1), axis) for axis in AXES]
    for net, _ in axes:
        net.__enter__()
    yield axes
    for net, _ in axes:
        net.__exit__(None, None, None)


SHAPES = hnp.array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=9)


@given(hnp.arrays(np.float32, SHAPES, elements=FINITE))
@example(np.full((1, 2, 3, 4), -1e30, np.float32))
def test_finite_values_are_reduced_exactly(copied, array):
    for net, axis in copied:
        found = net.run({"x": array})
        assert found is not None
        assert_alike(found["x"], by_numpy(array, axis), f"axis {axis}", 0, 0)
        assert_alike(found["y"], by_numpy(-array, axis), f"axis {axis}", 0, 0)


@given(st.data(), SHAPES, BAD)
def test_one_value_that_is_not_finite_is_never_missed(copied, data, shape, bad):
    """Wherever it is: ReduceMin and ReduceMax by themselves lose NaN at some places."""
    array = normal(*shape)
    array.reshape(-1)[data.draw(st.integers(0, array.size - 1))] = bad
    for net, _ in copied:
        assert net.run({"x": array}) is None


def test_infinities_of_both_signs_do_not_cancel(copied):
    array = normal(1, 2, 3, 3)
    array[0, 0, 0, 0], array[0, 1, 0, 0] = np.inf, -np.inf
    assert all(net.run({"x": array}) is None for net, _ in copied)


def test_a_tensor_of_no_values_has_no_range(copied):
    for net, _ in copied:
        assert net.run({"x": np.empty((1, 0, 3, 3), np.float32)}) is None
        assert net.run({"x": normal(1, 2, 3, 3)}) is not None


def test_a_feed_that_fails_is_left_to_who_can_say_why(copied):
    assert copied[0][0].run({"x": normal(3, 4)}) is None


def test_what_is_not_float32_is_refused():
    model = network("g (float16[4] x) => (float16[4] y) { y = Neg(x) }")
    with pytest.raises(CompileError, match="float32"):
        ReducedNetwork(model, {"y": None})


def test_a_tensor_that_is_not_there_is_named():
    with pytest.raises(CompileError, match="'nowhere'"):
        ReducedNetwork(network(COPIED), {"nowhere": None})


def test_the_model_is_left_as_it_is():
    model = network(COPIED)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    ReducedNetwork(model, {"x": 1, "y": 1})
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_names_that_are_taken_are_left_alone():
    text = "g (float[4] x) => (float[4] y) { range_0_low = Neg(x) y = Neg(range_0_low) }"
    with ReducedNetwork(network(text), {"range_0_low": None, "y": None}, threads=1) as net:
        found = net.run({"x": np.arange(4, dtype=np.float32)})
    assert found is not None
    assert (float(found["range_0_low"].low), float(found["y"].high)) == (-3.0, 3.0)


@pytest.mark.parametrize("name", NETWORKS)
def test_of_a_large_network_every_range_has_the_same_bits(name, as_large):
    model, feed = NETWORKS[name]
    axes = dict.fromkeys(float_tensors(model), None)
    expected = reduced(model, feed, axes)
    as_large()
    assert reduced(model, feed, axes) == expected
