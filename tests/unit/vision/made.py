"""Pictures and contracts that the tests here are made of."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from roadworthy.vision.preprocess import Preprocess

SCHEMA = "roadworthy/preprocess/1"
TASK = {
    "kind": "segmentation",
    "output": "logits",
    "classes": ["background", "object"],
    "colours": ["#00000000", "#ff7f0e"],
}


def contract(*middle: dict[str, Any], colour: str = "rgb", layout: str = "CHW") -> Preprocess:
    """Return a contract: decode, colour, the given steps, layout, float32."""
    return Preprocess.from_json(
        {"schema": SCHEMA, "inputs": {"image": steps(*middle, colour=colour, layout=layout)}}
    )


def steps(
    *middle: dict[str, Any], colour: str = "rgb", layout: str = "CHW"
) -> list[dict[str, Any]]:
    return [
        {"op": "decode"},
        {"op": "colour", "to": colour},
        *middle,
        {"op": "layout", "to": layout},
        {"op": "dtype", "to": "float32"},
    ]


def picture(height: int = 7, width: int = 5, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: np.ndarray | Image.Image, form: str = "PNG", **options: Any) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def ran(preprocess: Preprocess, image: np.ndarray | Image.Image) -> np.ndarray:
    """Return what the network would get for a picture."""
    return np.asarray(preprocess.apply_bytes(encoded(image), "picture.png")["image"])
