"""What calibration saw of one tensor: range, histogram, channels, what was odd. Bounded memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roadworthy.core.signature import Array
from roadworthy.precision.histogram import Histogram

# A sample whose largest magnitude is more than so many times the median sample's is named.
# Magnitudes are counted by sixteenths of a power of two, and the median is rounded up: to be named
# for sure takes 17 times.
OUTLIER_FACTOR = 16.0
# So many of the largest samples are kept by name.
_MOST_NAMED = 4
_FIRST_MAGNITUDE = -150  # float32 exponents, from 2**-150 on
_PARTS = 16
_MAGNITUDES = 280 * _PARTS
# What stays below is zero to INT8: the product of two scales must be a normal float32 number.
_LEAST_RANGE = 2.0**-54


@dataclass
class Observed:
    """One tensor over all samples. The same whatever the order of the samples.

    Attributes:
        tensor: its name.
        low: smallest finite value; +inf before the first.
        high: largest finite value; -inf before the first.
        count: finite values.
        bad: NaN and infinite values, which count nowhere else.
        histogram: of the finite values; None where only ranges were asked for.
        axis: of the channels, 1 or the last one (-1); None where it isn't known.
        channel_low: smallest finite value per channel, float32, NaN before the first; None for
            tensors without channels, empty where their axis has another size in another sample.
        channel_high: largest value per channel.
        largest: the samples of the largest magnitudes, as (magnitude, sample name), descending.
    """

    tensor: str
    low: float = np.inf
    high: float = -np.inf
    count: int = 0
    bad: int = 0
    histogram: Histogram | None = field(default_factory=Histogram)
    axis: int | None = 1
    channel_low: Array | None = None
    channel_high: Array | None = None
    largest: list[tuple[float, str]] = field(default_factory=list)
    _magnitudes: Array = field(default_factory=lambda: np.zeros(_MAGNITUDES, np.int64))

    def add(self, values: Array, sample: str) -> None:
        """Take one sample's values, floats of any shape."""
        if values.size == 0:
            return
        if values.dtype != np.float32:
            # Doubles beyond the range of float32 become infinite, and are counted as that.
            with np.errstate(over="ignore"):
                values = values.astype(np.float32)
        low, high = self._channels(values)
        if not (np.isfinite(low) and np.isfinite(high)):
            good = values[np.isfinite(values)]
            self.bad += values.size - good.size
            if good.size == 0:
                return
            values, low, high = good, float(good.min()), float(good.max())
        self._take(low, high, values.size, sample)
        if self.histogram is not None:
            self.histogram.add(values, max(abs(low), abs(high)))

    def add_range(self, low: Array, high: Array, count: int, sample: str) -> None:
        """Take one sample's range where it is all that is wanted: there is no histogram.

        Args:
            low: the smallest value, finite, float32: of shape (channels,), or () without channels.
            high: the largest.
            count: how many values there are, all finite; at least one.
            sample: its name.
        """
        if low.ndim:
            self._keep_channels(low, high)
        self._take(float(low.min()), float(high.max()), count, sample)

    def _take(self, low: float, high: float, count: int, sample: str) -> None:
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.count += count
        self._name(max(abs(low), abs(high)), sample)

    def _channels(self, values: Array) -> tuple[float, float]:
        """Return the range, keeping it per channel where there are channels."""
        if self.axis is None or values.ndim < 2:
            return float(values.min()), float(values.max())
        low, high = _by_channel(values, self.axis)
        # min and max hand NaN on, so that the caller sees it.
        whole = float(low.min()), float(high.max())
        if not np.isfinite(whole).all():
            # One odd pixel says nothing about its channel.
            good = np.where(np.isfinite(values), values, np.float32(np.nan))
            low, high = _by_channel(good, self.axis, np.fmin, np.fmax)
        self._keep_channels(low, high)
        return whole

    def _keep_channels(self, low: Array, high: Array) -> None:
        if self.channel_low is None or self.channel_high is None:
            self.channel_low, self.channel_high = low, high
        elif self.channel_low.shape == low.shape:
            self.channel_low = np.fmin(self.channel_low, low)
            self.channel_high = np.fmax(self.channel_high, high)
        else:
            # An axis whose size varies, such as time, is none of channels. Empty for good: which
            # sample came first must not matter.
            self.channel_low = self.channel_high = np.empty(0, np.float32)

    def _name(self, magnitude: float, sample: str) -> None:
        # From 1/2 on, below 1: exact, so that it is the same everywhere.
        mantissa, exponent = math.frexp(magnitude)
        part = int((mantissa - 0.5) * 2 * _PARTS)
        # The first is for zero.
        place = 1 + (exponent - _FIRST_MAGNITUDE) * _PARTS + part if magnitude > 0 else 0
        self._magnitudes[min(max(place, 0), _MAGNITUDES - 1)] += 1
        self.largest.append((magnitude, sample))
        # By name where magnitudes are equal: the order of the samples must not matter.
        self.largest.sort(key=lambda item: (-item[0], item[1]))
        del self.largest[_MOST_NAMED:]

    @property
    def has_range(self) -> bool:
        """False for a tensor that is zero on every sample, or has no finite value on any."""
        return self.count > 0 and max(-self.low, self.high) >= _LEAST_RANGE

    @property
    def samples(self) -> int:
        """How many samples had finite values."""
        return int(self._magnitudes.sum())

    @property
    def dead_channels(self) -> int:
        """Channels that never changed: the same value everywhere in every sample."""
        if self.channel_low is None or self.channel_high is None:
            return 0
        if self.count <= self.channel_low.size:
            # Of one value nobody can tell whether it changes.
            return 0
        return int((self.channel_low == self.channel_high).sum())

    @property
    def outliers(self) -> list[tuple[float, str]]:
        """The named samples that reach far beyond the median one."""
        if self.samples < 3:
            return []
        middle = int(np.searchsorted(np.cumsum(self._magnitudes), (self.samples + 1) // 2))
        if middle == 0:
            # The median sample is all zeros: nothing to compare with.
            return []
        exponent, part = divmod(middle - 1, _PARTS)
        median = math.ldexp(0.5 + (part + 1) / (2 * _PARTS), exponent + _FIRST_MAGNITUDE)
        return [item for item in self.largest if item[0] > OUTLIER_FACTOR * median]

    def to_arrays(self) -> dict[str, Array]:
        """Return everything as arrays, for a file that loads without pickle."""
        arrays: dict[str, Any] = {
            "range": np.array([self.low, self.high]),
            "counts": np.array([self.count, self.bad]),
            "magnitudes": self._magnitudes,
            "largest": np.array([item[0] for item in self.largest]),
            "samples": np.array([item[1] for item in self.largest], dtype=np.str_),
        }
        if self.histogram is not None:
            exponent = self.histogram.exponent
            arrays["histogram"] = self.histogram.counts
            arrays["exponent"] = np.array([] if exponent is None else [exponent], np.int64)
        if self.channel_low is not None and self.channel_high is not None:
            arrays |= {"channel_low": self.channel_low, "channel_high": self.channel_high}
        return arrays

    @classmethod
    def from_arrays(cls, tensor: str, arrays: dict[str, Array], axis: int | None = 1) -> Observed:
        """Read what `to_arrays` wrote; raises KeyError or ValueError for anything else."""
        histogram = None
        if "histogram" in arrays:
            exponent = arrays["exponent"]
            counts = np.asarray(arrays["histogram"], np.int64).copy()
            histogram = Histogram(int(exponent[0]) if exponent.size else None, counts)
        largest = zip(arrays["largest"].tolist(), arrays["samples"].tolist(), strict=True)
        return cls(
            tensor,
            float(arrays["range"][0]),
            float(arrays["range"][1]),
            int(arrays["counts"][0]),
            int(arrays["counts"][1]),
            histogram,
            axis,
            arrays.get("channel_low"),
            arrays.get("channel_high"),
            [(float(magnitude), str(sample)) for magnitude, sample in largest],
            np.asarray(arrays["magnitudes"], np.int64).copy(),
        )


def _by_channel(
    values: Array, axis: int, least: np.ufunc = np.minimum, most: np.ufunc = np.maximum
) -> tuple[Array, Array]:
    """Return the smallest and the largest value of every channel, which lie on axis 1 or -1."""
    if axis == 1:
        flat = values.reshape(*values.shape[:2], -1)
        return least.reduce(flat, axis=(0, 2)), most.reduce(flat, axis=(0, 2))
    flat = values.reshape(-1, values.shape[-1])
    return least.reduce(flat, axis=0), most.reduce(flat, axis=0)
