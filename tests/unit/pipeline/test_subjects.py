"""What a text of the command line is, and what engine comes of it."""

from __future__ import annotations

import numpy as np
import pytest

from roadworthy.api import deploy
from roadworthy.backends.base import CompileOptions
from roadworthy.core.errors import InputError, RoadworthyError, UnavailableError, UsageError
from roadworthy.core.inputspec import parse_inputs
from roadworthy.pipeline.subjects import open_runnable
from tests import models
from tests.unit.cli import made


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    made.write_perceptron(folder)
    made.write_network(folder)
    out = folder / "net.rw"
    deploy(folder / "model.onnx", folder / "samples.npz", out=out, measure_seconds=0)
    (folder / "old.plan").write_bytes(b"ftrt")
    return folder


def opened(place, name, **how):
    return open_runnable(f"{place}/{name}", **how)


def test_each_kind_is_told_apart(place):
    assert opened(place, "net.rw").kind == "bundle"
    assert opened(place, "model.onnx").kind == "model"
    assert opened(place, "net.py:net", weights=place / "w.safetensors").kind == "network"


@pytest.mark.parametrize("name", ["net.rw", "model.onnx"])
def test_an_engine_gives_the_networks_answers(place, name):
    subject = opened(place, name)
    assert subject.name == f"{name} on onnxruntime"
    feed = {"x": models.normal(4, 3, seed=9)}
    engine = subject.engine(CompileOptions(threads=1))
    assert engine.options.threads == 1
    with engine.open() as session:
        found = session.run(feed)["y"]
    np.testing.assert_allclose(found, models.perceptron_in_numpy(feed)["y"], rtol=1e-5, atol=1e-6)


def test_a_model_is_compiled_for_the_target_and_the_ranges(place):
    specs = parse_inputs(["x[batch=1..8,3]"])
    subject = opened(place, "model.onnx", target="openvino", specs=specs)
    engine = subject.engine()
    assert str(engine.target) == "openvino"
    assert str(engine.signature.inputs[0]) == "x[batch=1..8,3]:float32"
    assert engine.fingerprint["runtime"] == "openvino"


def test_what_is_known_of_a_bundles_inputs(place):
    inputs = opened(place, "net.rw").inputs
    assert inputs.input_ranks(()) == {"x": 2}
    assert inputs.default_input(()) == "x"
    assert str(inputs.declared(()).outputs[1]).startswith("label")


def test_a_network_has_no_engine(place):
    with pytest.raises(UsageError, match="no engine") as caught:
        opened(place, "net.py:net").engine()
    assert "deploy" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "how", "error"),
    [
        ("net.rw", {"target": "openvino"}, UsageError),
        ("model.onnx", {"target": "nosuch"}, UsageError),
        ("model.onnx", {"weights": "w.safetensors"}, UsageError),
        ("none.plan", {}, InputError),
        ("none.trt", {}, InputError),
        ("none.ENGINE", {}, InputError),
        ("old.plan", {"target": "onnxruntime"}, UsageError),
        ("old.plan", {"target": "nosuch"}, UsageError),
        ("old.plan", {"target": "tensorrt@nowhere"}, UsageError),
        ("old.plan", {"target": "tensorrt@python=/nowhere/python"}, UnavailableError),
        ("w.safetensors", {}, UsageError),
    ],
)
def test_what_cannot_be_opened_is_said_with_a_remedy(place, name, how, error):
    with pytest.raises(error) as caught:
        opened(place, name, **how)
    assert isinstance(caught.value, RoadworthyError)
    assert caught.value.remedy
