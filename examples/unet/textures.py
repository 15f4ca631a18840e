"""Textures for the made scenes: photographs and drawn ones, split into training and unseen.

A texture is a float32 array of height x width with mean 0 and standard deviation 1, clipped to
[-2.5, 2.5], and it is *sharp*: it has detail down to a few pixels. The photographs are those that
travel inside scikit-image's wheel (``skimage/data``); nothing is downloaded. They are shrunk
1.4 to 2.2 times before use, because no photograph is sharp at its own pixels.

The split is by texture, not by crop: nothing in ``UNSEEN`` is ever shown in training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Photos = Mapping[str, Bytes]

TRAINING_PHOTOS = ("brick", "grass", "camera", "astronaut", "coffee", "text")
UNSEEN_PHOTOS = ("gravel", "chelsea", "coins", "ihc")
TRAINING_DRAWN = ("octaves", "stripes", "checks", "dots")
UNSEEN_DRAWN = ("cells", "hatch", "rings", "contours")
TRAINING = TRAINING_PHOTOS + TRAINING_DRAWN
UNSEEN = UNSEEN_PHOTOS + UNSEEN_DRAWN


def load_photos(packed: Path | None = None) -> dict[str, Bytes]:
    """The photographs as grey 8-bit arrays, from scikit-image or from a file of `pack_photos`."""
    names = TRAINING_PHOTOS + UNSEEN_PHOTOS
    if packed is not None:
        with np.load(packed) as stored:
            return {name: np.asarray(stored[name], np.uint8) for name in names}
    folder = resources.files("skimage") / "data"
    photos = {}
    for name in names:
        with (folder / f"{name}.png").open("rb") as file:
            photos[name] = np.asarray(Image.open(file).convert("L"), np.uint8)
    return photos


def pack_photos(path: Path) -> None:
    """Write the photographs to one ``.npz``, for a machine without scikit-image."""
    np.savez_compressed(path, allow_pickle=False, **load_photos())


def texture(name: str, size: int, rng: np.random.Generator, photos: Photos) -> Array:
    """A sharp size x size piece of texture ``name``: mean 0, deviation 1, within [-2.5, 2.5]."""
    sharp = _crop(photos[name], size, rng) if name in photos else _DRAWN[name](size, rng)
    return standardised(sharp)


def standardised(values: Array) -> Array:
    """``values`` with mean 0 and standard deviation 1, clipped to [-2.5, 2.5]."""
    centred = values - values.mean()
    return np.asarray(np.clip(centred / max(float(centred.std()), 1e-6), -2.5, 2.5), np.float32)


def blurred(values: Array, sigma: float) -> Array:
    """Gaussian blur of ``sigma`` pixels with mirrored edges; through the FFT, so NumPy suffices."""
    before = int(3 * sigma) + 1
    height, width = values.shape
    after = [before + -(length + 2 * before) % 32 for length in (height, width)]  # for a fast FFT
    padded = np.pad(values, [(before, after[0]), (before, after[1])], mode="symmetric")
    rows, columns = np.fft.fftfreq(padded.shape[0]), np.fft.rfftfreq(padded.shape[1])
    gain = np.exp(-2 * (np.pi * sigma) ** 2 * (rows[:, None] ** 2 + columns[None, :] ** 2))
    spectrum = np.fft.rfft2(padded.astype(np.float32)) * gain.astype(np.float32)
    smooth = np.fft.irfft2(spectrum, s=padded.shape)
    return smooth[before : before + height, before : before + width].astype(np.float32)


def _crop(photo: Bytes, size: int, rng: np.random.Generator) -> Array:
    """A piece of a photograph, shrunk, turned and flipped; mirrored where it is too small."""
    shrink = rng.uniform(1.4, 2.2)
    height, width = photo.shape
    small = Image.fromarray(photo).resize(
        (round(width / shrink), round(height / shrink)), Image.Resampling.LANCZOS
    )
    values = np.rot90(np.asarray(small, np.float32), int(rng.integers(4)))
    if rng.random() < 0.5:
        values = values[:, ::-1]
    short = [max(0, size - length) for length in values.shape]
    values = np.pad(values, [(0, short[0]), (0, short[1])], mode="symmetric")
    best, most = values[:size, :size], -1.0
    for _ in range(4):  # a photograph has empty places (sky); of four pieces take the busiest
        top = int(rng.integers(values.shape[0] - size + 1))
        left = int(rng.integers(values.shape[1] - size + 1))
        piece = values[top : top + size, left : left + size]
        detail = float(np.quantile(np.abs(np.diff(piece)), 0.5) / (piece.std() + 1.0))
        if detail > most:
            best, most = piece, detail
    return best


def _grid(size: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Pixel coordinates turned by a random angle and bent a little by a smooth random field."""
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    coarse = Image.fromarray(rng.standard_normal((8, 8)).astype(np.float32))
    field = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float32)
    bend = rng.uniform(0, 4) * field
    along = np.cos(angle) * x + np.sin(angle) * y + bend
    across = np.cos(angle) * y - np.sin(angle) * x + bend
    return along.astype(np.float32), across.astype(np.float32)


