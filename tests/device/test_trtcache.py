"""`quantize --emit trt-cache`: what TensorRT 8's own calibrator makes of the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from roadworthy.backends.tensorrt import compiler
from roadworthy.graph.signature import signature_of
from roadworthy.pipeline.quantizing import run_quantize
from roadworthy.precision.scoring import literal_answers
from tests import models
from tests.device.place import TARGET
from tests.device.test_int8 import difference, images, network, proto

pytestmark = pytest.mark.device


def built_from(cache: Path, model: Path) -> dict:
    """Build where TensorRT is, and run."""
    python = (TARGET.where or f"python={sys.executable}").removeprefix("python=")
    script, source = Path(__file__).with_name("device_trtcache.py"), Path(compiler.__file__)
    done = subprocess.run(
        [python, script, source.with_name("runtime"), model, cache],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("part", ["convolution", "residual", "concat"])
def test_a_cache_is_all_that_tensorrt_8_needs_to_build_int8(part, tmp_path):
    model, cache = tmp_path / "net.onnx", tmp_path / "net.cache"
    onnx.save(older(proto(part)), model)
    np.savez(
        tmp_path / "samples.npz",
        image=np.stack([feed["image"] for feed in images()]),
    )
    run_quantize(
        str(model), str(tmp_path / "samples.npz"), cache, emit="trt-cache", target=str(TARGET)
    )
    found = built_from(cache, model)
    feed = {"image": models.normal(2, 3, 16, 16, seed=0)}
    (exact,) = literal_answers(network(part), signature_of(network(part)), [feed])
    assert found["batches"] == 0, "it asked for images: the cache was refused"
    assert not [line for line in found["warnings"] if "scale" in line.lower()], found["warnings"]
    # The first and the last layer are in INT8 too: TensorRT decides that itself.
    assert found["layers"].get("int8", 0) >= 2, found["layers"]
    assert 1e-3 < difference(np.array(found["y"], np.float32), exact["y"]) < 0.1


def older(made: onnx.ModelProto) -> onnx.ModelProto:
    """Return it in the opset that 8.6's own parser reads."""
    lowered = onnx.version_converter.convert_version(made, 17)
    lowered.ir_version = 8
    return lowered
