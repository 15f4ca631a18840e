"""Reading ONNX files: the good ones, and every way of being a bad one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from roadworthy.core.errors import InputError, UnavailableError, UsageError
from roadworthy.core.inputspec import parse_inputs
from roadworthy.core.signature import Dim
from roadworthy.graph.signature import signature_of
from roadworthy.source.onnx.load import HIGHEST_IR_VERSION, apply_input_specs, load_onnx
from tests.models import (
    PERCEPTRON,
    engine,
    network,
    normal,
    perceptron,
    perceptron_weights,
    proto,
)

WHOLE = proto(PERCEPTRON, perceptron_weights()).SerializeToString()


def refused(path: Path) -> InputError:
    """Load what must be refused; return the one clear message."""
    with pytest.raises(InputError) as caught:
        load_onnx(path)
    error = caught.value
    assert error.exit_code == 2
    assert "\n" not in error.what
    assert error.where == str(path)
    return error


def saved(folder: Path, content: bytes | onnx.ModelProto, name: str = "m.onnx") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return path


def test_a_whole_model_is_read_as_it_is(tmp_path: Path) -> None:
    model = load_onnx(saved(tmp_path, WHOLE))
    assert signature_of(model) == signature_of(perceptron())
    for name, weight in perceptron_weights().items():
        np.testing.assert_array_equal(model.graph.initializers[name].const_value.numpy(), weight)


# Files that aren't ONNX


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06",
        b"this is not a model, it is a letter\n" * 40,
        b"PK\x03\x04 a zip",
        b"\x00" * 100,
        b"\x80\x04\x95\x00\x00\x00",
        WHOLE[: len(WHOLE) // 2],
        WHOLE[:-1],
        WHOLE[1:],
        b"\x08\x0a",  # an IR version and nothing else
    ],
    ids=["empty", "png", "text", "zip", "zeros", "pickle", "half", "all but one", "no head", "ir"],
)
def test_another_file_named_onnx_is_refused(content: bytes, tmp_path: Path) -> None:
    refused(saved(tmp_path, content))


def test_nothing_there_and_a_folder(tmp_path: Path) -> None:
    assert "doesn't exist" in refused(tmp_path / "m.onnx").what
    (tmp_path / "m.onnx").mkdir()
    assert "folder" in refused(tmp_path / "m.onnx").what


@given(length=st.integers(0, len(WHOLE) - 1))
def test_no_truncation_is_taken_for_a_model(length: int, tmp_path: Path) -> None:
    refused(saved(tmp_path, WHOLE[:length]))


@given(content=st.binary(max_size=300))
@settings(max_examples=150)
def test_random_bytes_are_refused_in_our_words(content: bytes, tmp_path: Path) -> None:
    refused(saved(tmp_path, content))


@given(data=st.data())
@settings(max_examples=250)
def test_damage_anywhere_is_refused_in_our_words_or_harmless(
    data: st.DataObject, tmp_path: Path
) -> None:
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    path = saved(tmp_path, bytes(content))
    try:
        signature_of(load_onnx(path))
    except InputError as error:
        assert error.where
        assert "\n" not in error.what


# Models that aren't valid


def changed(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    model = proto(PERCEPTRON, perceptron_weights())
    change(model)
    return model


INVALID: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "too new": (lambda m: setattr(m, "ir_version", HIGHEST_IR_VERSION + 1), "IR version 14"),
    "no outputs": (lambda m: m.graph.ClearField("output"), "no outputs"),
    "no opset": (lambda m: m.ClearField("opset_import"), "not an ONNX model"),
    "no graph": (lambda m: m.ClearField("graph"), "not an ONNX model"),
    "cut wire": (lambda m: m.graph.node[1].input.__setitem__(0, "nothing"), "not valid"),
    "no such operator": (lambda m: setattr(m.graph.node[1], "op_type", "Imaginary"), "not valid"),
    "wrong order": (lambda m: m.graph.node.reverse(), "not valid"),
    "two of a name": (lambda m: m.graph.node[1].output.__setitem__(0, "h"), "not valid"),
    "unknown attribute": (
        lambda m: m.graph.node[1].attribute.append(helper.make_attribute("colour", 1)),
        "not valid",
    ),
    "too few weights": (
        lambda m: setattr(m.graph.initializer[0], "raw_data", b"\0" * 7),
        "not valid",
    ),
}


@pytest.mark.parametrize("kind", INVALID)
def test_an_invalid_model_is_refused_with_the_reason(kind: str, tmp_path: Path) -> None:
    change, says = INVALID[kind]
    assert says in refused(saved(tmp_path, changed(change))).what


def test_names_that_are_not_text_are_refused(tmp_path: Path) -> None:
    refused(saved(tmp_path, WHOLE.replace(b"label", b"lab\xff\xfe")))


def test_what_is_no_tensor_is_not_to_be_had(tmp_path: Path) -> None:
    """A classifier of scikit-learn gives a map; that is exit 4, not a damaged file."""
    kind = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    )
    element = helper.make_sequence_type_proto(kind)
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_value_info("y", element)],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    with pytest.raises(UnavailableError, match="'y'") as caught:
        load_onnx(saved(tmp_path, helper.make_model(graph, opset_imports=opsets, ir_version=10)))
    assert caught.value.exit_code == 4


# Weights in another file


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


# --inputs


TWO = "g (float[N, C] a, float[N, 3] b) => (float[N, C] y) { y = Identity(a) }"


def ranged(*texts: str) -> str:
    return str(apply_input_specs(signature_of(network(TWO)), parse_inputs(texts)))


def test_ranges_and_names_hold_wherever_the_axis_recurs() -> None:
    assert ranged("a[batch=1..8,c=2..4:2]") == (
        "(a[batch=1..8,c=2..4:2]:float32, b[batch=1..8,3]:float32) "
        "-> (y[batch=1..8,c=2..4:2]:float32)"
    )


def test_an_axis_can_be_fixed() -> None:
    assert ranged("a[2,C]:float32") == "(a[2,C]:float32, b[2,3]:float32) -> (y[2,C]:float32)"


def test_what_is_not_said_stays_open() -> None:
    assert ranged() == ranged("a") == str(signature_of(network(TWO)))


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["c[1,2]"], "no input 'c'"),
        (["a[1]"], "1 axes"),
        (["a[1,2]:float16"], "float16"),
        (["b[n=1..8,m=1..8]"], "fixed at 3"),
        (["b[n=1..8,4]"], "4 where the model has 3"),
        (["a[p=1..8,C]", "b[q=1..8,3]"], "both p=1..8 and q=1..8"),
        (["a[2,C]", "b[4,3]"], "both 2 and 4"),
        (["a[2,C]", "b[q=1..8,3]"], "both 2 and q=1..8"),
    ],
)
def test_what_the_model_does_not_allow_is_refused(texts: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        ranged(*texts)
    assert caught.value.exit_code == 2


def test_the_batch_is_found_after_renaming() -> None:
    signature = apply_input_specs(signature_of(perceptron()), parse_inputs(["x[b=1..4,3]"]))
    assert signature.batch_dim == Dim("b", 1, 4)


@pytest.mark.parametrize("linear", [True, False])
def test_sparse_weights_are_there(tmp_path, linear):
    """onnx_ir leaves sparse initialisers out; onnx.proto says how their indices count."""
    dense = np.array([[0, 2, 0], [3, 0, 0]], np.float32)
    where = np.nonzero(dense.reshape(-1))[0] if linear else np.argwhere(dense)
    sparse = onnx.helper.make_sparse_tensor(
        onnx.numpy_helper.from_array(dense[dense != 0], "w"),
        onnx.numpy_helper.from_array(where.astype(np.int64)),
        dense.shape,
    )
    model = proto("g (float[2, 3] x) => (float[2, 3] y) { y = Add(x, w) }", {"w": dense})
    del model.graph.initializer[:]
    model.graph.sparse_initializer.append(sparse)
    onnx.save(model, tmp_path / "sparse.onnx")
    loaded = load_onnx(tmp_path / "sparse.onnx")
    np.testing.assert_array_equal(loaded.graph.initializers["w"].const_value.numpy(), dense)


TWINS = """g (float[2] x, bool go) => (float[2] y) {
    [n] a = Abs(x)
    [n] b = Add(a, a)
    [n_1] c = Add(b, b)
    [if] y = If(go) <
        then_branch = t () => (float[2] d) { [n] e = Neg(c)  [own] d = Abs(e) },
        else_branch = f () => (float[2] d) { [own] d = Identity(c) }
    >
}"""


def test_nodes_of_one_name_get_names_of_their_own(tmp_path: Path) -> None:
    """ONNX Runtime refuses two of one name in a graph; the first keeps it, as do unique ones."""
    loaded = load_onnx(saved(tmp_path, proto(TWINS)))
    names = [node.name for node in loaded.graph.all_nodes()]
    assert sorted(names) == ["if", "n", "n_1", "n_2", "n_3", "own", "own_1"]
    assert [node.name for node in loaded.graph] == ["n", "n_2", "n_1", "if"]
    feed = {"x": np.array([1, -2], np.float32), "go": np.array(True)}
    with engine(loaded).open() as session:
        np.testing.assert_array_equal(session.run(feed)["y"], [4, 8])


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
    assert "their file has" in refused(saved(external.parent, model)).what


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
