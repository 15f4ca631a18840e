"""The networks of the two INT8 benchmarks and their samples: what is calibrated on, what is unseen.

The example UNet has real samples: the 16 shipped scenes, eight to calibrate with and eight that are
never calibrated on, each turned and mirrored in all eight ways; larger ones are mosaics of scenes.
The DETR- and YOLO-like networks have seeded weights (see `networks.py`), and images like those that
their statistics were set from.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import networks
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from roadworthy.core.signature import Signature
from roadworthy.graph.signature import signature_of

NAMES = ("unet", "detr_small", "yolo_small")
TRANSFORMERS = frozenset({"detr_small", "detr"})
WAYS = 8  # to turn and mirror a square

Image = NDArray[np.float32]
Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Exported:
    """A network as every tool gets it.

    Attributes:
        network: names and shapes.
        model: FP32, static, simplified by onnxsim: what a deploy gives to its quantiser, too.
        signature: of the model.
        file: the same, written.
    """

    network: networks.Network
    model: ir.Model
    signature: Signature
    file: Path


def export(name: str, size: int | None, folder: Path) -> Exported:
    """Export a network at `size` x `size`, or at its own shape, into a folder."""
    import onnx
    import onnxsim

    network = networks.NETWORKS[name]
    shape = network.shape if size is None else (network.shape[0], size, size)
    model, _ = networks.exported(network, network.module(), (1, *shape))
    # ONNX Runtime's and ModelOpt's pages ask for a simplified graph, and it tells all the types.
    simple, _ = onnxsim.simplify(ir.to_proto(model))
    file = folder / f"{name}.onnx"
    onnx.save(simple, file)
    found = ir.load(file)
    return Exported(network, found, signature_of(found), file)


def write_samples(folder: Path, arrays: Iterator[Image]) -> Path:
    """Write one .npy a sample, each 1 x C x H x W as the input takes it; returns `folder`."""
    folder.mkdir(parents=True)
    for index, array in enumerate(arrays):
        np.save(folder / f"{index:04d}.npy", array)
    return folder


def calibration_images(network: networks.Network, size: int | None, count: int) -> Iterator[Image]:
    """Yield `count` samples to calibrate with."""
    if network.name == "unet":
        for image, _ in scenes(False, size or network.shape[1], count):
            yield image
        return
    for seed in range(count):
        yield network.images(1, size and (size, size), seed=1000 + seed)


def unseen_images(
    network: networks.Network, size: int | None, count: int
) -> Iterator[tuple[Image, Mask | None]]:
    """Yield `count` samples that no tool has seen, with the right mask where there is one."""
    if network.name == "unet":
        yield from scenes(True, size or network.shape[1], count)
        return
    for seed in range(count):
        yield network.images(1, size and (size, size), seed=5000 + seed), None


def scenes(unseen: bool, size: int, count: int) -> Iterator[tuple[Image, Mask]]:
    """Yield 1 x 1 x size x size images in [0, 1] and 1 x size x size masks (0 or 1).

    Up to 256² they are crops of turned scenes, beyond that mosaics of them. The first 64 of 256²
    are all different; so are thousands of mosaics.
    """
    pictures, masks = _shipped()
    own = range(len(pictures) // 2, len(pictures)) if unseen else range(len(pictures) // 2)
    tiles = -(-size // pictures.shape[1])
    for index in range(count):
        rng = np.random.default_rng([int(unseen), index])
        image = np.zeros((tiles * pictures.shape[1],) * 2, np.uint8)
        mask = np.zeros_like(image)
        for row in range(tiles):
            for column in range(tiles):
                alone = tiles == 1
                scene = own[index % len(own)] if alone else int(rng.choice(own))
                way = index // len(own) % WAYS if alone else int(rng.integers(WAYS))
                place = tuple(
                    slice(at * pictures.shape[1], (at + 1) * pictures.shape[1])
                    for at in (row, column)
                )
                image[place] = turned(pictures[scene], way)
                mask[place] = turned(masks[scene], way)
        top, left = (int(at) for at in rng.integers(0, len(image) - size + 1, 2))
        cut = (slice(top, top + size), slice(left, left + size))
        yield (image[cut].astype(np.float32) / 255.0)[None, None], mask[cut][None]


def turned(picture: Mask, way: int) -> Mask:
    """Return one of the eight ways to turn and mirror a square."""
    found = np.rot90(picture, way % 4)
    return found[:, ::-1] if way >= 4 else found


def _shipped() -> tuple[Mask, Mask]:
    """Return the example's images and masks, each N x 256 x 256."""
    example = str(networks.EXAMPLE)
    if example not in sys.path:
        sys.path.append(example)
    from evaluate import load_samples

    pictures, masks = load_samples()
    return pictures, masks
