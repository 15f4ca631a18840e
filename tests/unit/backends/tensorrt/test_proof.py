"""What a plan's layers compute in, by ONNX node; no GPU: the inspector's account is given."""

import json

import pytest

from roadworthy.backends.tensorrt.proof import name_rows, operators_in, proof_of, with_nodes
from roadworthy.backends.tensorrt.runtime.proof import layer_precision
from roadworthy.graph.serial import to_files
from tests.unit.backends.quantised import quantised

FP32, INT8 = "Row major linear FP32", "Thirty-two wide channel vectorized row major Int8 format"


def layer(name: str, taken: str, given: str, kind: str = "CaskConvolution", **more):
    def tensor(text):
        return {"Name": "t", "Format/Datatype": text}

    return {
        "Name": name, "LayerType": kind, "Inputs": [tensor(taken)], "Outputs": [tensor(given)],
        **more,
    }  # fmt: skip


LAYERS = [
    layer("Reformatting CopyNode for Input Tensor 0", FP32, FP32, "Reformat"),
    layer("first + r0", FP32, FP32, TacticName="sm80_xmma_fprop_f32f32_f32f32_f32_nhwckrsc"),
    layer("b_QuantizeLinear", FP32, INT8, "Scale"),
    layer("k1 + k1_QuantizeLinear + c1 + r1", INT8, INT8),
    layer("k2 + k2_QuantizeLinear + c2 + add + r2", INT8, INT8),
    layer("j", INT8, FP32, Metadata="[ONNX Layer: c3]\x1e[ONNX Layer: r3]"),
    layer("last", FP32, FP32),
]


def proof(layers):
    model, _ = quantised("tensorrt")
    files = {"engine.plan": b"", "layers.json": json.dumps(layers).encode()}
    return proof_of({"asked": "int8"}, files, operators_in(to_files(model, "model.onnx")))


def test_int8_layers_are_told_by_their_nodes() -> None:
    found = proof(LAYERS)
    assert found["asked"] == "int8"
    assert found["layers"] == {"int8": 3, "fp32": 2}
    assert found["nodes"] == {
        "first": "fp32", "r0": "fp32", "c1": "int8", "r1": "int8", "c2": "int8", "add": "int8",
        "r2": "int8", "c3": "int8", "r3": "int8", "last": "fp32",
    }  # fmt: skip


def test_a_fused_subgraph_counts_and_proves_nothing_of_its_nodes() -> None:
    found = proof([layer("{ForeignNode[c1...c3]}", INT8, INT8, "Myelin")])
    assert found["layers"] == {"int8": 1}
    assert found["nodes"] == {}


@pytest.mark.parametrize(
    ("taken", "given", "dtype"),
    [(FP32, INT8, "fp32"), (INT8, FP32, "int8"), (INT8, INT8, "int8"), ("Half", INT8, "fp16")],
)
def test_what_quantises_its_own_result_computes_in_what_it_takes(taken, given, dtype) -> None:
    assert layer_precision(layer("first", taken, given)) == dtype


def test_a_profile_names_nodes_of_the_graph_only() -> None:
    model, _ = quantised("tensorrt")
    made = "reshape_before_c1 + c1 + r1"
    layers = [layer(made, FP32, FP32), layer("last", FP32, FP32)]
    files = {"engine.plan": b"", "layers.json": json.dumps(layers).encode()}
    files = with_nodes(files, operators_in(to_files(model, "model.onnx")))
    assert json.loads(files["layers.json"])[0] == {**layers[0], "onnx": ["c1", "r1"]}
    rows = [{"name": made, "onnx": ["reshape_before_c1", "c1", "r1"]}, {"name": "?", "onnx": ["?"]}]
    name_rows(rows, files)
    assert [row["onnx"] for row in rows] == [["c1", "r1"], []]
    adopted = [{"name": "?", "onnx": ["?"]}]
    name_rows(adopted, {"old.plan": b""})
    assert adopted == [{"name": "?", "onnx": ["?"]}]
