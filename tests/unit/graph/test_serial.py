"""An ONNX model as bytes: whole, whatever its size, and wherever its weights lay before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.registry import find
from roadworthy.core.errors import InputError
from roadworthy.core.target import Target
from roadworthy.graph import serial
from roadworthy.graph.signature import signature_of

WEIGHTS = np.arange(1000, dtype=np.float32)


def a_model() -> ir.Model:
    """y = x + w, with 4,000 bytes of weights."""
    graph = onnx.parser.parse_graph("g (float[n, 1000] x) => (float[n, 1000] y) { y = Add(x, w) }")
    graph.initializer.append(onnx.numpy_helper.from_array(WEIGHTS, "w"))
    opset = onnx.helper.make_opsetid("", 21)
    return ir.from_proto(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10))


def run(model: ir.Model) -> tuple[list[str], np.ndarray]:
    """Compile and run; return the engine's file names and what it gives for zeros."""
    target = Target.parse("onnxruntime")
    options = CompileOptions(threads=1, spinning=False)
    engine = find("onnxruntime").compile(model, signature_of(model), target, options)
    with engine.open() as session:
        y = session.run({"x": np.zeros((1, 1000), np.float32)})["y"]
        assert np.array_equal(session.run({"x": np.ones((1, 1000), np.float32)})["y"], y + 1)
    return list(engine.files), y


def test_a_small_model_is_one_file() -> None:
    names, y = run(a_model())
    assert names == ["model.onnx"]
    np.testing.assert_array_equal(y, WEIGHTS[np.newaxis])


def test_a_large_model_is_two_files_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial, "EXTERNAL_FROM_BYTES", 4000)
    model = a_model()
    names, y = run(model)
    assert names == ["model.onnx", "model.onnx.data"]
    np.testing.assert_array_equal(y, WEIGHTS[np.newaxis])
    np.testing.assert_array_equal(model.graph.initializers["w"].const_value.numpy(), WEIGHTS)


@pytest.mark.parametrize("limit", [4000, 4001])
def test_weights_from_a_file_beside_the_model_come_along(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serial, "EXTERNAL_FROM_BYTES", limit)
    ir.save(a_model(), tmp_path / "m.onnx", external_data="m.weights")
    model = ir.load(tmp_path / "m.onnx")
    names, y = run(model)
    assert len(names) == (2 if limit == 4000 else 1)
    np.testing.assert_array_equal(y, WEIGHTS[np.newaxis])
    assert isinstance(model.graph.initializers["w"].const_value, ir.ExternalTensor)  # untouched


@pytest.mark.parametrize("limit", [4000, 4001])
def test_a_missing_weights_file_is_named(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serial, "EXTERNAL_FROM_BYTES", limit)
    ir.save(a_model(), tmp_path / "m.onnx", external_data="m.weights")
    model = ir.load(tmp_path / "m.onnx")
    (tmp_path / "m.weights").unlink()
    with pytest.raises(InputError, match=r"m\.weights"):
        serial.to_files(model, "model.onnx")


def test_the_size_of_a_model_is_that_of_its_weights() -> None:
    assert serial.weight_bytes(a_model()) == 4000


def test_the_digest_tells_files_apart_by_name_content_and_border() -> None:
    files = [
        {"a": b"12"},
        {"b": b"12"},
        {"a": b"13"},
        {"a": b"1", "b": b"2"},
        {"a": b"1", "c": b"2"},
    ]
    digests = [serial.digest(one) for one in files]
    assert len(set(digests)) == len(files)
    assert digests[0] == serial.digest({"a": b"12"})
    assert all(digest.startswith("sha256:") for digest in digests)
