"""What is kept of one tensor: range, channels, odd samples."""

from __future__ import annotations

import numpy as np
import pytest

from roadworthy.precision.observe import Observed
from tests.models import normal


def seen(*arrays, **options) -> Observed:
    observed = Observed("t", **options)
    for index, array in enumerate(arrays):
        observed.add(array, f"s{index}")
    return observed


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 3, 4), (1, 2, 3, 4, 5)])
def test_floats_of_any_rank_and_width(dtype, shape) -> None:
    array = np.asarray(np.random.default_rng(0).standard_normal(shape)).astype(dtype)
    observed = seen(array)
    narrow = array.astype(np.float32)
    assert (observed.low, observed.high) == (narrow.min(), narrow.max())
    assert (observed.count, observed.bad) == (array.size, 0)


def test_nothing_is_seen_of_an_empty_array() -> None:
    observed = seen(np.zeros((0, 3, 4), np.float32))
    assert (observed.count, observed.samples, observed.dead_channels) == (0, 0, 0)


def test_doubles_beyond_float32_are_counted_as_infinite() -> None:
    observed = seen(np.array([1e300, 1.0, -1e300]))
    assert (observed.count, observed.bad, observed.high) == (1, 2, 1.0)


def test_values_that_are_not_finite_count_apart() -> None:
    array = normal(1, 2, 3)
    array[0, 0] = [np.nan, np.inf, -np.inf]
    observed = seen(array, np.full((1, 2, 3), np.nan, np.float32))
    assert (observed.count, observed.bad) == (3, 9)
    assert observed.high == array[0, 1].max()
    assert observed.samples == 1


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, -1e-20, np.nan, np.inf])
def test_zero_on_every_sample_is_no_range(value) -> None:
    array = np.full((2, 3), value, np.float32)
    assert not seen(array, array).has_range
    assert seen(array, array, np.full(3, -1e-9, np.float32)).has_range
    assert not seen().has_range


def test_dead_channels_never_change_in_any_sample() -> None:
    first, second = normal(2, 4, 3, seed=1), normal(2, 4, 3, seed=2)
    first[:, 1] = second[:, 1] = 0.5
    first[:, 2] = 1.0  # alive in the second sample
    assert seen(first, second).dead_channels == 1
    assert seen(first).dead_channels == 2


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("axis", [1, -1])
def test_an_odd_pixel_neither_revives_nor_kills_its_channel(odd: float, axis: int) -> None:
    first, second = normal(2, 4, 4, seed=1), normal(2, 4, 4, seed=2)
    for array in (first, second):
        np.moveaxis(array, axis, 0)[1] = 0.5
    np.moveaxis(first, axis, 0)[1:3, 0, 0] = odd
    for arrays in ((first, second), (second, first)):
        observed = seen(*arrays, axis=axis)
        assert observed.dead_channels == 1
        assert observed.bad == 2


def test_a_channel_without_any_finite_value_is_not_called_dead() -> None:
    array = normal(2, 4, 3)
    array[:, 1] = np.nan
    assert seen(array).dead_channels == 0


def test_channels_are_where_they_are_said_to_be() -> None:
    array = normal(2, 5, 4)
    array[:, :, 1:3] = 0.5  # features of a Gemm or MatMul
    array[:, 3] = 0.7  # a token that is always the same is no channel
    assert seen(array, axis=-1).dead_channels == 0
    array[:, 3, 1:3] = 0.5
    assert seen(array, axis=-1).dead_channels == 2
    assert seen(array[0], axis=-1).dead_channels == 2
    assert seen(array, axis=None).dead_channels == 0


def test_one_value_of_each_channel_tells_nothing() -> None:
    row = np.arange(4, dtype=np.float32)[None]
    assert seen(row, axis=-1).dead_channels == 0
    assert seen(row, row, axis=-1).dead_channels == 4


@pytest.mark.parametrize("order", [1, -1])
def test_an_axis_of_varying_size_is_none_of_channels(order) -> None:
    arrays = [np.zeros((1, size, 4), np.float32) for size in (3, 5, 3, 3)][::order]
    observed = seen(*arrays)
    assert observed.dead_channels == 0
    assert seen(arrays[0]).dead_channels == arrays[0].shape[1]


def test_ranges_alone_need_no_histogram() -> None:
    observed = seen(normal(3, 4), histogram=None)
    assert observed.histogram is None
    assert Observed.from_arrays("t", observed.to_arrays()).histogram is None


class TestOutliers:
    def test_a_sample_far_beyond_the_median_one_is_named(self) -> None:
        observed = seen(*[normal(4, 4, seed=i) for i in range(9)], 1000 * normal(4, 4))
        assert [name for _, name in observed.outliers] == ["s9"]

    @pytest.mark.parametrize("median", [1.0, 0.51, 1.99, 3e-12, 1e-40, 7e36])
    def test_the_factor_is_what_is_said(self, median: float) -> None:
        one = np.float32(median)
        for factor, named in ((15.9, False), (17.1, True)):
            odd = np.full(3, factor * one, np.float32)
            observed = seen(*[np.full(3, one)] * 4, odd)
            assert [name for _, name in observed.outliers] == ["s4"] * named

    def test_samples_alike_have_none(self) -> None:
        assert seen(*[normal(4, 4, seed=i) for i in range(9)]).outliers == []

    def test_among_all_zeros_nothing_is_far(self) -> None:
        zeros = np.zeros(4, np.float32)
        assert seen(zeros, zeros, zeros, np.full(4, 0.001, np.float32)).outliers == []

    def test_two_samples_have_no_median(self) -> None:
        assert seen(np.ones(3, np.float32), np.full(3, 1e6, np.float32)).outliers == []

    def test_of_equal_samples_the_first_names_are_kept(self) -> None:
        ones = np.ones(3, np.float32)
        names = ["e", "b", "d", "a", "c", "f"]
        one, other = Observed("t"), Observed("t")
        for name in names:
            one.add(ones, name)
        for name in reversed(names):
            other.add(ones, name)
        assert one.largest == other.largest == [(1.0, name) for name in "abcd"]
