"""An engine's layers on one real input: what goes in, and how the times are added up."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from roadworthy.core.errors import InputError, UsageError
from roadworthy.core.progress import silent
from roadworthy.pipeline.profile import Profile, run_profile
from tests import models
from tests.unit.cli import made


def layer(name, kind, precision, median_us):
    return {
        "name": name, "onnx": [], "kind": kind, "precision": precision, "tactic": "",
        "median_us": median_us, "share": median_us / 100,
    }  # fmt: skip


LAYERS = (
    layer("a", "Conv", "fp16", 30),
    layer("b", "Copy", "", 10),
    layer("c", "Conv", "fp32", 60),
)
FOUND = Profile("net on here", "here", "fp16", 5, 90.0, None, LAYERS)


def profiled(subject, **more):
    wanted = {
        "samples": None, "preprocess": None, "inputs": [], "target": None, "threads": 1, "runs": 2,
        "progress": silent,
    }  # fmt: skip
    return run_profile(str(subject), **{**wanted, **more})


def test_the_slowest_come_first():
    assert [row["name"] for row in FOUND.slowest] == ["c", "a", "b"]
    assert [row["name"] for row in FOUND.layers] == ["a", "b", "c"], "in the order of execution"


def test_times_are_added_up_by_kind_and_by_precision():
    assert FOUND.layers_us == 100
    kinds = [(part.name, part.layers, part.median_us, part.share) for part in FOUND.parts("kind")]
    assert kinds == [("Conv", 2, 90, 0.9), ("Copy", 1, 10, 0.1)]
    assert [part.name for part in FOUND.parts("precision")] == ["fp32", "fp16", "not told"]


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_every_node_of_a_model_is_on_the_list(tmp_path, target):
    """ONNX Runtime and OpenVINO tell where each layer came from."""
    model, samples = made.write_perceptron(tmp_path)
    found = profiled(model, samples=samples, target=target, runs=3)
    assert (found.target, found.precision, found.runs) == (target, "fp32", 3)
    assert {name for row in found.layers for name in row["onnx"]} == {"h", "r", "y", "label"}
    assert found.run_us > 0
    assert sum(part.share for part in found.parts("kind")) == pytest.approx(1)


def test_only_the_first_sample_is_run(tmp_path):
    """The second one has another shape, which only shows where it is run."""
    model, _ = made.write_perceptron(tmp_path)
    folder = tmp_path / "many"
    folder.mkdir()
    np.save(folder / "a.npy", models.normal(2, 3))
    np.save(folder / "b.npy", models.normal(9, 3))
    assert profiled(model, samples=folder).layers


def test_without_an_input_it_says_so(tmp_path):
    model, _ = made.write_perceptron(tmp_path)
    with pytest.raises(InputError, match="no input") as caught:
        profiled(model)
    assert caught.value.where == "--samples"


def test_an_input_that_does_not_fit_is_refused_before_anything_runs(tmp_path):
    model, _ = made.write_perceptron(tmp_path)
    np.savez(tmp_path / "other.npz", x=models.normal(2, 5))
    with pytest.raises(InputError):
        profiled(model, samples=tmp_path / "other.npz")


def test_a_network_has_no_layers_yet(tmp_path):
    folder = made.write_network(tmp_path)
    with pytest.raises(UsageError, match="no engine") as caught:
        profiled(f"{folder / 'net.py'}:net")
    assert "deploy" in str(caught.value.remedy)


def test_the_same_model_with_other_names_has_other_names(tmp_path):
    """The names on the list are read from the model, not made up."""
    graph = "g (float[n] x) => (float[n] y) { [one] a = Abs(x) [two] y = Neg(a) }"
    np.savez(tmp_path / "s.npz", x=models.normal(4))
    for text, names in ((graph, {"one", "two"}), (graph.replace("one", "first"), {"first", "two"})):
        onnx.save(models.proto(text), tmp_path / "m.onnx")
        found = profiled(tmp_path / "m.onnx", samples=tmp_path / "s.npz")
        assert {name for row in found.layers for name in row["onnx"]} == names
