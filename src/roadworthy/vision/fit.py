"""The step that gives a picture the size the network takes, and remembers how."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from roadworthy.core.errors import InputError, SamplesError
from roadworthy.core.signature import Array
from roadworthy.vision import checks
from roadworthy.vision.steps import Picture, Step

METHODS = ("nearest", "bilinear", "bicubic", "lanczos", "hamming", "area")
MODES = ("stretch", "letterbox", "crop", "shorter", "centre")


@dataclass(frozen=True)
class Fit(Step):
    """Bring the picture to a size, by Pillow (`resize.py`).

    Modes:
        1. stretch: to `size`; the sides are scaled independently.
        2. letterbox: scaled as a whole until it fits into `size`, sides rounded to whole pixels,
           the rest filled with `fill` (default 0, in the values at this point, one number or one
           per channel). `anchor`: "centre" (default; an odd rest has its larger part at the right
           and bottom) or "top-left".
        3. crop: the largest centred part of the shape of `size`, scaled to `size`. This is
           Pillow's `ImageOps.fit`.
        4. shorter: scaled as a whole until the shorter side is `size`; with [a, b], until the
           shorter side is min(a, b) or the longer is max(a, b), whichever comes first. Sides are
           rounded to whole pixels, and depend on the picture.
        5. centre: not scaled (no `method`): the centred part of `size` pixels; where the picture
           is smaller, filled with `fill`.

    `size` is [height, width]. `method`: nearest, bilinear, bicubic, lanczos, hamming, or area
    (Pillow's BOX).
    """

    op: ClassVar[str] = "fit"
    size: int | tuple[int, int]
    mode: str
    method: str | None = None
    fill: float | tuple[float, ...] | None = None
    anchor: str | None = None

    def __post_init__(self) -> None:
        checks.choice("mode", self.mode, MODES)
        checks.sides("size", self.size, one=self.mode == "shorter")
        if self.mode == "centre":
            self._only_where("method", "every other mode")
        else:
            checks.choice("method", self.method, METHODS)
        if self.mode not in ("letterbox", "centre"):
            self._only_where("fill", "letterbox and centre")
        elif self.fill is not None:
            checks.numbers("fill", self.fill)
        if self.mode != "letterbox":
            self._only_where("anchor", "letterbox")
        checks.choice("anchor", self.anchor, (None, "centre", "top-left"))

    def _only_where(self, field: str, modes: str) -> None:
        if getattr(self, field) is not None:
            raise InputError(
                f"{field!r} means nothing in mode {self.mode!r}",
                remedy=f"leave it out; it belongs to {modes}",
            )

    def apply(self, picture: Picture) -> Picture:
        """Return H×W×C of the same dtype (uint8 or float32).

        Raises:
            SamplesError: a picture so long and thin that the scaled one would be too large.
        """
        if isinstance(self.size, int) or self.mode == "shorter":
            return self._resized(picture, self._shorter(picture))
        if self.mode == "stretch":
            return self._resized(picture, self.size)
        if self.mode == "crop":
            return self._cropped(picture, self.size)
        if self.mode == "letterbox":
            height, width = picture.pixels.shape[:2]
            scale = min(self.size[0] / height, self.size[1] / width)
            picture = self._resized(picture, _scaled((height, width), scale))
        return self._placed(picture, self.size)

    def _shorter(self, picture: Picture) -> tuple[int, int]:
        height, width = picture.pixels.shape[:2]
        if isinstance(self.size, int):
            scale = self.size / min(height, width)
        else:
            scale = min(min(self.size) / min(height, width), max(self.size) / max(height, width))
        return _scaled((height, width), scale)

    def _resized(self, picture: Picture, size: tuple[int, int]) -> Picture:
        """Case 1, and the scaling of 2 and 4."""
        from roadworthy.vision.decode import MAX_PIXELS
        from roadworthy.vision.resize import resize

        height, width = picture.pixels.shape[:2]
        if size[0] * size[1] > MAX_PIXELS:
            raise SamplesError(
                f"a picture of {height} × {width} pixels would become {size[0]} × {size[1]}, "
                f"over {MAX_PIXELS} pixels",
                remedy="remove it, or fit with another mode",
            )
        scale = (size[0] / height, size[1] / width)
        return Picture(
            resize(picture.pixels, size, str(self.method)),
            picture.layout,
            picture.geometry.then(size, scale, (0.0, 0.0)),
        )

    def _cropped(self, picture: Picture, size: tuple[int, int]) -> Picture:
        """Case 3: cut and scaled in one step, as `ImageOps.fit`, so nothing larger is made."""
        from roadworthy.vision.resize import resize

        height, width = picture.pixels.shape[:2]
        scale = max(size[0] / height, size[1] / width)
        # min(): a quotient may come out an ulp beyond the picture, which Pillow refuses.
        part = (min(size[0] / scale, height), min(size[1] / scale, width))
        top, left = (height - part[0]) / 2, (width - part[1]) / 2
        box = (left, top, min(left + part[1], width), min(top + part[0], height))
        factors = (size[0] / part[0], size[1] / part[1])
        return Picture(
            resize(picture.pixels, size, str(self.method), box),
            picture.layout,
            picture.geometry.then(size, factors, (-top * factors[0], -left * factors[1])),
        )

    def _placed(self, picture: Picture, size: tuple[int, int]) -> Picture:
        """The placing of 2 and 5: cut what is over, fill what is missing; nothing is scaled."""
        pixels = picture.pixels
        fill = np.asarray(0 if self.fill is None else self.fill, dtype=pixels.dtype)
        canvas: Array = np.empty((*size, pixels.shape[2]), dtype=pixels.dtype)
        canvas[...] = fill
        top, left = (self._start(s, p) for s, p in zip(size, pixels.shape[:2], strict=True))
        seen = pixels[max(-top, 0) : size[0] - top, max(-left, 0) : size[1] - left]
        y, x = max(top, 0), max(left, 0)
        canvas[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
        geometry = picture.geometry.then(size, (1.0, 1.0), (float(top), float(left)))
        return replace(picture, pixels=canvas, geometry=geometry)

    def _start(self, size: int, pixels: int) -> int:
        """Where the picture starts along one axis; negative where it is cut.

        A cut rounds half to even, as torchvision's CenterCrop does.
        """
        if self.anchor == "top-left":
            return 0
        return (size - pixels) // 2 if size >= pixels else -round((pixels - size) / 2)


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    height, width = (max(1, math.floor(side * scale + 0.5)) for side in size)
    return height, width
