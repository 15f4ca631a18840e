"""Weights in files beside an ONNX file: read whole, past protobuf, and from nowhere else."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from roadworthy.source.onnx.load import load_onnx
from tests.models import engine, normal, perceptron, perceptron_weights, proto
from tests.unit.source.onnx.test_load import WHOLE, refused, saved


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """A model whose weights lie in m.data, beside it."""
    folder = tmp_path / "inner"
    folder.mkdir()
    ir.save(perceptron(), folder / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    return folder / "m.onnx"


def relocate(path: Path, **entries: str) -> None:
    """Make the first weight say that it lies elsewhere."""
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer[0]
    kept = {entry.key: entry.value for entry in tensor.external_data}
    del tensor.external_data[:]
    for key, value in {**kept, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def test_weights_beside_the_model_come_into_memory(external: Path) -> None:
    model = load_onnx(external)
    (external.parent / "m.data").unlink()
    np.testing.assert_array_equal(
        model.graph.initializers["w2"].const_value.numpy(), perceptron_weights()["w2"]
    )
    with engine(model).open() as session:
        assert session.run({"x": normal(2, 3)})["y"].shape == (2, 2)


def test_missing_weights_are_named(external: Path) -> None:
    (external.parent / "m.data").unlink()
    error = refused(external)
    assert "'m.data', which is missing" in error.what
    assert "m.data" in str(error.remedy)


def test_truncated_weights_are_told_by_their_size(external: Path) -> None:
    data = external.parent / "m.data"
    data.write_bytes(data.read_bytes()[:-1])
    assert "truncated" in refused(external).what


@pytest.mark.parametrize(
    "way", ["../m.data", "sub/../../m.data", "ABSOLUTE", "link", "linked/m.data"]
)
def test_weights_outside_the_folder_are_never_read(way: str, external: Path) -> None:
    outside = external.parent.parent
    shutil.move(external.parent / "m.data", outside / "m.data")
    (external.parent / "sub").mkdir()
    (external.parent / "link").symlink_to(outside / "m.data")
    (external.parent / "linked").symlink_to(outside)
    relocate(external, location=str(outside / "m.data") if way == "ABSOLUTE" else way)
    assert "outside the model's folder" in refused(external).what


def test_weights_in_a_folder_below_are_read(external: Path) -> None:
    (external.parent / "sub").mkdir()
    shutil.copy(external.parent / "m.data", external.parent / "sub" / "m.data")
    relocate(external, location="sub/m.data")
    assert load_onnx(external)


@pytest.mark.parametrize(
    "entries",
    [
        {"location": ""},
        {"location": "."},
        {"location": "nul\0inside"},
        {"offset": "-4"},
        {"offset": "some"},
        {"length": "1e3"},
        {"offset": str(10**17)},
        {"length": "9" * 5000},
        {"length": "7"},
    ],
    ids=str,
)
def test_nonsense_about_where_the_weights_lie_is_refused(
    entries: dict[str, str], external: Path
) -> None:
    relocate(external, **entries)
    refused(external)


def test_a_model_in_a_folder_that_is_a_link_is_read(external: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(external.parent)
    assert load_onnx(tmp_path / "link" / "m.onnx")


# Weights of more than protobuf's 2 GB


def test_the_checker_is_given_no_weights(external: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model of more than 2 GB protobuf can't make the message that it wants."""
    seen = []
    check = onnx.checker.check_model

    def checked(model: onnx.ModelProto, full_check: bool) -> None:
        seen.append([len(item.raw_data) for item in model.graph.initializer])
        check(model, full_check=full_check)

    monkeypatch.setattr(onnx.checker, "check_model", checked)
    model = load_onnx(external)
    inside = load_onnx(saved(external.parent, WHOLE, "inside.onnx"))
    assert seen == [[1] * len(perceptron_weights())] * 2
    for name, weight in perceptron_weights().items():
        for one in (model, inside):
            np.testing.assert_array_equal(one.graph.initializers[name].const_value.numpy(), weight)


def test_what_is_wrong_beside_external_weights_is_seen(external: Path) -> None:
    model = onnx.load(external, load_external_data=False)
    model.graph.node[0].op_type = "NoSuch"
    assert "NoSuch" in refused(saved(external.parent, model)).what


@pytest.mark.parametrize("kind", ["type", "other values", "text"])
def test_external_weights_that_are_none_are_refused(kind: str, external: Path) -> None:
    model = onnx.load(external, load_external_data=False)
    tensor = model.graph.initializer[0]
    if kind == "type":
        tensor.data_type = TensorProto.UNDEFINED
    elif kind == "text":
        tensor.data_type = TensorProto.STRING
    else:
        tensor.float_data.append(1.0)
    assert "not valid ONNX" in refused(saved(external.parent, model)).what


def test_external_weights_of_another_size_are_refused(external: Path) -> None:
    """Further bytes are as wrong as missing ones: they are another network's weights."""
    model = onnx.load(external, load_external_data=False)
    model.graph.initializer[0].dims[0] -= 1
    assert "can't be read: 'w1' takes" in refused(saved(external.parent, model)).what


def test_external_weights_of_no_stated_length_are_the_rest_of_the_file(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(WHOLE)
    weight = model.graph.initializer[0]
    (tmp_path / "w.bin").write_bytes(b"skip" + weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="w.bin")
    weight.external_data.add(key="offset", value="4")
    found = load_onnx(saved(tmp_path, model)).graph.initializers[weight.name].const_value
    np.testing.assert_array_equal(found.numpy(), perceptron_weights()[weight.name])


def test_a_constant_of_a_node_in_a_file_comes_into_memory(tmp_path: Path) -> None:
    value = helper.make_tensor("c", TensorProto.FLOAT, [2], np.array([3, 4], "<f4").tobytes(), True)
    model = proto("g (float[2] x) => (float[2] y) { y = Add(x, c) }")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], value=value))
    onnx.save(
        model,
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="c.data",
        size_threshold=0,
        convert_attribute=True,
    )
    found = load_onnx(tmp_path / "m.onnx")
    (tmp_path / "c.data").unlink()
    with engine(found).open() as session:
        np.testing.assert_array_equal(session.run({"x": np.ones(2, np.float32)})["y"], [4, 5])


def test_weights_that_are_another_files_too_are_refused(external: Path) -> None:
    """A hard link may be to anything on the disk, whatever folder it lies in."""
    (external.parent.parent / "elsewhere").hardlink_to(external.parent / "m.data")
    assert "can't be read" in refused(external).what
