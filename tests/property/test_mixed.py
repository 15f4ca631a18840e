"""INT8 beside FP16: scales keep their value in FP16, and no integer of a weight moves."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from roadworthy.graph.signature import signature_of
from roadworthy.precision.half import plan_half, to_half
from roadworthy.precision.lower import quantised, rounded
from roadworthy.precision.plan import Quantized
from roadworthy.precision.quantize import named
from roadworthy.precision.scales import activation_scale
from roadworthy.precision.typed import check
from tests.models import network, normal
from tests.property.test_passes import WEIGHTS, graphs
from tests.unit.precision.half_made import ranges_of
from tests.unit.precision.int8_made import images
from tests.unit.precision.mixed_made import (
    HALF_SCALES,
    expect_no_cast_beside_int8,
    integers,
    made,
)

NORMAL_HALF = (2.0**-14, 65504.0)
scales = st.floats(*NORMAL_HALF).map(np.float16).filter(np.isfinite).map(float)


@given(st.floats(0, 1e9, width=32), st.floats(0, 1e9, width=32))
def test_a_scale_goes_to_fp16_and_back_where_it_is_a_normal_number(low: float, high: float) -> None:
    item = activation_scale("t", (-low, high), HALF_SCALES)
    [scale] = item.scale
    exact = max(low, high) / 127
    with np.errstate(over="ignore", under="ignore"):
        fits = NORMAL_HALF[0] <= exact <= NORMAL_HALF[1]
        assert (float(np.float16(scale)) == scale) or not fits
    # Nothing is clipped by the rounding: half a step is left over.
    if fits:
        assert abs(scale - exact) <= 2**-11 * exact
        assert int(np.rint(max(low, high) / scale)) == 127


@given(scales, st.integers(0, 2**32 - 1))
def test_a_weight_on_its_grid_gives_the_same_integers_from_fp16(scale: float, seed: int) -> None:
    values = (normal(64, seed=seed) * 60 * scale).astype(np.float32)
    item = Quantized("w", "int8", (scale,), (0,), weight=True)
    whole, on_grid = quantised(values, item), rounded(values, item)
    assert (quantised(on_grid, item) == whole).all()
    with np.errstate(over="ignore"):
        half = on_grid.astype(np.float16)
    fits = np.isfinite(half)
    assert (np.rint(half / np.float16(scale))[fits] == whole[fits]).all()


@given(
    st.lists(st.floats(-18, 3), min_size=4, max_size=4),
    st.lists(st.floats(-12, 12), min_size=4, max_size=4),
    st.integers(0, 999),
)
@settings(max_examples=25, deadline=None)
def test_no_integer_of_a_weight_moves(
    channels: list[float], layers: list[float], seed: int
) -> None:
    """Whatever their sizes are: some scales are FP16, others aren't."""
    graph = """g (float[2, 8] x) => (float[2, 8] y) {
        a = MatMul(x, w0) r = Relu(a) b = MatMul(r, w1) s = Relu(b) c = MatMul(s, w2)
        y = MatMul(c, w3) }"""
    spread = np.exp2(np.repeat(channels, 2)).astype(np.float32)
    weights = {
        f"w{i}": (normal(8, 8, seed=seed + i) * spread * 2.0**size).astype(np.float32)
        for i, size in enumerate(layers)
    }
    model = named(network(graph, weights))
    this = made(model, images(2, 2, 8))
    assert check(this.mixed.model) == ""
    assert signature_of(this.mixed.model) == signature_of(model)
    expect_no_cast_beside_int8(this.mixed.model)
    wide, mixed = integers(this.wide.model), integers(this.mixed.model)
    assert wide.keys() == mixed.keys() != set()
    for node, whole in wide.items():
        np.testing.assert_array_equal(mixed[node], whole)


@given(graphs(), st.booleans())
@settings(max_examples=30, deadline=None)
def test_without_quantisation_leave_to_go_there_changes_nothing(graph: str, keep: bool) -> None:
    model = network(graph, WEIGHTS)
    ranges = ranges_of(model, {"x": normal(3, 4)})
    one, other = (
        plan_half(model, "fp16", ranges, keep_islands=keep, quantised=leave)
        for leave in (False, True)
    )
    assert one == other
    assert check(to_half(model, other)) == ""
