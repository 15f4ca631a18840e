"""Reading ONNX files: the good ones, and every way of being a bad one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
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
