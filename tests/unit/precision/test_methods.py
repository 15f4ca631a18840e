"""Ranges by min-max, percentile, MSE and entropy, against NumPy, brute force and ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnxruntime.quantization.calibrate import HistogramCollector

from roadworthy.core.errors import UsageError
from roadworthy.core.signature import Array
from roadworthy.precision.histogram import HALF, Histogram
from roadworthy.precision.methods import METHODS, PERCENTILE, covered
from roadworthy.precision.observe import Observed

RNG = np.random.default_rng(7)
COUNT = 100_000
DISTRIBUTIONS = {
    "normal": RNG.standard_normal(COUNT),
    "after a ReLU": np.maximum(RNG.standard_normal(COUNT), 0),
    "Laplace": RNG.laplace(size=COUNT),
    "skewed": RNG.standard_normal(COUNT) * 0.3 + RNG.gamma(2.0, 1.0, COUNT),
    "uniform": RNG.uniform(-1, 2, COUNT),
    "negative": -RNG.gamma(2.0, 1.0, COUNT),
}
BY_NAME = pytest.mark.parametrize("name", DISTRIBUTIONS)


def values_of(name: str) -> Array:
    return DISTRIBUTIONS[name].astype(np.float32)


def observed(values: Array) -> Observed:
    seen = Observed("t")
    seen.add(values, "s")
    return seen


def histogram(values: Array) -> Histogram:
    found = observed(values).histogram
    assert found is not None
    return found


@BY_NAME
def test_minmax_is_exact(name: str) -> None:
    values = values_of(name)
    low, high = covered(observed(values), "minmax", symmetric=False, levels=255)
    assert (low, high) == (min(values.min(), 0), max(values.max(), 0))


@BY_NAME
def test_minmax_covers_the_larger_side_on_both(name: str) -> None:
    values = values_of(name)
    largest = float(np.abs(values).max())
    found = covered(observed(values), "minmax", symmetric=True, levels=254)
    assert found == (-largest, largest)


@BY_NAME
def test_percentile_is_numpys_within_a_bin(name: str) -> None:
    values = values_of(name)
    rest = 1 - PERCENTILE
    sides = 2 if values.min() < 0 <= values.max() else 1
    low, high = covered(observed(values), "percentile", symmetric=False, levels=255)
    # One bin for where in it the value lies, and the gap between two neighbours in the tail.
    tolerance = 2 * histogram(values).width
    wanted = np.quantile(values, [rest / sides, 1 - rest / sides], method="inverted_cdf")
    lower = np.quantile(values, [rest / sides, 1 - rest / sides], method="lower")
    higher = np.quantile(values, [rest / sides, 1 - rest / sides], method="higher")
    for ours, exact, below, above in zip((low, high), wanted, lower, higher, strict=True):
        gap = above - below
        if exact * (1 if ours is high else -1) > 0:
            assert abs(ours - exact) <= tolerance + gap
        else:
            assert ours == 0.0


def fake_quantised(values: Array, low: float, high: float) -> Array:
    scale = (high - low) / 255
    zero = np.rint(-low / scale)
    return (np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale


def error_of(values: Array, low: float, high: float) -> float:
    exact = values.astype(np.float64)
    return float(np.mean((exact - fake_quantised(exact, low, high)) ** 2))


@BY_NAME
def test_mse_is_near_the_best_range_that_brute_force_finds(name: str) -> None:
    values = values_of(name)
    whole = covered(observed(values), "minmax", symmetric=False, levels=255)
    ours = covered(observed(values), "mse", symmetric=False, levels=255)
    best = min(
        error_of(values, share * whole[0], share * whole[1]) for share in np.arange(1, 201) / 200
    )
    assert error_of(values, *ours) <= 1.05 * best


def migacz(magnitudes: Array, stops: list[int]) -> dict[int, float]:
    """The slides of GTC 2017, word by word: KL of each threshold, with loops.

    Bins are merged evenly where the slides ask for whole numbers only; empty bins of Q that P has
    cost what 1e-12 does.
    """
    found = {}
    for stop in stops:
        sliced = magnitudes[:stop].astype(np.float64)
        reference = sliced.copy()
        reference[-1] += magnitudes[stop:].sum()
        candidate = np.zeros(stop)
        for level in range(128):
            bins = [i for i in range(stop) if i * 128 // stop == level]
            filled = [i for i in bins if sliced[i] > 0]
            for i in filled:
                candidate[i] = sum(sliced[j] for j in bins) / len(filled)
        p, q = reference / reference.sum(), candidate / max(candidate.sum(), 1e-300)
        found[stop] = sum(a * np.log(a / max(b, 1e-12)) for a, b in zip(p, q, strict=True) if a > 0)
    return found


@pytest.mark.parametrize("name", ["normal", "after a ReLU", "Laplace"])
def test_entropy_is_the_published_algorithms_minimum(name: str) -> None:
    values = values_of(name)
    found = histogram(values)
    magnitudes = found.counts[HALF:] + found.counts[:HALF][::-1]
    magnitudes[0] = magnitudes[1]
    used = int(np.flatnonzero(magnitudes)[-1]) + 1
    ours = covered(observed(values), "entropy", symmetric=True, levels=254)[1]
    stop = round(ours / found.width) if ours < np.abs(values).max() else used
    tried = np.linspace(128, used, 12, dtype=int).tolist()
    divergence = migacz(magnitudes[:used], sorted({stop, *tried}))
    assert divergence[stop] <= min(divergence.values()) + 1e-12


@pytest.mark.parametrize("name", ["normal", "Laplace"])
def test_entropy_clips_like_onnx_runtimes(name: str) -> None:
    values = values_of(name)
    ours = covered(observed(values), "entropy", symmetric=True, levels=254)[1]
    largest = float(np.abs(values).max())
    counts, edges = np.histogram(values, bins=2048, range=(-largest, largest))
    collector = HistogramCollector("entropy", True, 2048, 128, 99.99, None)
    theirs = float(
        collector.get_entropy_threshold((counts, edges, values.min(), values.max(), largest), 128)[
            1
        ]
    )
    # Its bins are others, and its levels cover both signs: the same order of magnitude of clipping.
    assert 0.6 * theirs <= ours <= min(1.7 * theirs, largest)


@pytest.mark.parametrize(
    ("method", "highest"), [("percentile", 10.0), ("entropy", 25.0), ("mse", 59.0)]
)
def test_an_outlier_is_clipped(method: str, highest: float) -> None:
    # The square of what is cut off keeps MSE near it: one in 100,000 is still worth 8 %.
    values = np.append(values_of("normal"), np.float32(60.0))
    high = covered(observed(values), method, symmetric=False, levels=255)[1]
    assert 2.0 < high < highest


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [True, False])
class TestOddTensors:
    @pytest.mark.parametrize("value", [5.0, -3.0, 1e-30, 1e38, 1.0])
    def test_a_constant_keeps_its_value(self, method, symmetric, value) -> None:
        values = np.full(1000, value, np.float32)
        low, high = covered(observed(values), method, symmetric=symmetric, levels=254)
        magnitude = abs(float(values[0]))
        reached = max(high, -low)
        # MSE may clip a little, where the value still rounds to itself within the step.
        assert 0.98 * magnitude <= reached <= magnitude
        if not symmetric:
            assert low == 0.0 or high == 0.0

    def test_all_zeros_have_no_range(self, method, symmetric) -> None:
        zeros = observed(np.zeros(9, np.float32))
        assert covered(zeros, method, symmetric=symmetric, levels=254) == (0.0, 0.0)

    def test_a_tensor_that_was_never_seen_has_none_either(self, method, symmetric) -> None:
        assert covered(Observed("t"), method, symmetric=symmetric, levels=254) == (0.0, 0.0)

    def test_two_values_far_apart(self, method, symmetric) -> None:
        values = np.repeat(np.array([-0.001, 100.0], np.float32), 500)
        low, high = covered(observed(values), method, symmetric=symmetric, levels=254)
        assert low <= 0.0 < high <= 100.0


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(UsageError, match="'magic'") as refused:
        covered(Observed("t"), "magic", symmetric=True, levels=254)
    assert "entropy" in str(refused.value.remedy)
