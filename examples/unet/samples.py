"""Write the shipped samples: 16 scenes of unseen textures and a seed used nowhere else.

    python samples.py

writes ``scenes/*.png`` (8-bit grey), ``masks/*.png`` of the same names (0 or 255), and
``scenes/preprocess.json``, which says how a picture becomes the network's input.
"""

from __future__ import annotations

import json
from pathlib import Path

import textures
from PIL import Image
from scenes import scene

HERE = Path(__file__).parent
SEED_SAMPLES = 3003
COUNT = 16

PREPROCESS = {
    "schema": "roadworthy/preprocess/1",
    "inputs": {
        "image": [
            {"op": "decode"},
            {"op": "colour", "to": "grey"},
            {"op": "scale", "by": 1 / 255},
            {"op": "layout", "to": "CHW"},
            {"op": "dtype", "to": "float32"},
        ]
    },
    "task": {
        "kind": "segmentation",
        "output": "logits",
        "classes": ["background", "object"],
        "colours": ["#00000000", "#ff7f0e"],
    },
}


def main() -> None:
    """Write the samples beside this file, over those that are there."""
    photos = textures.load_photos()
    for folder in ("scenes", "masks"):
        (HERE / folder).mkdir(exist_ok=True)
    for number in range(COUNT):
        image, mask = scene(SEED_SAMPLES, number, textures.UNSEEN, photos, size=256)
        name = f"scene-{number:02d}.png"
        Image.fromarray(image).save(HERE / "scenes" / name, optimize=True)
        Image.fromarray(mask * 255).save(HERE / "masks" / name, optimize=True)
    text = json.dumps(PREPROCESS, indent=2) + "\n"
    (HERE / "scenes" / "preprocess.json").write_text(text)


if __name__ == "__main__":
    main()
