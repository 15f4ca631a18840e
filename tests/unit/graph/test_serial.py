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
from tests.models import perceptron, perceptron_weights

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


BRANCHES = """g (float[16] x, bool c) => (float[16] y) {
    y = If (c) <
        then_branch = t () => (float[16] a) { a = Add(x, w) },
        else_branch = e () => (float[16] b) { b = Mul(x, w) }
    >
}"""


def with_branches() -> ir.Model:
    """x + 10 or x · 11; the weights of either branch have one name, which doesn't tell them."""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]>{BRANCHES}')
    for index, attribute in enumerate(model.graph.node[0].attribute):
        weight = np.full(16, 10 + index, np.float32)
        attribute.g.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    return ir.from_proto(model)


def test_weights_of_branches_come_back_to_their_own(as_large) -> None:
    as_large()
    model = with_branches()
    target = Target.parse("onnxruntime")
    engine = find("onnxruntime").compile(model, signature_of(model), target, CompileOptions())
    assert len(engine.files["model.onnx.data"]) >= 128
    with engine.open() as session:
        for branch, expected in ((True, 2 + 10), (False, 2 * 11)):
            [y] = session.run({"x": np.full(16, 2, np.float32), "c": np.array(branch)}).values()
            np.testing.assert_array_equal(y, np.full(16, expected))


def test_small_constants_stay_in_a_message_without_weights() -> None:
    model = a_model()
    model.graph.initializers["k"] = ir.val("k", const_value=ir.tensor([1, 2, 3], name="k"))
    light, weights = serial.without_weights(model)
    assert [tensor.name for tensor in weights.values()] == ["w"]
    assert light.ByteSize() < 1000
    [outside] = serial.references(light.graph)
    assert (outside.name, list(outside.dims), outside.data_type) == ("w", [1000], 1)
    # Put back, it is what it was, to the last byte.
    whole = ir.to_proto(model).SerializeToString()
    assert serial.files_with(light, weights, "m") == {"m": whole}


def test_a_large_models_weights_begin_at_pages(as_large) -> None:
    as_large()
    files = serial.to_files(perceptron(), "m.onnx")
    for item in serial.references(onnx.load_model_from_string(files["m.onnx"]).graph):
        entries = {entry.key: entry.value for entry in item.external_data}
        begin, length = int(entries["offset"]), int(entries["length"])
        assert (begin % 4096, entries["location"]) == (0, "m.onnx.data")
        content = files["m.onnx.data"][begin : begin + length]
        assert content == perceptron_weights()[item.name].tobytes()
