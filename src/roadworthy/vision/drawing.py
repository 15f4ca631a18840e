"""Segmentations drawn over their pictures, for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadworthy.core.errors import InputError
from roadworthy.core.signature import Array
from roadworthy.vision.geometry import UNSEEN, Geometry
from roadworthy.vision.legend import Entry, beside
from roadworthy.vision.palette import rgba
from roadworthy.vision.pillow import Image
from roadworthy.vision.sheet import sheet
from roadworthy.vision.task import SegmentationTask

__all__ = ["draw_mask", "sheet"]

OPACITY = 0.45
# Smaller pictures are enlarged by a whole factor, so that outlines and legend have room.
SMALLEST_SIDE = 480
LINE_SHARE = 1 / 320

_UNSEEN_FILL = (24, 24, 27, 150)
_HALO_DARK = (0, 0, 0, 170)
_HALO_LIGHT = (255, 255, 255, 210)


def draw_mask(
    image: Path | str | Array | Image.Image,
    labels: Array,
    task: SegmentationTask,
    geometry: Geometry | None = None,
    *,
    opacity: float = OPACITY,
    legend: bool = True,
) -> Image.Image:
    """Draw a segmentation over its original picture.

    Regions are tinted and outlined in their class's colour; a class whose colour is clear is left
    as it is. What the network never saw is darkened. The legend, at the right of upright pictures
    and below wide ones, names the classes with their share of the picture's pixels.

    Args:
        image: the original: a file, a Pillow image, or uint8 H×W, H×W×1 or H×W×3 (RGB).
        labels: h×w integers, the class per pixel; what `SegmentationTask.labels` returns.
        task: names and colours.
        geometry: how the original became the network's input; None: labels are H×W already.
        opacity: of the tint, 0 to 1.
        legend: False leaves it out.

    Returns:
        RGB; the picture in its own size, or enlarged by a whole factor if it is small.

    Raises:
        SamplesError: a file that isn't a readable picture.
        InputError: labels of another size, or of classes that the task doesn't name.
    """
    picture = _picture(image)
    height, width = picture.shape[:2]
    seen = (height, width) if geometry is None else geometry.original
    if seen != (height, width) or (geometry is None and labels.shape != seen):
        covered = list(labels.shape) if geometry is None else list(seen)
        raise InputError(
            f"the labels cover {covered} pixels, the picture has {[height, width]}",
            remedy="give the geometry that came with the preprocessed picture",
        )
    placed = (geometry or Geometry.identity(height, width)).restore(labels)
    if placed.min() < UNSEEN or placed.max() >= len(task.classes):
        raise InputError(
            f"the labels reach from {placed.min()} to {placed.max()}, "
            f"the task names {len(task.classes)} classes"
        )
    factor = max(1, -(-SMALLEST_SIDE // max(height, width)))
    shown = Image.fromarray(picture)
    if factor > 1:
        shown = shown.resize((width * factor, height * factor), Image.Resampling.BICUBIC)
    large = np.repeat(np.repeat(placed, factor, axis=0), factor, axis=1)
    drawn = _overlaid(shown, large, task, opacity)
    return beside(drawn, _entries(placed, task)) if legend else drawn


def _picture(image: Path | str | Array | Image.Image) -> NDArray[np.uint8]:
    """Return uint8 H×W×3."""
    if isinstance(image, Path | str):
        from roadworthy.vision.decode import read_bytes, viewable

        return viewable(read_bytes(Path(image)), str(image))
    pixels: NDArray[Any] = np.asarray(
        image.convert("RGB") if isinstance(image, Image.Image) else image
    )
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise InputError(
            f"a picture to draw on is uint8 H×W, H×W×1 or H×W×3, "
            f"not {pixels.dtype} {list(pixels.shape)}"
        )
    return np.array(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), dtype=np.uint8)


def _overlaid(
    picture: Image.Image, labels: Array, task: SegmentationTask, opacity: float
) -> Image.Image:
    """Tint the regions and draw their outlines. Labels have the picture's size."""
    colours = np.array([_UNSEEN_FILL, *(rgba(c) for c in task.palette)], dtype=np.uint8)
    lines, tints = colours.copy(), colours.copy()
    tints[1:, 3] = np.round(colours[1:, 3] * opacity).astype(np.uint8)
    index = labels - UNSEEN  # row 0 is what the network never saw
    overlay = tints[index]
    thickness = max(1, round(max(picture.size) * LINE_SHARE))
    edge = _border(labels, thickness)
    overlay[edge] = lines[index[edge]]
    # On the clear side of a border a thin line that contrasts with the picture sets it off.
    halo = _border(labels, max(1, thickness // 2)) & (colours[index, 3] == 0)
    light = _surroundings(picture)[halo] > 110
    overlay[halo] = np.where(light[:, np.newaxis], _HALO_DARK, _HALO_LIGHT).astype(np.uint8)
    mixed = Image.alpha_composite(picture.convert("RGBA"), Image.fromarray(overlay))
    return mixed.convert("RGB")


def _surroundings(picture: Image.Image) -> NDArray[np.uint8]:
    """Return the brightness around each pixel, smooth, so that halos don't flicker."""
    width, height = picture.size
    coarse = (max(1, width // 48), max(1, height // 48))
    small = picture.convert("L").resize(coarse, Image.Resampling.BOX)
    return np.asarray(small.resize(picture.size, Image.Resampling.BILINEAR))


def _border(labels: Array, thickness: int) -> NDArray[np.bool_]:
    """Return the pixels within `thickness` of another label, along rows or columns."""
    found = np.zeros(labels.shape, dtype=bool)
    for distance in range(1, thickness + 1):
        for axis in (0, 1):
            if distance >= labels.shape[axis]:
                continue
            size = labels.shape[axis] - distance
            here = tuple(slice(0, size) if a == axis else slice(None) for a in (0, 1))
            there = tuple(slice(distance, None) if a == axis else slice(None) for a in (0, 1))
            differs = labels[here] != labels[there]
            found[here] |= differs
            found[there] |= differs
    return found


def _entries(labels: Array, task: SegmentationTask) -> list[Entry]:
    """Return the legend's lines: every class with its share, and what was never seen."""
    counts = np.bincount((labels - UNSEEN).ravel(), minlength=len(task.classes) + 1)
    shares = counts / labels.size
    entries = [
        Entry(name, rgba(colour), float(share))
        for name, colour, share in zip(task.classes, task.palette, shares[1:], strict=True)
    ]
    if counts[0]:
        entries.append(Entry("(not seen)", _UNSEEN_FILL, float(shares[0])))
    return entries
