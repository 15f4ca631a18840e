"""Each CPU backend through roadworthy, beside the same runtime called by hand.

    python benchmarks/backends_cpu.py [--seconds 8] [--rounds 3] [--out benchmarks/results/…json]

The example UNet (256² and 512²) and three networks written here in plain PyTorch with random
weights: one like ResNet-50, a small one like DETR, one like YOLO. FP32, batch 1, one and two
threads. Ours runs as every engine is timed: in a process of its own, through `Session.run`. The raw
runtime runs in this process with the same settings, called as its documentation shows. Both are
timed in alternating blocks, each at rest while the other runs; two openings of the same bytes can
differ by a percent for good, so every round opens both anew, and the ratio (ours over raw, aim: at
most 1.02 where a run takes over 5 ms) is the median over rounds. A backend without a by-hand call
here (`--backends tvm`) is timed alone.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
import torch.nn.functional as fn
from safetensors.torch import load_file
from torch import nn

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.registry import find
from roadworthy.core.cpus import usable_cpus
from roadworthy.core.files import write_text
from roadworthy.core.jsonable import dumps, plain
from roadworthy.core.signature import Feed
from roadworthy.core.target import Target
from roadworthy.graph.signature import signature_of
from roadworthy.measure.environment import environment
from roadworthy.measure.paired import compare, measure
from roadworthy.measure.subject import EngineSubject, LocalSubject

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parent / "examples" / "unet"
AIM, AIM_FROM_MS = 1.02, 5.0


def conv(inside: int, outside: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, normalisation, activation."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outside),
        nn.SiLU(),
    )


class Bottleneck(nn.Module):
    """ResNet's block: 1×1, 3×3, 1×1, and the way around."""

    def __init__(self, inside: int, middle: int, stride: int) -> None:
        super().__init__()
        outside = 4 * middle
        self.body = nn.Sequential(
            conv(inside, middle, 1), conv(middle, middle, 3, stride), conv(middle, outside, 1)
        )
        same = stride == 1 and inside == outside
        self.around = nn.Identity() if same else conv(inside, outside, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Both ways, added."""
        return fn.relu(self.body(x) + self.around(x))


def stages(blocks: tuple[int, ...], width: int) -> nn.Sequential:
    """Return ResNet's body: a stem and stages of bottlenecks, each half the size."""
    layers: list[nn.Module] = [conv(3, width, 7, 2), nn.MaxPool2d(3, 2, 1)]
    inside = width
    for number, count in enumerate(blocks):
        middle = width << number
        for index in range(count):
            layers.append(Bottleneck(inside, middle, 2 if number and not index else 1))
            inside = 4 * middle
    return nn.Sequential(*layers)


def resnet() -> nn.Module:
    """ResNet-50's shape: 3, 4, 6, 3 bottlenecks, 1,000 classes."""
    body = stages((3, 4, 6, 3), 64)
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


class Attention(nn.Module):
    """Attention of 8 heads, a perceptron, and normalisation before each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ask, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor, memory: torch.Tensor | None = None) -> torch.Tensor:
        """Look at `memory`, or at itself."""
        normal = self.before(x)
        seen = normal if memory is None else memory

        def heads(y: torch.Tensor) -> torch.Tensor:
            return y.unflatten(-1, (8, -1)).transpose(1, 2)

        found = fn.scaled_dot_product_attention(
            heads(self.ask(normal)), heads(self.key(seen)), heads(self.value(seen))
        )
        x = x + self.out(found.transpose(1, 2).flatten(2))
        return x + self.mlp(self.between(x))


class Detr(nn.Module):
    """A backbone, 3 encoder and 3 decoder layers, 50 queries; classes and boxes."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.body = stages((1, 1, 1, 1), 32)
        self.project = nn.Conv2d(1024, width, 1)
        self.place = nn.Parameter(torch.randn(1, 100, width) * 0.02)
        self.queries = nn.Parameter(torch.randn(1, 50, width))
        self.encoder = nn.ModuleList(Attention(width) for _ in range(3))
        self.cross = nn.ModuleList(Attention(width) for _ in range(3))
        self.own = nn.ModuleList(Attention(width) for _ in range(3))
        self.classes, self.boxes = nn.Linear(width, 92), nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores and boxes of every query."""
        memory = self.project(self.body(x)).flatten(2).transpose(1, 2) + self.place
        for layer in self.encoder:
            memory = layer(memory)
        found = self.queries
        for cross, own in zip(self.cross, self.own, strict=True):
            found = own(cross(found, memory))
        return self.classes(found), self.boxes(found).sigmoid()


class Yolo(nn.Module):
    """A backbone of halving stages, the way up again, and a head at three sizes."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        sizes = [width << number for number in range(5)]
        self.stem = conv(3, sizes[0], 3, 2)
        self.down = nn.ModuleList(
            nn.Sequential(conv(a, b, 3, 2), conv(b, a, 1), conv(a, b)) for a, b in pairwise(sizes)
        )
        self.up = nn.ModuleList(conv(sizes[n] + sizes[n + 1], sizes[n]) for n in (3, 2))
        self.heads = nn.ModuleList(nn.Conv2d(sizes[n], 85, 1) for n in (4, 3, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return every cell's box, objectness and classes, [1, cells, 85]."""
        kept = [self.stem(x)]
        for layer in self.down:
            kept.append(layer(kept[-1]))
        path = [kept[4]]
        for layer, side in zip(self.up, (kept[3], kept[2]), strict=True):
            larger = fn.interpolate(path[-1], scale_factor=2.0, mode="nearest")
            path.append(layer(torch.cat([larger, side], 1)))
        cells = [head(y).flatten(2) for head, y in zip(self.heads, path, strict=True)]
        return torch.cat(cells, 2).transpose(1, 2).sigmoid()


def unet() -> nn.Module:
    """The example with its trained weights."""
    spec = importlib.util.spec_from_file_location("example_unet", EXAMPLE / "model.py")
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    module: nn.Module = example.unet()
    module.load_state_dict(load_file(EXAMPLE / "unet.safetensors"))
    return module


def exported(build: Callable[[], nn.Module], channels: int, size: int) -> tuple[ir.Model, Feed]:
    """Export a network at one size and return one input."""
    torch.manual_seed(0)
    image = torch.rand(1, channels, size, size)
    with quiet():
        program = torch.onnx.export(build().eval(), (image,), dynamo=True, opset_version=20)
    assert program is not None
    return program.model, {str(program.model.graph.inputs[0].name): image.numpy()}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The exporter tells of packages that nobody needs here."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


NETWORKS: dict[str, Callable[[], tuple[ir.Model, Feed]]] = {
    "UNet 256²": partial(exported, unet, 1, 256),
    "UNet 512²": partial(exported, unet, 1, 512),
    "ResNet-50-like 224²": partial(exported, resnet, 3, 224),
    "DETR-like 320²": partial(exported, Detr, 3, 320),
    "YOLO-like 320²": partial(exported, Yolo, 3, 320),
}


def by_hand_onnxruntime(content: bytes, feed: Feed, threads: int) -> Callable[[], Any]:
    """Return one call of ONNX Runtime with the settings that roadworthy states."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feed)


def by_hand_openvino(content: bytes, feed: Feed, threads: int) -> Callable[[], Any]:
    """Return one call of OpenVINO with the settings that roadworthy states."""
    # Not `import openvino`, which tells Google Analytics.
    from roadworthy.backends.openvino.runtime import ov

    core = ov.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "EXECUTION_MODE_HINT": "ACCURACY",
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
        "ENABLE_HYPER_THREADING": True,
    }
    request = core.compile_model(core.read_model(content), "CPU", settings).create_infer_request()

    def call() -> list[Any]:
        return list(request.infer(feed, share_inputs=True).values())

    return call


BY_HAND = {"onnxruntime": by_hand_onnxruntime, "openvino": by_hand_openvino}


def run_case(
    model: ir.Model, feed: Feed, backend: str, threads: int, seconds: float, rounds: int
) -> dict[str, Any]:
    """Time one network on one backend and return the account."""
    target = Target(backend)
    options = CompileOptions(threads=threads)
    engine = find(backend).compile(model, signature_of(model), target, options)
    if backend not in BY_HAND:
        alone = measure(EngineSubject(backend, engine, feed, threads), seconds=seconds)
        return {"ours": plain(alone), "over_raw": None}
    check(engine, feed, BY_HAND[backend])
    found = []
    for _ in range(rounds):
        call = BY_HAND[backend](next(iter(engine.files.values())), feed, threads)
        raw = LocalSubject(f"{backend} by hand", call, threads)
        ours = EngineSubject(f"{backend} through roadworthy", engine, feed, threads)
        found.append(compare(ours, raw, seconds=seconds))
    ratios = sorted(1 / one.ratio for one in found)
    slow = found[0].baseline.p50_ms > AIM_FROM_MS
    return {
        "ours": plain(found[0].subject),
        "raw": plain(found[0].baseline),
        "over_raw": round(median(ratios), 4),
        "rounds": [round(ratio, 4) for ratio in ratios],
        "aim": AIM if slow else None,
        "met": median(ratios) <= AIM if slow else None,
    }


def check(engine: Engine, feed: Feed, by_hand: Callable[..., Callable[[], Any]]) -> None:
    """Both must do the same work before their times mean anything."""
    raw = by_hand(next(iter(engine.files.values())), feed, engine.options.threads)()
    with engine.open() as session:
        for ours, theirs in zip(session.run(feed).values(), raw, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="of timed work, each round")
    parser.add_argument("--rounds", type=int, default=3, help="freshly opened, each case")
    parser.add_argument("--backends", default=",".join(BY_HAND))
    parser.add_argument("--networks", default=",".join(NETWORKS), help="of those, by name")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "backends_cpu.json")
    asked = parser.parse_args()
    account, rows = environment(), []
    for name in asked.networks.split(","):
        model, feed = NETWORKS[name]()
        for backend in asked.backends.split(","):
            for threads in sorted({1, min(2, usable_cpus())}):
                row = run_case(model, feed, backend, threads, asked.seconds, asked.rounds)
                rows.append({"network": name, "backend": backend, "threads": threads, **row})
                ratio = "alone" if row["over_raw"] is None else f"{row['over_raw']:.4f} of raw"
                print(f"{name:20} {backend:12} {threads}  {row['ours']['p50_ms']:8.2f} ms  {ratio}")
    write_text(asked.out, dumps({"environment": account, "rows": rows}))
    return 0 if all(row.get("met") is not False for row in rows) else 5


if __name__ == "__main__":
    sys.exit(main())