def _noise(size: int, sigma: float, rng: np.random.Generator) -> Array:
    return blurred(rng.standard_normal((size, size)).astype(np.float32), sigma)


def _octaves(size: int, rng: np.random.Generator) -> Array:
    total = np.zeros((size, size), np.float32)
    for sigma, least, most in ((0.7, 0.6, 1.0), (1.4, 0.4, 1.0), (2.8, 0.2, 0.8), (8.0, 0.0, 0.6)):
        total += np.float32(rng.uniform(least, most)) * standardised(_noise(size, sigma, rng))
    return total


def _stripes(size: int, rng: np.random.Generator) -> Array:
    along, _ = _grid(size, rng)
    wave = np.sin(2 * np.pi * along / rng.uniform(4, 11))
    return np.asarray(np.tanh(wave * rng.uniform(3, 8)), np.float32)


def _checks(size: int, rng: np.random.Generator) -> Array:
    along, across = _grid(size, rng)
    period = rng.uniform(6, 14)
    wave = np.sin(2 * np.pi * along / period) * np.sin(2 * np.pi * across / period)
    return np.asarray(np.tanh(wave * 8), np.float32)


def _dots(size: int, rng: np.random.Generator) -> Array:
    fine = rng.uniform(1.0, 1.8)
    band = standardised(_noise(size, fine, rng)) - standardised(_noise(size, 2 * fine, rng))
    return np.asarray(np.tanh((standardised(band) - rng.uniform(-0.8, 0.8)) * 6), np.float32)


def _nearest(size: int, spacing: float, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Distances to the nearest and second nearest of jittered grid points, and a grey per point."""
    count = int(size / spacing) + 3
    jitter, grey = rng.uniform(0, 1, (2, count, count)), rng.uniform(-1, 1, (count, count))
    y, x = np.mgrid[:size, :size].astype(np.float32) / spacing + 1
    first, second = np.full((2, size, size), 9.0)
    owner = np.zeros((size, size))
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            row = np.clip(y.astype(int) + dy, 0, count - 1)
            column = np.clip(x.astype(int) + dx, 0, count - 1)
            away = np.hypot(row + jitter[0, row, column] - y, column + jitter[1, row, column] - x)
            closer = away < first
            second = np.where(closer, first, np.minimum(second, away))
            owner = np.where(closer, grey[row, column], owner)
            first = np.where(closer, away, first)
    return first.astype(np.float32), second.astype(np.float32), owner.astype(np.float32)


def _cells(size: int, rng: np.random.Generator) -> Array:
    first, second, grey = _nearest(size, rng.uniform(6, 12), rng)
    wall = np.tanh((second - first) * 6)
    return np.asarray(wall + rng.uniform(0.2, 0.6) * grey, np.float32)


def _hatch(size: int, rng: np.random.Generator) -> Array:
    total = np.zeros((size, size), np.float32)
    for _ in range(2):
        along, _ = _grid(size, rng)
        total += np.cos(2 * np.pi * along / rng.uniform(5, 10)) > rng.uniform(0.3, 0.7)
    return total


def _rings(size: int, rng: np.random.Generator) -> Array:
    first, _, grey = _nearest(size, rng.uniform(18, 30), rng)
    return np.asarray(np.sign(np.sin(first * rng.uniform(18, 30))) + 0.3 * grey, np.float32)


def _contours(size: int, rng: np.random.Generator) -> Array:
    height = standardised(_noise(size, rng.uniform(8, 14), rng)) * rng.uniform(5, 9)
    return np.asarray(height % 1.0, np.float32)


_DRAWN: dict[str, Callable[[int, np.random.Generator], Array]] = {
    "octaves": _octaves,
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "cells": _cells,
    "hatch": _hatch,
    "rings": _rings,
    "contours": _contours,
}
