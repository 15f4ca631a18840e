"""The networks of every benchmark, in one place, with weights that make sense to compare.

Random weights let the activations of a deep network vanish or explode; then every engine "agrees".
So the weights are seeded, and BatchNorm's statistics are set from images like those the benchmark
uses (`settle`), as training would have: each layer's activations have unit scale. Residual branches
are weak and SiLU works where it is alive (`network_parts`); without that a random network amplifies
rounding like noise (FP16 was 5 % off in ResNet-50 and 17 % in YOLO, and is 0.3 % now). The example
UNet comes with its trained weights. `python benchmarks/networks.py` prints what each one is like.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx_ir as ir
import torch
from network_parts import Detr, Yolo, resnet, resnet_body
from numpy.typing import NDArray
from torch import nn

from roadworthy.core.signature import Dim, Signature
from roadworthy.graph.signature import signature_of

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "unet"
INPUT = "image"
OPSET = 17
"""The highest that TensorRT 8.6 reads."""

SETTLE_SIZE = 128
BATCHES = {0: Dim("batch", 1, 16)}


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes:
        name: its key in `NETWORKS`.
        make: returns it with seeded weights; `module()` also settles it.
        shape: one image, channels x height x width.
        outputs: names, in order.
        axes: the input's axes that may vary, with their ranges.
        follows: the first output has the input's sizes there (a mask): the same axes vary.
        columns: parts of an output's last axis that differ in kind: "output/part": (from, to).
        trained: its weights mean something already.
    """

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    outputs: tuple[str, ...]
    axes: Mapping[int, Dim] = field(default_factory=lambda: BATCHES)
    columns: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    follows: bool = False
    trained: bool = False

    def module(self) -> nn.Module:
        """Return the network in eval mode, its weights the same each time."""
        torch.manual_seed(0)
        module = self.make().eval()
        return module if self.trained else settle(module, self.shape[0])

    def images(
        self, batch: int = 1, size: tuple[int, int] | None = None, seed: int = 1
    ) -> NDArray[np.float32]:
        """Return images of its shape, or of another height and width; see `images`."""
        return images((batch, self.shape[0], *(size or self.shape[1:])), seed)


