"""What really runs in OpenVINO, read from its runtime model."""

import pytest

from roadworthy.backends.openvino.proof import proof_of
from roadworthy.graph.serial import to_files
from tests.models import convnet
from tests.unit.backends.openvino.made import compiled, cpu_can
from tests.unit.backends.quantised import CONVOLUTIONS, block, quantised


def test_fp32_is_fp32() -> None:
    proof = compiled(block()).proof
    assert proof["layers"].keys() == {"fp32"}
    assert {node: proof["nodes"][node] for node in CONVOLUTIONS} == dict.fromkeys(
        CONVOLUTIONS, "fp32"
    )


def test_int8_convolutions_are_told_by_name_with_and_without_a_bias() -> None:
    nodes = compiled(quantised("openvino")[0], "int8").proof["nodes"]
    assert {node: nodes[node] for node in CONVOLUTIONS} == {
        "first": "fp32", "c1": "int8", "c2": "int8", "c3": "int8", "last": "fp32",
    }  # fmt: skip
    assert nodes["r1"] == "int8"


def test_the_account_of_every_step_is_for_the_host_only() -> None:
    assert "executed" not in compiled(convnet()).proof


@pytest.mark.skipif(not cpu_can("BF16"), reason="this CPU has no bf16")
def test_bf16_is_bf16() -> None:
    assert set(compiled(block(), "bf16").proof["nodes"].values()) >= {"bf16"}


def told(kind: str, element: str, name: str = "c", capabilities: tuple[str, ...] = ()):
    """A step of CONVNET's, as the runtime tells it; the node `c` is its first convolution."""
    account = {"executed": [[name, kind, element, [name]]], "capabilities": list(capabilities)}
    return proof_of(account, to_files(convnet(), "model.onnx"))


def test_a_subgraph_that_takes_in_bytes_may_compute_in_floats() -> None:
    """Seen with boolean masks: runtimePrecision says u8."""
    assert told("Subgraph", "u8", "r") == {
        "capabilities": [], "layers": {"other": 1}, "nodes": {},
    }  # fmt: skip


def test_halves_prove_nothing_on_a_device_that_has_none() -> None:
    assert told("Convolution", "f16")["nodes"] == {}
    assert told("Convolution", "f16", capabilities=("FP16",))["nodes"] == {"c": "fp16"}
    assert told("Subgraph", "f16", "r", ("FP16",))["nodes"] == {}


def test_a_bias_added_elsewhere_is_not_the_convolution() -> None:
    assert told("Eltwise", "f32")["nodes"] == {}
    assert told("Convolution", "u8", "c/WithoutBiases")["nodes"] == {"c": "int8"}
