"""A bundle from another machine: what doesn't fit names the remedy, and the remedy works."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import roadworthy
from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.tensorrt import compiler as tensorrt
from roadworthy.backends.tvm import compiler as tvm
from roadworthy.bundle.content import BundleContent, ContentCase, ContentItem
from roadworthy.bundle.writer import write_bundle
from roadworthy.core.signature import Signature
from roadworthy.core.target import Target
from roadworthy.graph.serial import from_files, to_files
from roadworthy.pipeline.deploy import deploy
from roadworthy.pipeline.request import make_request
from tests import models
from tests.unit.cli import made
from tests.unit.cli.conftest import command  # noqa: F401 - a fixture

# What a build elsewhere would have been tied to.
OTHER = "0.1.0"


def write(path, target="onnxruntime", *, files=None, factor=1.0):
    """Deploy `Net` here, and bundle it as if another version had built it.

    `files` changes the engine's own; `factor` multiplies the stored answers.
    """
    model = made.write_net_onnx(path.with_name("net.onnx"), made.weights())
    image = made.images()[0]
    request = make_request(model, {"image": image}, targets=target, measure_seconds=0.0, threads=1)
    (result,) = deploy(request).require().results
    engine, certificate = result.engine, result.certificate
    engine = replace(
        engine,
        fingerprint={**engine.fingerprint, "version": OTHER},
        files=files(engine.files) if files else engine.files,
    )
    answers = {"output": (made.net_in_numpy(image, made.weights()) * factor).astype(np.float32)}
    item = ContentItem("s0", {"image": image}, answers)
    content = BundleContent(
        signature=engine.signature,
        model={"model.onnx": model.read_bytes()},
        preprocess=None,
        engines=[(engine, certificate)],
        cases=[ContentCase("samples", False, {}, [item])],
    )
    write_bundle(path, content)
    return path


def of_another_tvm(files):
    """Change what TVM's own account of the library says that it was built by."""
    contract = json.loads(files["contract.json"])
    assert contract["tvm"] != OTHER
    return {**files, "contract.json": json.dumps(contract | {"tvm": OTHER}).encode()}


@pytest.fixture(scope="module")
def from_elsewhere(tmp_path_factory):
    pytest.importorskip("tvm")
    # A deploy and two rebuilds would start twenty processes, each of which imports TVM.
    with tvm.BACKEND.one_worker():
        yield write(tmp_path_factory.mktemp("tvm") / "net.rw", "tvm", files=of_another_tvm)


def test_an_engine_that_does_not_load_here_names_the_remedy(from_elsewhere, command):  # noqa: F811
    ended = command("verify", from_elsewhere, "--json")
    assert ended.code == 4
    assert f"was built by TVM {OTHER}" in ended.error["what"]
    assert "roadworthy verify BUNDLE --rebuild" in ended.error["remedy"]
    with pytest.raises(roadworthy.UnavailableError, match="--rebuild"):
        roadworthy.load(from_elsewhere)


def test_it_is_rebuilt_and_judged_and_the_bundle_stays(from_elsewhere, command):  # noqa: F811
    before = from_elsewhere.read_bytes()
    ended = command("verify", from_elsewhere, "--rebuild", "--json")
    assert ended.code == 0, ended
    (target,) = ended.document["result"]["targets"]
    assert target["passed"] is True
    assert target["rebuilt"].startswith("rebuilt from the bundle's ONNX: verified with version")
    assert OTHER in target["rebuilt"]
    assert target["notes"] == [target["rebuilt"]]
    assert target["verdict"]["cases"][0]["outputs"][0]["metrics"]["relative_l2"] > 0
    spoken = command("verify", from_elsewhere, "--rebuild")
    assert "rebuilt from the bundle's ONNX" in spoken.out
    assert from_elsewhere.read_bytes() == before


def test_a_loaded_one_is_rebuilt_too(from_elsewhere):
    image = made.images()[2]
    with roadworthy.load(from_elsewhere, rebuild=True) as model:
        (got,) = model.run({"image": image}).values()
        assert OTHER in model.notes[0]
    assert np.abs(got - made.net_in_numpy(image, made.weights())).max() < 1e-5


def test_what_was_rebuilt_is_held_to_the_stored_answers(tmp_path, command):  # noqa: F811
    path = write(tmp_path / "b.rw", factor=1.001)
    ended = command("verify", path, "--rebuild", "--json")
    assert ended.code == 3
    assert ended.error["code"] == "wrong-answers"
    with pytest.raises(roadworthy.WrongAnswersError):
        roadworthy.load(path, rebuild=True)


def test_one_that_loads_is_judged_as_it_is_with_a_note(tmp_path, command):  # noqa: F811
    """ONNX Runtime's engine is the ONNX file: another version may load it, and is judged."""
    path = write(tmp_path / "b.rw")
    (target,) = command("verify", path, "--json").document["result"]["targets"]
    assert target["passed"] is True
    assert target["rebuilt"] is None
    (note,) = target["notes"]
    assert note.startswith(f"verified with version {OTHER}, here is ")


def test_rebuilding_what_would_fit_is_said_too(tmp_path):
    model, samples = made.write_perceptron(tmp_path)
    roadworthy.deploy(model, samples, out=tmp_path / "b.rw", measure_seconds=0.0)
    with roadworthy.load(tmp_path / "b.rw", rebuild=True) as loaded:
        assert "asked for" in loaded.notes[0]
    with roadworthy.load(tmp_path / "b.rw") as loaded:
        assert loaded.notes == ()


def test_only_bundles_are_rebuilt(tmp_path, command):  # noqa: F811
    model, samples = made.write_perceptron(tmp_path)
    ended = command("verify", model, "--samples", samples, "--rebuild", "--json")
    assert ended.code == 2
    assert "--rebuild" in ended.error["where"]


def test_a_plan_that_loads_on_another_gpu_of_the_same_kind_says_so(monkeypatch):
    """Without a GPU: what TensorRT's place would be found to be is given, the plan isn't opened."""
    here = {
        **{"version": "10.1", "compute_capability": "9.0", "system": "Linux", "machine": "x86_64"},
        **{"device_name": "NVIDIA H200", "driver": "580"},
    }
    monkeypatch.setitem(tensorrt._known, (None, None), here)
    monkeypatch.setattr(tensorrt.BACKEND._workers, "runner", lambda *_: None)
    built = {**here, "device_name": "NVIDIA H100", "driver": "550"}
    engine = Engine(Target("tensorrt"), Signature((), ()), {}, CompileOptions(), built)
    assert engine.open().notes == (
        "GPU: expected NVIDIA H100, found NVIDIA H200",
        "driver: expected 550, found 580",
    )


@pytest.mark.parametrize("limit", [1 << 40, 0])
def test_a_models_files_are_read_back_with_weights_inside_or_beside(monkeypatch, limit):
    monkeypatch.setattr("roadworthy.graph.serial.EXTERNAL_FROM_BYTES", limit)
    files = to_files(models.perceptron(), "model.onnx")
    assert len(files) == (1 if limit else 2)
    back = models.engine(from_files(files))
    feed = {"x": models.normal(2, 3)}
    with back.open() as session:
        got = session.run(feed)["y"]
    assert np.abs(got - models.perceptron_in_numpy(feed)["y"]).max() < 1e-5
