"""Score the shipped weights on the shipped scenes; every number from the files, on the CPU.

    python evaluate.py

prints JSON: foreground IoU of the network, and of the best threshold on intensity and on
sharpness (the local energy of what a small blur takes away: the hand-made answer to this task).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from metrics import best_threshold, iou
from model import unet
from PIL import Image
from safetensors.torch import load_file
from textures import Bytes, blurred
from train import predict

HERE = Path(__file__).parent


def load_samples(folder: Path = HERE) -> tuple[Bytes, Bytes]:
    """The shipped images (0..255) and masks (0 or 1), uint8, each 16 x 256 x 256."""
    paths = sorted((folder / "scenes").glob("*.png"))
    images = np.stack([np.asarray(Image.open(path), np.uint8) for path in paths])
    masks = np.stack([np.asarray(Image.open(folder / "masks" / path.name)) for path in paths])
    return images, (masks > 127).astype(np.uint8)


def sharpness(images: Bytes, reach: float = 4.0) -> Bytes:
    """Local root mean square of detail finer than a pixel's blur, each image scaled to 0..255."""
    maps = []
    for image in images:
        grey = image.astype(np.float32) / 255.0
        energy = np.sqrt(np.maximum(blurred((grey - blurred(grey, 1.0)) ** 2, reach), 0.0))
        maps.append(np.round(energy / energy.max() * 255.0).astype(np.uint8))
    return np.stack(maps)


def main() -> None:
    """Print the scores as one JSON document."""
    images, masks = load_samples()
    model = unet()
    model.load_state_dict(load_file(HERE / "unet.safetensors"))
    result = {
        "scenes": len(images),
        "foreground": float(masks.mean()),
        "iou": iou(predict(model, images, torch.device("cpu")), masks),
        "threshold_iou": best_threshold(images, masks),
        "sharpness_threshold_iou": best_threshold(sharpness(images), masks),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
