"""Engines whose weights are in a file of their own: the same answers, and nothing is left."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.registry import find
from roadworthy.core.target import Target
from roadworthy.graph.signature import signature_of
from tests.models import network, normal, perceptron, perceptron_in_numpy

FEED = {"x": normal(2, 3)}


@pytest.fixture
def folder(as_large, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, of a process to which all models are large."""
    as_large()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_it_answers_and_profiles_and_leaves_nothing_behind(backend: str, folder: Path) -> None:
    model = perceptron()
    target = Target(backend)
    compiled = find(backend).compile(model, signature_of(model), target, CompileOptions())
    assert [*compiled.files] == ["model.onnx", "model.onnx.data"]
    with compiled.open() as session:
        answer = session.run(FEED)["y"]
        names = {name for row in session.profile(FEED, 1) for name in row["onnx"]}
    np.testing.assert_allclose(answer, perceptron_in_numpy(FEED)["y"], atol=1e-5)
    assert names & {node.name or node.outputs[0].name for node in model.graph}
    assert [*folder.iterdir()] == []


def test_openvino_reads_weights_of_some_size_only_when_it_compiles(folder: Path) -> None:
    """Until then they must be there; those of a few kilobytes it reads at once."""
    weight = normal(600, 600)
    model = network("g (float[b, 600] x) => (float[b, 600] y) { y = MatMul(x, w) }", {"w": weight})
    target, x = Target("openvino"), normal(2, 600)
    compiled = find("openvino").compile(model, signature_of(model), target, CompileOptions())
    with compiled.open() as session:
        np.testing.assert_allclose(session.run({"x": x})["y"], x @ weight, atol=1e-3)
    assert [*folder.iterdir()] == []


def test_a_session_keeps_no_copy_of_the_weights_in_memory(folder: Path) -> None:
    """They are on the disk while it is open; of a large model a second copy has gigabytes."""
    model = perceptron()
    target = Target("onnxruntime")
    engine = find("onnxruntime").compile(model, signature_of(model), target, CompileOptions())
    weights = engine.files["model.onnx.data"]
    holders = sys.getrefcount(weights)
    with engine.open() as session:
        assert [path.read_bytes() for path in folder.glob("*/*.data")] == [weights]
        assert sys.getrefcount(weights) == holders
        assert session.run(FEED)["y"].shape == (2, 2)
    assert [*folder.iterdir()] == []
