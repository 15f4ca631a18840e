"""The calibration cache of TensorRT 8: its head, and each scale as a big-endian float32 in hex."""

from __future__ import annotations

import re
import struct
from importlib import import_module

import numpy as np
import onnx_ir as ir
import pytest

from roadworthy.core.samples import Samples
from roadworthy.precision.calibrate import calibrate
from roadworthy.precision.dialect import dialect_for
from roadworthy.precision.methods import METHODS
from roadworthy.precision.placement import place
from roadworthy.precision.plan import PrecisionPlan
from roadworthy.precision.quantize import named
from roadworthy.precision.scales import make_plan
from roadworthy.precision.trtcache import cached_tensors, calibration_cache
from tests import models
from tests.models import network, normal
from tests.unit.precision.int8_made import (
    CONVNET8,
    convnet8,
    convnet8_weights,
    every_tensor,
    float_tensors,
    images,
    quiet,
)
from tests.unit.precision.test_mixed_networks import ROOT, SIDE, scenes


def cache_of(model, samples: Samples, method: str = "minmax") -> tuple[str, PrecisionPlan]:
    seen = calibrate(model, samples, cached_tensors(model), threads=1, progress=quiet)
    placement = place(model, dialect_for("tensorrt"), rangeless=seen.rangeless)
    plan = make_plan(model, placement, seen, method)
    return calibration_cache(plan, seen), plan


def parsed(text: str) -> dict[str, float]:
    """Read it as TensorRT does: name, colon, eight hex digits; names may have colons too."""
    head, *lines = text.splitlines()
    assert head == "TRT-8600-EntropyCalibration2"
    found = {}
    for line in lines:
        name, scale = re.fullmatch(r"(.+): ([0-9a-f]{8})", line).groups()
        found[name] = struct.unpack("!f", bytes.fromhex(scale))[0]
    assert len(found) == len(lines)
    return found


def test_every_scale_is_the_largest_magnitude_over_127() -> None:
    samples = images(5)
    found = parsed(cache_of(convnet8(), samples)[0])
    proto = models.proto(CONVNET8, convnet8_weights())
    # Whatever a Q/DQ would stand at: without a scale on both sides TensorRT runs a layer in float.
    assert sorted(found) == sorted(["x", *float_tensors(proto)])
    runs = [{**feed, **every_tensor(proto, feed, found.keys() - {"x"})} for feed in samples]
    for name, scale in found.items():
        largest = max(float(np.abs(answers[name]).max()) for answers in runs)
        assert scale == pytest.approx(largest / 127.0, rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_scales_are_those_of_the_plan(method) -> None:
    text, plan = cache_of(convnet8(), images(6), method)
    planned = {item.tensor: item.scale[0] for item in plan.tensors if not item.weight}
    found = {name: scale for name, scale in parsed(text).items() if name in planned}
    assert found == {name: pytest.approx(scale, rel=1e-6) for name, scale in planned.items()}


def test_one_number_as_it_was_written_by_hand() -> None:
    """1.0 is 3f800000: not its bytes as they lie in this machine's memory."""
    seen = cache_of(convnet8(), images(3))[0]
    scale = next(iter(parsed(seen).values()))
    bits = int(np.float32(scale).view(np.uint32))
    assert f": {bits:08x}\n" in seen
    assert struct.pack(">f", 1.0).hex() == "3f800000"


def test_names_with_colons_and_a_tensor_that_is_always_zero() -> None:
    """TensorFlow's names; and a scale of zero would be divided by."""
    model = convnet8()
    for node in model.graph:
        for value in node.outputs:
            if value.name == "r1":
                value.name = "scope/r1:0"
            if value.name == "r2":
                value.name = "dead"
    model.graph.initializers["k2"].const_value = ir.tensor(np.zeros((8, 8, 3, 3), np.float32))
    model.graph.initializers["b2"].const_value = ir.tensor(np.full(8, -1, np.float32))
    found = parsed(cache_of(model, images(4))[0])
    assert {"r3", "scope/r1:0"} < found.keys()
    assert "dead" not in found


def test_every_convolution_of_the_unet_has_a_scale_on_both_sides(monkeypatch) -> None:
    """Fused with its Relu, a convolution gives the Relu's tensor."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    networks = import_module("networks")
    module = networks.trained_unet().eval()
    exported = networks.exported(networks.NETWORKS["unet"], module, (1, 1, SIDE, SIDE))[0]
    model = named(exported)
    found = parsed(cache_of(model, scenes()[:2])[0])
    convolutions = [node for node in model.graph if node.op_type in ("Conv", "ConvTranspose")]
    assert len(convolutions) > 10
    for node in convolutions:
        readers = node.outputs[0].consumers()
        fused = len(readers) == 1 and readers[0].op_type == "Relu"
        given = readers[0].outputs[0] if fused else node.outputs[0]
        assert {node.inputs[0].name, given.name} <= found.keys(), node.name


def test_weights_and_what_is_computed_from_shapes_are_no_data() -> None:
    """But what an If gives is, where one of its branches reads data from outside."""
    model = named(
        network(
            """g (float[2, 4] x, bool flag) => (float[2, 4] y) {
                two = Constant<value = float {2.0}>()
                doubled = Mul(w, two)
                sizes = Shape(x)
                area = Cast<to = 1>(sizes)
                side = Sqrt(area)
                chosen = If(flag) <
                    then_branch = then () => (float[2, 4] a) { a = Relu(x) },
                    else_branch = other () => (float[2, 4] b) { b = Identity(doubled) }
                >
                sum = Add(chosen, doubled)
                whole = Cast<to = 7>(sum)
                y = Add(x, sum)
            }""",
            {"w": normal(2, 4)},
        )
    )
    assert cached_tensors(model) == ["x", "chosen", "sum", "y"]
