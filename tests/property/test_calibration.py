"""What calibration keeps of a tensor doesn't depend on the order or the parts it came in."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from roadworthy.core.signature import Array
from roadworthy.precision.histogram import BINS, HALF, Histogram
from roadworthy.precision.methods import METHODS, covered
from roadworthy.precision.observe import Observed
from roadworthy.precision.plan import Decision, PrecisionPlan, Quantized

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
# Powers of two lie on edges; the others are where float32 begins and ends.
AWKWARD = st.sampled_from(
    np.array(
        [
            0.0,
            -0.0,
            1.0,
            -1.0,
            2.0,
            0.5,
            -0.25,
            4096.0,
            1e38,
            -1e38,
            3.4028235e38,
            1e-30,
            -1e-30,
            1e-38,
            -1e-38,
            1e-45,
            -1e-45,
            2.0**-100,
            -(2.0**-100),
            2.0**-126,
        ],
        np.float32,
    ).tolist()
)
NUMBERS = st.lists(st.one_of(FINITE, AWKWARD), min_size=1, max_size=60).map(
    lambda numbers: np.array(numbers, np.float32)
)
ANY_FLOAT = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=0, max_dims=4, max_side=4), elements=st.floats(width=32)
)
MODERATE = st.lists(
    st.one_of(st.floats(-1e4, 1e4, width=32), st.just(0.0)), min_size=1, max_size=80
).map(lambda numbers: np.array(numbers, np.float32))


def counted(*parts: Array) -> Histogram:
    histogram = Histogram()
    for part in parts:
        if part.size:
            histogram.add(part, float(np.abs(part).max()))
    return histogram


def assert_same(ours: Histogram, theirs: Histogram) -> None:
    assert ours.exponent == theirs.exponent
    np.testing.assert_array_equal(ours.counts, theirs.counts)


@given(NUMBERS)
def test_counts_are_numpys_on_the_same_edges(values: Array) -> None:
    ours = counted(values)
    # Every value is in a bin that is open on the right, NumPy's last one isn't: none reaches it.
    theirs, _ = np.histogram(values.astype(np.float64), bins=ours.edges)
    np.testing.assert_array_equal(ours.counts, theirs)
    assert ours.total == values.size


@given(NUMBERS, st.randoms(use_true_random=False), st.integers(1, 6))
def test_any_order_and_any_parts_count_alike(values: Array, random, parts: int) -> None:
    order = list(range(values.size))
    random.shuffle(order)
    shuffled = np.array_split(values[order], parts)
    assert_same(counted(*shuffled), counted(values))


@given(NUMBERS, NUMBERS)
def test_merging_is_adding(first: Array, second: Array) -> None:
    merged = counted(first)
    merged.merge(counted(second))
    assert_same(merged, counted(first, second))
    empty = Histogram()
    empty.merge(counted(first))
    assert_same(empty, counted(first))


@given(MODERATE, st.integers(0, 100))
def test_a_range_that_doubles_any_number_of_times_loses_nothing(values: Array, times: int) -> None:
    far = np.array([2.0**times], np.float32)
    grown = counted(values, far)
    assert grown.total == values.size + 1
    assert_same(grown, counted(far, values))
    assert grown.counts[HALF:].sum() == (values >= 0).sum() + 1


def test_the_first_and_the_last_bin_are_in_use_after_no_doubling() -> None:
    edge = counted(np.array([-0.99999, 0.99999, 0.0, -0.0], np.float32))
    assert edge.exponent == 0
    assert np.flatnonzero(edge.counts).tolist() == [0, HALF, BINS - 1]


@given(st.lists(ANY_FLOAT, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_observations_of_a_tensor_dont_depend_on_the_order(arrays: list[Array], random) -> None:
    samples = [(array, f"sample{index}") for index, array in enumerate(arrays)]
    one, other = Observed("t"), Observed("t")
    for array, name in samples:
        one.add(array, name)
    random.shuffle(samples)
    for array, name in samples:
        other.add(array, name)
    assert_same_observed(one, other)
    everything = np.concatenate([array.ravel() for array in arrays])
    finite = everything[np.isfinite(everything)]
    assert one.count == finite.size
    assert one.bad == everything.size - finite.size
    if finite.size:
        assert (one.low, one.high) == (finite.min(), finite.max())
        assert one.largest[0][0] == np.abs(finite).max()
    assert one.histogram is not None
    assert one.histogram.total == finite.size


@given(st.lists(ANY_FLOAT, max_size=4))
def test_observations_come_back_from_their_arrays(arrays: list[Array]) -> None:
    seen = Observed("t")
    for index, array in enumerate(arrays):
        seen.add(array, f"Bild {index}: ä")
    assert_same_observed(Observed.from_arrays("t", seen.to_arrays()), seen)


def assert_same_observed(ours: Observed, theirs: Observed) -> None:
    one, other = ours.to_arrays(), theirs.to_arrays()
    assert one.keys() == other.keys()
    for key, array in one.items():
        np.testing.assert_array_equal(array, other[key], err_msg=key)
    assert ours.outliers == theirs.outliers
    assert ours.dead_channels == theirs.dead_channels


@given(MODERATE, st.sampled_from(sorted(METHODS)), st.booleans())
def test_ranges_hold_zero_and_nothing_that_wasnt_seen(
    values: Array, method: str, symmetric: bool
) -> None:
    seen = Observed("t")
    seen.add(values, "one")
    low, high = covered(seen, method, symmetric=symmetric, levels=254 if symmetric else 255)
    assert low <= 0.0 <= high
    largest = float(np.abs(values).max())
    if symmetric:
        assert low == -high
        assert high <= largest
    else:
        assert low >= min(float(values.min()), 0.0)
        assert high <= max(float(values.max()), 0.0)


NAMES = st.text(max_size=8)
SCALES = st.floats(2.0**-60, 2.0**100, width=32)


@st.composite
def quantized(draw: st.DrawFn) -> Quantized:
    count = draw(st.integers(1, 5))
    return Quantized(
        draw(NAMES),
        draw(st.sampled_from(["int8", "uint8", "int32"])),
        tuple(draw(SCALES) for _ in range(count)),
        tuple(draw(st.integers(0, 127)) for _ in range(count)),
        draw(st.integers(0, 3)) if count > 1 else None,
        draw(st.booleans()),
    )


PLANS = st.builds(
    PrecisionPlan,
    st.sampled_from(["int8", "fp16", "bf16"]),
    NAMES,
    st.lists(st.builds(Decision, NAMES, NAMES, NAMES, NAMES), max_size=4).map(tuple),
    st.lists(quantized(), max_size=4).map(tuple),
    st.dictionaries(NAMES, st.one_of(st.integers(), NAMES, st.floats(allow_nan=False)), max_size=3),
)


@given(PLANS)
def test_a_plan_comes_back_from_its_json(plan: PrecisionPlan) -> None:
    assert PrecisionPlan.from_json(json.loads(json.dumps(plan.to_json())), "here") == plan
    assert str(plan).startswith(plan.precision)
