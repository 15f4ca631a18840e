"""FP16 graphs of a trained UNet, a DETR and a YOLO, from both exporters, against FP32 and FP64.

ONNX Runtime's CPU rounds every tensor as FP16 does and adds up in FP32: right for the graph and its
rounding, no proof for a device.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx_ir as ir
import pytest
import torch
from PIL import Image

from roadworthy.core.signature import Array
from roadworthy.graph.signature import signature_of
from roadworthy.precision.half import plan_half, to_half
from roadworthy.precision.plan import PrecisionPlan
from roadworthy.precision.typed import check
from tests.unit.precision.half_made import ranges_of, relative, run

ROOT = Path(__file__).resolve().parents[3]
TOLERANCE = 2e-3
EXPORTERS = ("TorchScript, opset 17", "torch.export")


@pytest.fixture(scope="module")
def networks() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield importlib.import_module("networks")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def small(networks: ModuleType, name: str) -> torch.nn.Module:
    """The architecture with few channels and seeded weights; the UNet trained, as it ships."""
    parts = importlib.import_module("network_parts")
    torch.manual_seed(0)
    if name == "unet":
        return networks.trained_unet().eval()
    make = {
        "detr": lambda: parts.Detr(parts.resnet_body((1, 1, 1, 1), 8), 256, 32, 2, 10),
        # With 8 channels and random weights even PyTorch's own .half() is 2.3e-3 off.
        "yolo": lambda: parts.Yolo(24, 1),
    }
    return networks.settle(make[name](), networks.NETWORKS[name].shape[0])


def picture(networks: ModuleType, name: str) -> Array:
    """A crop of a real scene for the UNet, patches of colour for the others."""
    if name == "unet":
        with Image.open(ROOT / "examples" / "unet" / "scenes" / "scene-05.png") as image:
            grey = np.asarray(image, np.float32)[:96, :96] / 255
        return np.ascontiguousarray(grey[None, None])
    return networks.images((1, networks.NETWORKS[name].shape[0], 64, 96))


def exported(
    networks: ModuleType, name: str, module: torch.nn.Module, x: Array, exporter: str
) -> ir.Model:
    network = networks.NETWORKS[name]
    if exporter != "torch.export":
        return networks.exported(network, module, x.shape)[0]
    with networks.quiet():
        program = torch.onnx.export(
            module,
            (torch.from_numpy(x),),
            dynamo=True,
            input_names=["image"],
            output_names=list(network.outputs),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return ir.from_proto(program.model_proto)


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", ["unet", "detr", "yolo"])
def test_the_half_graph_is_valid_and_near_fp64(
    networks: ModuleType, name: str, exporter: str
) -> None:
    module, x = small(networks, name), picture(networks, name)
    model = exported(networks, name, module, x, exporter)
    plan = plan_half(model, "fp16", ranges_of(model, {"image": x}))
    result = to_half(model, plan)

    assert check(result) == ""
    assert signature_of(result) == signature_of(model)
    assert result.graph.opset_imports == model.graph.opset_imports
    expect_products_in_half(plan)

    ours, wanted = run(result, {"image": x}), run(model, {"image": x})
    with torch.no_grad():
        found = module.double()(torch.from_numpy(x).double())
    outputs = found if isinstance(found, tuple) else (found,)
    for (output, array), exact in zip(ours.items(), outputs, strict=True):
        assert array.dtype == np.float32
        assert relative(array, wanted[output]) < TOLERANCE
        assert relative(array, exact.numpy()) < TOLERANCE
        assert relative(array, wanted[output]) > 2**-16, "that was computed in FP32"


def expect_products_in_half(plan: PrecisionPlan) -> None:
    """All convolutions and products are half; what isn't says why."""
    counts = Counter((item.op_type, item.dtype) for item in plan.decisions)
    heavy = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
    assert not [key for key in counts if key[0] in heavy and key[1] != "fp16"]
    assert sum(counts[kind, "fp16"] for kind in heavy) >= 20
    assert all(item.reason for item in plan.exceptions)


def test_detr_keeps_its_norms_and_softmaxes(networks: ModuleType) -> None:
    module, x = small(networks, "detr"), picture(networks, "detr")
    model = exported(networks, "detr", module, x, EXPORTERS[0])
    plan = plan_half(model, "fp16", ranges_of(model, {"image": x}))
    dtypes = {(item.op_type, item.dtype) for item in plan.decisions}
    for kind in ("LayerNormalization", "Softmax"):
        assert (kind, "fp32") in dtypes
        assert (kind, "fp16") not in dtypes