def images(shape: tuple[int, ...], seed: int = 1) -> NDArray[np.float32]:
    """Return images N x C x H x W in [0, 1]: large patches of colour, with noise on them.

    Noise alone averages out in deep layers, so that all images would look the same there.
    """
    generator = np.random.default_rng(seed)
    cell = 32
    rows, columns = (-(-side // cell) for side in shape[2:])
    patches = generator.random((*shape[:2], rows, columns), np.float32)
    large = patches.repeat(cell, 2).repeat(cell, 3)[:, :, : shape[2], : shape[3]]
    return np.asarray(0.7 * large + 0.3 * generator.random(shape, np.float32), np.float32)


def settle(module: nn.Module, channels: int) -> nn.Module:
    """Set every BatchNorm's statistics from four seeded images of 128²; returns `module`.

    In training mode each layer normalises by its own batch, so that one pass sees the scale which
    it will have afterwards. Affine weights are varied a little: nothing is left trivial.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.data.mul_(torch.empty_like(norm.weight).uniform_(0.7, 1.3))
        norm.bias.data.add_(torch.randn_like(norm.bias), alpha=0.1)
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        module(torch.from_numpy(images((4, channels, SETTLE_SIZE, SETTLE_SIZE), 0)))
    return module.eval()


@functools.cache
def example() -> ModuleType:
    """Return the example UNet's module; it isn't a package."""
    spec = importlib.util.spec_from_file_location("example_unet", EXAMPLE / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trained_unet() -> nn.Module:
    """Return the example UNet with its trained weights."""
    from safetensors.torch import load_file

    module: nn.Module = example().unet()
    module.load_state_dict(load_file(EXAMPLE / "unet.safetensors"))
    return module


def unet_of(base: int) -> nn.Module:
    """Return the example's architecture with other widths, seeded weights."""
    module: nn.Module = example().UNet(base)
    return module


def detr(queries: int = 100) -> nn.Module:
    """Return DETR with ResNet-50; 41 M parameters."""
    return Detr(resnet_body(), queries=queries)


def detr_small() -> nn.Module:
    """Return DETR with a thin backbone and 3 + 3 layers of width 128; 50 queries."""
    return Detr(resnet_body((1, 1, 1, 1), 32), 1024, 128, 3, 50)


_COARSE = {2: Dim("height", 256, 1024, 32), 3: Dim("width", 256, 1024, 32)}
_FINE = {2: Dim("height", 64, 512), 3: Dim("width", 64, 512)}
_CELLS = {"cells/boxes": (0, 4), "cells/confidences": (4, 85)}
_YOLO_SMALL = functools.partial(Yolo, 24, 1)
_UNET28 = functools.partial(unet_of, 28)  # 5.9 M parameters
_UNET64 = functools.partial(unet_of, 64)

NETWORKS = {
    network.name: network
    for network in (
        Network("resnet50", resnet, (3, 224, 224), ("logits",)),
        Network(
            "unet", trained_unet, (1, 256, 256), ("logits",), _FINE, follows=True, trained=True
        ),
        Network("unet28", _UNET28, (1, 512, 512), ("logits",), follows=True),
        Network("unet64", _UNET64, (1, 512, 512), ("logits",), follows=True),
        Network("detr", detr, (3, 800, 800), ("classes", "boxes"), _COARSE),
        Network("detr_small", detr_small, (3, 320, 320), ("classes", "boxes"), _COARSE),
        Network("yolo", Yolo, (3, 352, 416), ("cells",), columns=_CELLS),
        Network("yolo_small", _YOLO_SMALL, (3, 320, 320), ("cells",), columns=_CELLS),
    )
}


TINY: dict[str, Callable[[], nn.Module]] = {
    "resnet50": functools.partial(resnet, (1, 1, 1, 1), 8),
    "unet64": functools.partial(unet_of, 4),
    "detr": lambda: Detr(resnet_body((1, 1, 1, 1), 8), 256, 32, 2, 10),
    "yolo": functools.partial(Yolo, 8, 1),
}
"""The same architectures with few channels: for tests and dry runs."""


def exported(
    network: Network,
    module: nn.Module,
    shape: tuple[int, ...],
    axes: Mapping[int, Dim] | None = None,
    opset: int = OPSET,
) -> tuple[ir.Model, Signature]:
    """Export by PyTorch's TorchScript exporter, which writes opset 17 and lower by itself.

    Args:
        network: says the names.
        module: in eval mode, on the CPU or a GPU.
        shape: the input's, batch first; what isn't in `axes` is fixed at that.
        axes: the input's axes that vary, with their ranges; None fixes all.
        opset: of the file.

    Returns:
        The model and its signature with those ranges.
    """
    varying = {axis: dim.name for axis, dim in (axes or {}).items()}
    dynamic = {INPUT: varying} if varying else {}
    for index, name in enumerate(network.outputs if varying else ()):
        follows = network.follows and index == 0
        kept = {axis: dim for axis, dim in varying.items() if axis == 0 or follows}
        dynamic |= {name: kept} if kept else {}
    device = next(module.parameters()).device
    x = torch.from_numpy(images(shape)).to(device)
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module,
            (x,),
            path,
            opset_version=opset,
            dynamo=False,
            input_names=[INPUT],
            output_names=list(network.outputs),
            dynamic_axes=dynamic or None,
        )
        # By way of a proto: its weights don't lie in a file that is gone afterwards.
        model = ir.from_proto(ir.to_proto(ir.load(path)))
    ranges = {dim.name: dim for dim in (axes or {}).values()}
    return model, signature_of(model).with_ranges(ranges)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The exporters tell of deprecations and of packages that nobody needs here."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def truth(module: nn.Module, network: Network, x: NDArray[np.float32]) -> dict[str, torch.Tensor]:
    """Return PyTorch's outputs by name, on the CPU; switching TF32 off is the caller's business."""
    device = next(module.parameters()).device
    with torch.no_grad():
        found = module(torch.from_numpy(x).to(device))
    outputs = found if isinstance(found, tuple) else (found,)
    return {name: y.cpu() for name, y in zip(network.outputs, outputs, strict=True)}


def errors(
    network: Network, answers: Mapping[str, NDArray[np.float32]], wanted: Mapping[str, torch.Tensor]
) -> dict[str, float]:
    """Return the relative L2 error of every output, or of its columns that differ in kind."""
    found = {}
    for name in network.outputs:
        ours, theirs = answers[name].astype(np.float64), wanted[name].double().numpy()
        parts = {k: v for k, v in network.columns.items() if k.startswith(f"{name}/")}
        for part, (low, high) in (parts or {name: (0, ours.shape[-1])}).items():
            difference = np.linalg.norm(ours[..., low:high] - theirs[..., low:high])
            found[part] = float(difference / np.linalg.norm(theirs[..., low:high]))
    return found


def main() -> None:
    """Print each network's size and how lively its answers are."""
    for name, network in NETWORKS.items():
        module = network.module()
        parameters = sum(weight.numel() for weight in module.parameters()) / 1e6
        one, other = (truth(module, network, network.images(seed=seed)) for seed in (1, 2))
        print(f"{name}: {parameters:.2f} M parameters, image {network.shape}")
        for output in network.outputs:
            y = one[output]
            moved = float((y - other[output]).norm() / y.norm())
            print(
                f"  {output} {tuple(y.shape)}: mean {y.mean():.3f}, deviation {y.std():.3f}, "
                f"another image moves it by {moved:.1%}"
            )


if __name__ == "__main__":
    main()
