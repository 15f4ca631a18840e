"""Resizing: by Pillow, with the method that the contract names, and by nothing else.

Two libraries' "bilinear" differ when shrinking (Pillow widens the filter, others skip pixels),
enough to change what a network reads. So there is one implementation, for every platform.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadworthy.vision.pillow import Image

Box = tuple[float, float, float, float]

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "hamming": Image.Resampling.HAMMING,
    "area": Image.Resampling.BOX,
}


def resize(
    pixels: NDArray[Any], size: tuple[int, int], method: str, box: Box | None = None
) -> NDArray[Any]:
    """Resize H×W×C pixels, or the part of them inside `box`.

    uint8 is resized by Pillow in its own 8-bit rounding; float32 channel by channel, in mode F.

    Args:
        pixels: uint8 or float32, H×W×C.
        size: the new height and width.
        method: a key of `RESAMPLING`.
        box: left, top, right, bottom in pixels of the source; fractions are allowed.

    Returns:
        The new pixels, h×w×C, of the same dtype.
    """
    height, width = size
    if pixels.shape[:2] == size and box is None:
        return pixels

    def one(plane: NDArray[Any]) -> NDArray[Any]:
        image = Image.fromarray(np.ascontiguousarray(plane))
        return np.asarray(image.resize((width, height), RESAMPLING[method], box=box))

    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return one(pixels)
    return np.stack([one(pixels[:, :, channel]) for channel in range(pixels.shape[2])], axis=2)
