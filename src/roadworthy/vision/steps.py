"""The steps of a preprocess: small frozen descriptions, each with what it does to a picture.

A field that is None was not written in the contract, and takes the default its step documents.
All arithmetic is in float32 unless a step says otherwise. Order is checked in `order.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

import numpy as np

from roadworthy.core.errors import InputError, SamplesError
from roadworthy.core.signature import Array
from roadworthy.vision import checks
from roadworthy.vision.geometry import Geometry

Layout = Literal["HWC", "CHW"]

# What Pillow uses for "L": ITU-R 601-2 luma. For uint8 it rounds the weights to 1/65536.
LUMA = (0.299, 0.587, 0.114)
LUMA_FIXED = (19595, 38470, 7471)


@dataclass(frozen=True)
class Picture:
    """A picture on its way to the network: its pixels, their layout, and where they came from."""

    pixels: Array
    layout: Layout
    geometry: Geometry

    def by_channel(self, values: Any) -> Array:
        """Return numbers (one, or one per channel) as float32 that broadcast over the pixels."""
        array = np.asarray(values, dtype=np.float32).reshape(-1)
        return array.reshape(-1, 1, 1) if self.layout == "CHW" else array

    def float32(self) -> Array:
        """Return the pixels as float32."""
        return self.pixels.astype(np.float32, copy=False)


@dataclass(frozen=True)
class Step:
    """Base of the steps. A subclass validates its fields in `__post_init__`."""

    op: ClassVar[str]

    def apply(self, picture: Picture) -> Picture:
        """Return the picture after this step."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: the fields that were written, in order."""
        written = {item.name: getattr(self, item.name) for item in fields(self)}
        return {"op": self.op} | {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in written.items()
            if value is not None
        }


@dataclass(frozen=True)
class Decode(Step):
    """Read the file: upright, uint8 H×W×C, grey or RGB (`decode.py` lists the forms).

    `alpha`: "refuse" (default), "drop", "white" or "black", for transparent pictures.
    `depth`: 8 (default), or 16: 16-bit grey as float32, 0 to 65535.
    """

    op: ClassVar[str] = "decode"
    alpha: str | None = None
    depth: int | None = None

    def __post_init__(self) -> None:
        checks.choice("alpha", self.alpha, (None, "refuse", "drop", "white", "black"))
        checks.choice("depth", self.depth, (None, 8, 16))

    def open(self, raw: bytes, name: str) -> Picture:
        """Decode a file's content. Raises `SamplesError` if it isn't such a picture."""
        from roadworthy.vision.decode import decode

        pixels = decode(raw, name, alpha=self.alpha or "refuse", depth=self.depth or 8)
        return Picture(pixels, "HWC", Geometry.identity(*pixels.shape[:2]))


@dataclass(frozen=True)
class Colour(Step):
    """Make it grey (C = 1), RGB or BGR (C = 3), whatever the file held.

    Grey is 0.299 R + 0.587 G + 0.114 B; on uint8 in Pillow's fixed-point rounding. Grey to colour
    repeats the channel.
    """

    op: ClassVar[str] = "colour"
    to: str

    def __post_init__(self) -> None:
        checks.choice("to", self.to, ("grey", "rgb", "bgr"))

    def apply(self, picture: Picture) -> Picture:
        """Return H×W×1 or H×W×3 of the same dtype."""
        pixels = picture.pixels
        grey = pixels.shape[2] == 1
        if self.to == "grey":
            return picture if grey else replace(picture, pixels=_luma(pixels))
        if grey:
            return replace(picture, pixels=np.repeat(pixels, 3, axis=2))
        return replace(picture, pixels=pixels[:, :, ::-1]) if self.to == "bgr" else picture


def _luma(pixels: Array) -> Array:
    if pixels.dtype == np.uint8:
        total = pixels.astype(np.uint32) @ np.array(LUMA_FIXED, dtype=np.uint32) + 0x8000
        return (total >> 16).astype(np.uint8)[:, :, np.newaxis]
    return (pixels @ np.array(LUMA, dtype=np.float32))[:, :, np.newaxis]


