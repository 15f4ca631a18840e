"""The signature of an ONNX model: names, dtypes and axes as the graph declares them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from roadworthy.core.errors import InputError, UnavailableError
from roadworthy.core.signature import Dim, Signature, TensorSpec
from roadworthy.graph.signature import check_tensors_only, signature_of

HEAD = '<ir_version: 11, opset_import: ["": 25]>\n'
TENSOR = helper.make_tensor_type_proto(TensorProto.FLOAT, None)


def signature(text: str) -> Signature:
    return signature_of(ir.from_onnx_text(HEAD + text))


def proto(*inputs: onnx.ValueInfoProto) -> onnx.ModelProto:
    """A model that takes these inputs and gives back the first."""
    output = onnx.ValueInfoProto()
    output.CopyFrom(inputs[0])
    output.name = "out"
    node = helper.make_node("Identity", [inputs[0].name], ["out"])
    return helper.make_model(helper.make_graph([node], "g", list(inputs), [output]))


def tensor(name: str, shape: list[int | str | None] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def test_names_dtypes_and_fixed_axes_in_the_models_order() -> None:
    assert signature(
        "g (float[1, 3] b, int64[0] a, bool c) => (float[1, 3] z, int64[0] y)"
        " { z = Identity(b) y = Identity(a) }"
    ) == Signature(
        (
            TensorSpec("b", "float32", (1, 3)),
            TensorSpec("a", "int64", (0,)),
            TensorSpec("c", "bool", ()),
        ),
        (TensorSpec("z", "float32", (1, 3)), TensorSpec("y", "int64", (0,))),
    )


@pytest.mark.parametrize(
    ("onnx_name", "ours"),
    [
        ("float", "float32"), ("double", "float64"), ("float16", "float16"),
        ("bfloat16", "bfloat16"), ("bool", "bool"), ("string", "str"), ("uint8", "uint8"),
        ("int4", "int4"), ("uint4", "uint4"), ("int2", "int2"), ("uint2", "uint2"),
        ("float8e4m3fn", "float8_e4m3fn"), ("float8e4m3fnuz", "float8_e4m3fnuz"),
        ("float8e5m2", "float8_e5m2"), ("float8e5m2fnuz", "float8_e5m2fnuz"),
        ("float8e8m0", "float8_e8m0fnu"), ("float4e2m1", "float4_e2m1fn"),
        ("complex64", "complex64"),
    ],
)  # fmt: skip
def test_dtypes_have_the_names_that_numpy_and_ml_dtypes_give_them(
    onnx_name: str, ours: str
) -> None:
    (spec,) = signature(f"g ({onnx_name}[2] x) => ({onnx_name}[2] y) {{ y = Identity(x) }}").inputs
    assert spec.dtype == ours


def test_named_axes_are_open_and_shared_and_may_be_empty() -> None:
    found = signature("g (float[batch, 3] x, float[batch] w) => (float[batch] y) { y = Neg(w) }")
    batch = Dim("batch", low=0)
    assert [spec.shape for spec in found] == [(batch, 3), (batch,), (batch,)]
    assert batch.is_open
    empty = {"x": np.empty((0, 3), np.float32), "w": np.empty(0, np.float32)}
    assert found.bind(empty) == {"batch": 0}


def test_unnamed_axes_get_names_from_tensor_and_position() -> None:
    model = ir.from_proto(proto(tensor("image", [None, 3, "h", None])))
    (spec,) = signature_of(model).inputs
    assert [str(axis) for axis in spec.shape or ()] == ["image_axis0", "3", "h", "image_axis3"]
    assert signature_of(model) == signature_of(model)


def test_a_made_name_is_one_that_can_be_written_and_that_no_other_axis_has() -> None:
    inputs = tensor("0:in.x", [None]), tensor("0_in.x", [None]), tensor("a", ["b_axis0"])
    model = ir.from_proto(proto(*inputs, tensor("b", [None])))
    assert [str(spec.shape[0]) for spec in signature_of(model).inputs if spec.shape] == [
        "_0_in_x_axis0",
        "_0_in_x_axis0_2",
        "b_axis0",
        "b_axis0_2",
    ]


def test_a_negative_size_means_unknown() -> None:
    (spec,) = signature_of(ir.from_proto(proto(tensor("x", [-1, 2])))).inputs
    assert [str(axis) for axis in spec.shape or ()] == ["x_axis0", "2"]


def test_an_unknown_rank_is_no_shape() -> None:
    (spec,) = signature_of(ir.from_proto(proto(tensor("x", None)))).inputs
    assert spec.shape is None


def test_initialisers_are_no_inputs() -> None:
    found = signature("g (float[2] x, float[2] w = {1., 2.}) => (float[2] y) { y = Add(x, w) }")
    assert [spec.name for spec in found.inputs] == ["x"]


def test_a_model_may_take_nothing() -> None:
    assert signature("g () => (float[2] y) <float[2] y = {1., 2.}> { }").inputs == ()


@pytest.mark.parametrize(
    "kind",
    [
        helper.make_sequence_type_proto(TENSOR),
        helper.make_optional_type_proto(TENSOR),
        helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, [2]),
    ],
    ids=["sequence", "optional", "sparse"],
)
def test_what_is_not_a_tensor_is_refused_by_name(kind: onnx.TypeProto) -> None:
    model = proto(helper.make_value_info("stuff", kind))
    with pytest.raises(UnavailableError, match=r"'stuff'.*tensors only"):
        signature_of(ir.from_proto(model))
    with pytest.raises(UnavailableError, match=r"'stuff'.*tensors only"):
        check_tensors_only(model)


@pytest.mark.parametrize("role", ["input", "output"])
def test_a_map_is_refused_before_onnx_ir_reads_it(role: str) -> None:
    model = proto(tensor("x", [1]))
    value = getattr(model.graph, role).add(name="scores")
    value.type.map_type.key_type = TensorProto.INT64
    value.type.map_type.value_type.CopyFrom(TENSOR)
    with pytest.raises(UnavailableError, match=rf"{role} 'scores' has type map"):
        check_tensors_only(model)


def test_a_model_of_tensors_is_let_through() -> None:
    check_tensors_only(proto(tensor("x", [1])))


def test_an_output_without_a_type_is_named() -> None:
    model = proto(tensor("x", [1]))
    model.graph.output[0].ClearField("type")
    with pytest.raises(InputError, match=r"'out' has no element type"):
        signature_of(ir.from_proto(model))


def test_one_name_for_two_outputs_is_refused() -> None:
    model = proto(tensor("x", [1]))
    model.graph.output.append(model.graph.output[0])
    with pytest.raises(InputError, match=r"output 'out' is listed twice"):
        signature_of(ir.from_proto(model))
