"""The benchmarks' networks: exported files agree with PyTorch, and the answers mean something."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch

from roadworthy.core.signature import Dim

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SIDES = {2: Dim("height", 64, 256, 32), 3: Dim("width", 64, 256, 32)}


@pytest.fixture(scope="module")
def networks() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("networks")
    finally:
        sys.path.remove(str(BENCHMARKS))


def tiny(networks: ModuleType, name: str) -> torch.nn.Module:
    """The network's architecture with few channels, its weights seeded and settled as usual."""
    key = "unet64" if name == "unet" else name
    return replace(networks.NETWORKS[key], make=networks.TINY[key]).module()


def answers(model: ir.Model, x: Any) -> dict[str, Any]:
    content = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": x}), strict=True))


CASES = [
    ("resnet50", None, [(1, 64, 64)]),
    ("resnet50", "batch", [(2, 64, 64), (5, 64, 64), (1, 64, 64)]),
    ("unet", None, [(1, 64, 96)]),
    ("unet", "own", [(1, 64, 64), (1, 71, 99)]),
    ("detr", None, [(1, 64, 96)]),
    ("detr", "own", [(1, 64, 64), (1, 128, 96), (1, 64, 224)]),
    ("yolo", None, [(1, 64, 96)]),
    ("yolo", "batch", [(2, 64, 96), (3, 64, 96)]),
]


@pytest.mark.parametrize(("name", "varying", "sizes"), CASES)
def test_one_exported_file_agrees_with_pytorch_at_every_size(
    networks: Any, name: str, varying: str | None, sizes: list[tuple[int, int, int]]
) -> None:
    network, module = networks.NETWORKS[name], tiny(networks, name)
    axes = {None: None, "batch": networks.BATCHES, "own": network.axes}[varying]
    shapes = [(batch, network.shape[0], *side) for batch, *side in sizes]
    model, signature = networks.exported(network, module, shapes[0], axes)
    assert model.opset_imports[""] == 17
    assert set(signature.dims) == {dim.name for dim in (axes or {}).values()}
    for shape in shapes:
        x = networks.images(shape, 3)
        errors = networks.errors(network, answers(model, x), networks.truth(module, network, x))
        # FP32 on both sides; 5e-5 is forty times what the worst of these networks shows.
        assert max(errors.values()) < 5e-5, errors


@pytest.mark.parametrize("name", ["resnet50", "unet", "detr", "yolo"])
def test_answers_depend_on_the_image_and_survive_fp16(networks: Any, name: str) -> None:
    network, module = networks.NETWORKS[name], tiny(networks, name)
    one, other = (networks.images((1, network.shape[0], 64, 96), seed) for seed in (1, 2))
    first, second = (networks.truth(module, network, x) for x in (one, other))
    for output in network.outputs:
        assert float(first[output].std()) > 0.01
        assert float((first[output] - second[output]).norm() / first[output].norm()) > 1e-3
    half = networks.truth(module.half(), network, one.astype("float16"))
    rounded = {output: half[output].float().numpy() for output in network.outputs}
    assert max(networks.errors(network, rounded, first).values()) < 1e-2


def test_resnet50_and_yolov5l_have_the_published_number_of_parameters(networks: Any) -> None:
    def parameters(name: str) -> int:
        return sum(weight.numel() for weight in networks.NETWORKS[name].make().parameters())

    assert parameters("resnet50") == 25_557_032
    assert round(parameters("yolo") / 1e6, 1) == 46.6  # Ultralytics states 46.5 M for YOLOv5l 6.0


def test_the_same_weights_every_time(networks: Any) -> None:
    one, other = (networks.NETWORKS["yolo_small"].module().state_dict() for _ in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)
