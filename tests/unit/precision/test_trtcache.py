"""The calibration cache of TensorRT 8: its head, and each scale as a big-endian float32 in hex."""

from __future__ import annotations

import re
import struct

import numpy as np
import onnx_ir as ir
import pytest

from roadworthy.core.samples import Samples
from roadworthy.precision.dialect import dialect_for
from roadworthy.precision.methods import METHODS
from roadworthy.precision.placement import place
from roadworthy.precision.plan import PrecisionPlan
from roadworthy.precision.quantize import observe
from roadworthy.precision.scales import make_plan
from roadworthy.precision.trtcache import calibration_cache
from tests import models
from tests.unit.precision.int8_made import (
    CONVNET8,
    convnet8,
    convnet8_weights,
    every_tensor,
    images,
    quiet,
)


def cache_of(model, samples: Samples, method: str = "minmax") -> tuple[str, PrecisionPlan]:
    placement = place(model, dialect_for("tensorrt"))
    seen = observe(model, [placement], samples, method=method, threads=1, progress=quiet)
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
    runs = [every_tensor(proto, feed, found) for feed in samples]
    assert sorted(found) == ["r1", "r2", "r3"]
    for name, scale in found.items():
        largest = max(float(np.abs(answers[name]).max()) for answers in runs)
        assert scale == pytest.approx(largest / 127.0, rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_scales_are_those_of_the_plan(method) -> None:
    text, plan = cache_of(convnet8(), images(6), method)
    planned = {item.tensor: item.scale[0] for item in plan.tensors if not item.weight}
    assert parsed(text) == {name: pytest.approx(scale, rel=1e-6) for name, scale in planned.items()}


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
    assert sorted(found) == ["r3", "scope/r1:0"]
