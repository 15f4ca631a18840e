"""Small networks as files, and what is known of them before a target is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from roadworthy.core.samples import Samples
from roadworthy.core.signature import Array, Feed
from roadworthy.pipeline.account import Evidence
from roadworthy.pipeline.lowering import Lowering
from roadworthy.pipeline.request import make_request
from roadworthy.source.onnx.source import OnnxSource
from roadworthy.source.opening import open_source
from tests.models import normal, proto

_PADS = "pads = [1, 1, 1, 1]"
# Between convolutions that stay in float, a MatMul in INT8.
MATMUL = f"""g (float[1, 8, 8, 8] x) => (float[1, 8, 8, 8] y) {{
    [first] a = Conv<{_PADS}>(x, k1) [r1] b = Relu(a)
    [c2] c = Conv<{_PADS}>(b, k2) [r2] d = Relu(c)
    [mm] m = MatMul(d, w) [r3] e = Relu(m)
    [c3] f = Conv<{_PADS}>(e, k3) [r4] h = Relu(f) [last] y = Conv<{_PADS}>(h, k4)
}}"""
# The example UNet in small: OpenVINO computes it wrongly with signed activations.
UNET = f"""g (float[1, 8, 16, 16] x) => (float[1, 8, 16, 16] y) {{
    [first] a = Conv<{_PADS}>(x, k1) [r1] b = Relu(a)
    [c2] c = Conv<{_PADS}>(b, k2, b2) [r2] d = Relu(c)
    [pool] e = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(d)
    [c3] f = Conv<{_PADS}>(e, k3, b3) [r3] h = Relu(f)
    [up] u = ConvTranspose<strides = [2, 2]>(h, k4, b4)
    [skip] s = Concat<axis = 1>(u, d)
    [c5] i = Conv<{_PADS}>(s, k5, b5) [r5] j = Relu(i) [last] y = Conv<{_PADS}>(j, k6)
}}"""
# Nothing to quantise at all, and nothing that could be.
PLAIN = "g (float[2, 8] x) => (float[2, 8] y) { a = Exp(x) b = Relu(a) y = Add(b, x) }"
WHOLE = "g (int64[2, 8] x) => (int64[2, 8] y) { a = Abs(x) y = Add(a, x) }"


def matmul_weights() -> dict[str, Array]:
    """Return the weights of MATMUL."""
    made = {f"k{i}": normal(8, 8, 3, 3, seed=i) * 0.2 for i in range(1, 5)}
    return made | {"w": normal(8, 8, seed=9) * 0.3}


def unet_weights() -> dict[str, Array]:
    """Return the weights of UNET."""
    shapes = {"k1": (8, 8, 3, 3), "k2": (8, 8, 3, 3), "k3": (16, 8, 3, 3), "k4": (16, 8, 2, 2)}
    shapes |= {"k5": (8, 16, 3, 3), "k6": (8, 8, 3, 3)}
    made = {name: normal(*shape, seed=i) * 0.2 for i, (name, shape) in enumerate(shapes.items())}
    biases = {"b2": 8, "b3": 16, "b4": 8, "b5": 8}
    return made | {name: normal(size, seed=20 + i) for i, (name, size) in enumerate(biases.items())}


def write(path: Path, graph: str, weights: Mapping[str, Array] | None = None) -> Path:
    """Write a network as ONNX."""
    onnx.save(onnx.shape_inference.infer_shapes(proto(graph, weights)), path)
    return path


def feeds(count: int = 6, *shape: int, seed: int = 100) -> list[Feed]:
    """Return samples for the networks; (1, 8, 8, 8) without a shape."""
    return [{"x": normal(*(shape or (1, 8, 8, 8)), seed=seed + i)} for i in range(count)]


def write_folder(path: Path, given: Sequence[Feed]) -> Path:
    """Write samples as a folder of .npz."""
    path.mkdir()
    for index, feed in enumerate(given):
        np.savez(path / f"s{index}.npz", **feed)
    return path


def evidence_of(model: Path, given: Sequence[Feed]) -> Evidence:
    """Return what a deploy knows before it builds; its answers are the caller's to close."""
    source = open_source(str(model))
    assert isinstance(source, OnnxSource)
    samples = Samples.of_arrays(given)
    prepared = source.prepare(samples, (), (), lambda *_: None)
    return Evidence(source.description, samples, prepared, prepared.model, ())


def lowering_of(evidence: Evidence, *targets: str, **options: object) -> Lowering:
    """Return the lowering of a deploy of int8, or what `options` say."""
    given = {"precision": "int8", "method": "minmax", "threads": 1, **options}
    request = make_request("model.onnx", "samples", targets=targets or ("onnxruntime",), **given)
    return Lowering(request, evidence, evidence.samples)


class Told:
    """Counts what a progress was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, what: str, share: float) -> None:
        if not self.said or self.said[-1] != what:
            self.said.append(what)
