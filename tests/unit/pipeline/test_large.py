"""The whole road for networks whose weights protobuf can't hold: as for any other."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import onnx
import pytest

import roadworthy
from roadworthy.pipeline.quantizing import run_quantize
from tests.models import normal
from tests.unit.precision.int8_made import run

SIZE = 24
CHAIN = f"""<ir_version: 8, opset_import: ["": 17]>
g (float[batch, {SIZE}] x) => (float[batch, {SIZE}] y) {{
    a = Gemm(x, w0, b0) r = Relu(a) b = Gemm(r, w1, b1) s = Relu(b)
    c = Gemm(s, w2, b2) t = Relu(c) y = Gemm(t, w3, b3)
}}"""
QUICK = {"threads": 1, "measure_seconds": 0.0}


@pytest.fixture
def folder(tmp_path):
    """A network with its weights beside it, and samples."""
    model = onnx.parser.parse_model(CHAIN)
    for node in model.graph.node:
        # onnxsim, which large networks don't get, would name them otherwise.
        node.name = f"make {node.output[0]}"
    for i in range(4):
        for name, array in (
            (f"w{i}", normal(SIZE, SIZE, seed=i) / 5),
            (f"b{i}", normal(SIZE, seed=9 + i)),
        ):
            model.graph.initializer.append(
                onnx.numpy_helper.from_array(array.astype(np.float32), name)
            )
    outside = {"save_as_external_data": True, "location": "m.data", "size_threshold": 100}
    onnx.save(model, tmp_path / "m.onnx", **outside)
    (tmp_path / "samples").mkdir()
    for i in range(8):
        np.save(tmp_path / "samples" / f"{i}.npy", normal(1, SIZE, seed=50 + i))
    return tmp_path


def quantised(folder, out, method):
    outcome = run_quantize(
        str(folder / "m.onnx"), folder / "samples", folder / out, method=method, threads=1
    )
    assert (folder / out) in outcome.files
    return outcome


@pytest.mark.parametrize("method", ["minmax", "entropy", "auto"])
def test_a_large_network_is_quantised_to_the_same_bits(folder, as_large, method):
    ordinary = quantised(folder, "ordinary.onnx", method)
    as_large()
    large = quantised(folder, "large.onnx", method)
    assert folder / "large.onnx.data" in large.files
    without_account = [dataclasses.replace(one.made.plan, account={}) for one in (ordinary, large)]
    assert without_account[0] == without_account[1]
    assert ordinary.made.scores == large.made.scores
    assert ordinary.made.biases == large.made.biases
    assert [item.outcome for item in large.passes[1:]] == ["not applied", "not applied"]
    models = [onnx.load(folder / name) for name in ("ordinary.onnx", "large.onnx")]
    for i in range(8):
        feed = {"x": np.load(folder / "samples" / f"{i}.npy")}
        one, other = (run(model, feed)["y"] for model in models)
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_large_network_is_deployed_and_its_bundle_verified(folder, as_large, backend, precision):
    as_large()
    given = {"targets": [backend], "precision": precision, **QUICK}
    given |= {"method": "minmax"} if precision == "int8" else {}
    out = folder / "out"
    ended = roadworthy.deploy(folder / "m.onnx", folder / "samples", out=out, **given)
    ended.require()
    # The source is gone: the bundle has all that it needs.
    (folder / "m.data").unlink()
    roadworthy.verify_bundle(out)
    [path] = (out / "certificates").glob("*.json")
    certificate = json.loads(path.read_text())
    assert any("not asked" in note for note in certificate["reference"]["notes"])
    assert certificate["reference"]["account"]["agreement"], "OpenVINO is still asked"
    refused = {item["detail"] for item in certificate["passes"] if item["outcome"] == "not applied"}
    assert any("onnxsim takes a model of less than 2 GB" in detail for detail in refused)


def test_a_large_networks_bundle_runs_and_is_built_again(folder, as_large):
    as_large()
    out, moved = folder / "out", folder / "moved"
    given = {"targets": ["onnxruntime"], "precision": "fp32", **QUICK}
    roadworthy.deploy(folder / "m.onnx", folder / "samples", out=out, **given).require()
    shutil.move(out, moved)
    feed = {"x": np.load(folder / "samples" / "0.npy")}
    expected = run(onnx.load(folder / "m.onnx"), feed)["y"]
    for rebuild in (False, True):
        with roadworthy.load(moved, rebuild=rebuild) as session:
            np.testing.assert_allclose(session.run(feed)["y"], expected, rtol=1e-4, atol=1e-5)