@dataclass(frozen=True)
class Scale(Step):
    """Multiply by a number, e.g. 0.00392156862745098 (1/255)."""

    op: ClassVar[str] = "scale"
    by: float

    def __post_init__(self) -> None:
        checks.number("by", self.by)
        if self.by == 0:
            raise InputError("'by' is 0", remedy="scaling by 0 would erase the picture")

    def apply(self, picture: Picture) -> Picture:
        """Return float32."""
        return replace(picture, pixels=picture.float32() * np.float32(self.by))


@dataclass(frozen=True)
class MeanStd(Step):
    """(x - mean) / std; one number, or one per channel in the order of the channels."""

    op: ClassVar[str] = "mean_std"
    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]

    def __post_init__(self) -> None:
        checks.numbers("mean", self.mean)
        checks.numbers("std", self.std)
        if np.min(self.std) <= 0:
            raise InputError("'std' holds a number that isn't above 0", remedy="divide by more")

    def apply(self, picture: Picture) -> Picture:
        """Return float32."""
        centred = picture.float32() - picture.by_channel(self.mean)
        return replace(picture, pixels=centred / picture.by_channel(self.std))


@dataclass(frozen=True)
class InstanceNorm(Step):
    """Normalise each picture by its own statistics: clip(0.2 · (x - mean) · rsd + 0.5, 0, 1).

    rsd = min(1/std, 3·n), n = height · width; mean and (population) std over all pixels and
    channels together. A picture of one value becomes 0.5 everywhere. Statistics and formula in
    float64, the result in float32. Source: the preprocessing of the project's first account.
    """

    op: ClassVar[str] = "instance_norm"

    def apply(self, picture: Picture) -> Picture:
        """Return float32 from 0 to 1."""
        values = picture.pixels.astype(np.float64)
        height, width = picture.geometry.network
        largest = 3.0 * height * width
        std = float(values.std())
        rsd = min(1.0 / std, largest) if std > 0 else largest
        normed = np.clip(0.2 * (values - values.mean()) * rsd + 0.5, 0.0, 1.0)
        return replace(picture, pixels=normed.astype(np.float32))


@dataclass(frozen=True)
class Clip(Step):
    """Limit every value to low … high."""

    op: ClassVar[str] = "clip"
    low: float
    high: float

    def __post_init__(self) -> None:
        checks.number("low", self.low)
        checks.number("high", self.high)
        if self.low >= self.high:
            raise InputError(
                f"'low' is {self.low}, not below 'high', {self.high}", remedy="exchange them"
            )

    def apply(self, picture: Picture) -> Picture:
        """Return float32."""
        low, high = np.float32(self.low), np.float32(self.high)
        return replace(picture, pixels=np.clip(picture.float32(), low, high))


@dataclass(frozen=True)
class ToLayout(Step):
    """Order the axes: CHW (PyTorch, ONNX) or HWC (TensorFlow)."""

    op: ClassVar[str] = "layout"
    to: Layout

    def __post_init__(self) -> None:
        checks.choice("to", self.to, ("CHW", "HWC"))

    def apply(self, picture: Picture) -> Picture:
        """Return C×H×W or H×W×C; the step before is always H×W×C."""
        pixels = picture.pixels.transpose(2, 0, 1) if self.to == "CHW" else picture.pixels
        return replace(picture, pixels=pixels, layout=self.to)


@dataclass(frozen=True)
class ToDtype(Step):
    """Convert to the network's dtype. "uint8" only while the values are still whole."""

    op: ClassVar[str] = "dtype"
    to: str

    def __post_init__(self) -> None:
        checks.choice("to", self.to, ("float32", "float16", "float64", "uint8"))

    def apply(self, picture: Picture) -> Picture:
        """Return the pixels in that dtype.

        Raises:
            SamplesError: values that float16 can't hold.
        """
        if self.to == "float16" and float(np.abs(picture.float32()).max()) > 65504.0:
            raise SamplesError(
                "the preprocessed picture has values beyond float16's largest, 65504",
                remedy="scale it before the dtype step",
            )
        return replace(picture, pixels=picture.pixels.astype(self.to, copy=False))


def freeze(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step's JSON fields without `op`, lists as tuples."""
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in data.items()
        if name != "op"
    }
