"""Made scenes with exact masks: objects in focus before a background that is out of focus.

What makes a pixel foreground is sharpness, not brightness: a scene is a background of textures
seen through a defocus blur of 2 to 4.5 pixels, with 2 to 6 objects in front whose texture is sharp.
Means and contrasts are drawn from the same ranges for both and the contrast is restored *after* the
blur, so neither intensity nor plain contrast tells them apart. Out-of-focus shapes in the
background are there to be ignored: "a closed outline" isn't the answer either. Uneven light, a
slight blur by the lens and sensor noise lie over everything.

A scene follows from (seed, number, set of textures, size) alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from textures import Array, Bytes, Photos, blurred, texture

Mask = npt.NDArray[np.bool_]

FOREGROUND = (0.15, 0.50)
"""Smallest and largest part of a scene that objects may cover: "all foreground" must score low."""


def scene(
    seed: int, number: int, names: Sequence[str], photos: Photos, size: int = 256
) -> tuple[Bytes, Bytes]:
    """Scene ``number`` of ``seed``: the grey image (0..255) and its mask (0 or 1).

    Both are uint8 of size x size. ``names`` are the textures that may appear.
    """
    rng = np.random.default_rng([seed, number, size])
    image = _background(size, rng, names, photos)
    shapes = _objects(size, rng)
    for shape in shapes:
        filling = _lit(texture(str(rng.choice(names)), size, rng, photos), rng)
        image = np.where(shape, filling, image)
    image = blurred(_illuminated(image, rng), rng.uniform(0.3, 0.7))  # after pasting: soft edges
    image += rng.uniform(0.0, 0.03) * rng.standard_normal((size, size)).astype(np.float32)
    grey = np.round(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    return grey, np.logical_or.reduce(shapes).astype(np.uint8)


def _lit(values: Array, rng: np.random.Generator) -> Array:
    """A texture given a brightness and a contrast: the same ranges in and out of focus."""
    brightness, contrast = rng.uniform(0.38, 0.62), rng.uniform(0.07, 0.20)
    lit: Array = np.float32(brightness) + np.float32(contrast) * values
    return lit


def _background(size: int, rng: np.random.Generator, names: Sequence[str], photos: Photos) -> Array:
    """Out of focus: one texture, and up to four shapes of other textures to be ignored."""
    defocus = rng.uniform(2.0, 4.5)

    def unsharp() -> Array:
        sharp = texture(str(rng.choice(names)), size, rng, photos)
        soft = blurred(sharp, defocus)
        # Restores the contrast that the blur took, six times at most: beyond that only
        # the ghost of a fine pattern would be left, and look sharp again.
        return _lit(soft * np.float32(min(6.0, 1.0 / max(float(soft.std()), 1e-6))), rng)

    image = unsharp()
    for _ in range(int(rng.integers(0, 5))):
        weight = blurred(_shape(size, rng).astype(np.float32), defocus)
        image = image * (1 - weight) + unsharp() * weight
    return image


def _illuminated(image: Array, rng: np.random.Generator) -> Array:
    """Light that falls off along one direction and has a soft bright spot: gain 0.6 to 1.4."""
    size = image.shape[0]
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.5)
    ramp = slope * (np.cos(angle) * x + np.sin(angle) * y)
    centre = rng.uniform(-0.5, 0.5, 2)
    spot = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / rng.uniform(0.05, 0.3))
    gain = np.clip(1 + ramp + rng.uniform(-0.2, 0.2) * spot, 0.6, 1.4)
    lit: Array = (image * gain).astype(np.float32)
    return lit


def _objects(size: int, rng: np.random.Generator) -> list[Mask]:
    """Two to six shapes that together cover a part of the scene within `FOREGROUND`."""
    while True:
        shapes = [_shape(size, rng) for _ in range(int(rng.integers(2, 7)))]
        covered = float(np.logical_or.reduce(shapes).mean())
        if FOREGROUND[0] <= covered <= FOREGROUND[1]:
            return shapes


def _shape(size: int, rng: np.random.Generator) -> Mask:
    """An ellipse, polygon, blob or ring with a radius of 9 to 24 % of the scene, as exact pixels.

    All four are polygons in polar form: an angle and a radius per corner.
    """
    kind = rng.choice(["ellipse", "polygon", "blob", "ring"])
    radius = size * rng.uniform(0.13 if kind == "ring" else 0.09, 0.24)
    centre = rng.uniform(0.08, 0.92, 2) * size
    corners = int(rng.integers(3, 9)) if kind == "polygon" else 120
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, 2 * np.pi)
    radii = np.full(corners, radius)
    if kind == "polygon":
        radii *= rng.uniform(0.65, 1.2, corners)
    elif kind == "blob":
        for wave in range(2, 6):
            swing = rng.uniform(0, 0.5) / wave
            radii *= 1 + swing * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
    turn, squeeze = rng.uniform(0, np.pi), rng.uniform(0.55, 1.0)
    along, across = radii * np.cos(angles), radii * np.sin(angles) * squeeze
    x = along * np.cos(turn) - across * np.sin(turn)
    y = along * np.sin(turn) + across * np.cos(turn)
    drawing = Image.new("1", (size, size))
    pen = ImageDraw.Draw(drawing)
    pen.polygon(_points(x, y, centre), fill=1)
    if kind == "ring":
        hole = rng.uniform(0.4, 0.55)
        pen.polygon(_points(x * hole, y * hole, centre), fill=0)
    return np.asarray(drawing, np.bool_)


def _points(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], centre: npt.NDArray[np.float64]
) -> list[tuple[float, float]]:
    return [(float(a), float(b)) for a, b in zip(x + centre[1], y + centre[0], strict=True)]
