"""The example UNet with its trained weights in INT8 beside FP16, from real scenes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from roadworthy.core.samples import Samples
from roadworthy.graph.signature import signature_of
from roadworthy.precision.dialect import dialect_for
from roadworthy.precision.lower import lower
from roadworthy.precision.methods import METHODS
from roadworthy.precision.mixed import with_half_rest
from roadworthy.precision.placement import place
from roadworthy.precision.quantize import Quantization, named, observe
from roadworthy.precision.raising import raised, same_answers
from roadworthy.precision.scales import make_plan
from roadworthy.precision.scoring import literal_answers, score
from roadworthy.precision.typed import check
from tests.unit.precision.int8_made import quiet
from tests.unit.precision.mixed_made import HALF_SCALES, every_range
from tests.unit.precision.test_half_networks import ROOT

SIDE = 96


@pytest.fixture(scope="module")
def benchmarks() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield import_module("networks")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def scenes() -> Samples:
    """Crops of the example's scenes."""
    feeds = []
    for path in sorted((ROOT / "examples" / "unet" / "scenes").glob("*.png")):
        with Image.open(path) as image:
            grey = np.asarray(image, np.float32)[:SIDE, :SIDE] / 255
        feeds.append({"image": np.ascontiguousarray(grey[None, None])})
    return Samples.of_arrays(feeds)


def test_the_unet_loses_nothing_to_fp16(benchmarks: ModuleType) -> None:
    """Beside INT8 with FP32 scales and all else in FP32; of one opset below 18, as exported.

    Single plans differ by some 0.3 dB either way for any change in the last bits: hence the mean
    over the methods.
    """
    network = benchmarks.NETWORKS["unet"]
    module = benchmarks.trained_unet().eval()
    exported = named(benchmarks.exported(network, module, (1, 1, SIDE, SIDE))[0])
    samples = scenes()
    found, reason = raised(exported)
    assert reason == ""
    assert same_answers(exported, found, signature_of(exported), samples)
    model = named(found)

    plain = dialect_for("tensorrt")
    placement = place(model, plain)
    seen = observe(model, [placement], samples, progress=quiet)
    ranges, signature = every_range(model, samples), signature_of(model)
    exact = list(literal_answers(model, signature, samples))
    lost = []
    for method in METHODS:
        wide = lower(model, make_plan(model, placement, seen, method), plain)
        plan = make_plan(model, place(model, HALF_SCALES), seen, method)
        made = Quantization(lower(model, plan, HALF_SCALES), plan, (), 0)
        mixed = with_half_rest(made, ranges)
        assert check(mixed.model) == ""
        counts = Counter(item.dtype for item in mixed.plan.decisions)
        assert set(counts) == {"int8", "fp16"}
        both = [
            score(exact, literal_answers(item, signature, samples)).sqnr_db
            for item in (wide, mixed.model)
        ]
        assert min(both) > 30
        lost.append(both[0] - both[1])
    assert len(lost) == 4
    assert np.mean(lost) < 0.5
