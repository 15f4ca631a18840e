"""INT8 for a TensorRT that keeps to the graph's types: FP16 beside it, judged, with reasons."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from roadworthy.backends import registry
from roadworthy.backends.base import CompileOptions
from roadworthy.backends.tensorrt.lower import build_inputs
from roadworthy.backends.tensorrt.options import parse_options
from roadworthy.backends.tensorrt.runtime.config import check_precision, is_strong
from roadworthy.core.target import Target
from roadworthy.graph.serial import from_files
from roadworthy.pipeline import stated as stated_module
from roadworthy.pipeline.stated import stated, states_int8, wants_types
from roadworthy.precision.half.quantised import is_int8
from roadworthy.precision.typed import check, opset_of
from roadworthy.verify.engine import verify_engine
from tests.unit.pipeline import int8_nets as nets
from tests.unit.precision.int8_made import quiet

TARGET = Target("tensorrt")
POOLED = nets.MATMUL.replace(
    "[c3] f = Conv<pads = [1, 1, 1, 1]>(e, k3)",
    "p = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(e) "
    "[c3] f = Conv<pads = [1, 1, 1, 1]>(p, k3)",
)


def evidence_at(path, graph, weights, opset, *shape):
    """What is known of a network of this opset."""
    file = nets.write(path / "m.onnx", graph, weights)
    proto = onnx.load(file)
    proto.opset_import[0].version = opset
    onnx.save(proto, file)
    return nets.evidence_of(file, nets.feeds(4, *shape))


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unet18")
    evidence = evidence_at(folder, nets.UNET, nets.unet_weights(), 18, 1, 8, 16, 16)
    with evidence.prepared.trusted:
        yield evidence


@pytest.fixture
def version(monkeypatch):
    """Set the version of the TensorRT that is there."""

    def is_there(text):
        backend = registry.find("tensorrt")
        monkeypatch.setattr(type(backend), "fingerprint", lambda *_: {"version": text})

    return is_there


def first_attempt(evidence, **options):
    lowering = nets.lowering_of(evidence, "tensorrt", **options)
    return next(lowering.attempts(TARGET, "int8", quiet))


def int8_dtypes(model):
    return {node.outputs[0].dtype.name for node in model.graph if is_int8(node)}


class TestWho:
    @pytest.mark.parametrize(
        ("there", "extra", "types", "int8"),
        [
            ("8.6.0", (), False, False),
            ("9.3.0", (), False, False),
            ("10.0.1", (), False, True),
            ("10.16.1", (("typing", "strong"),), False, True),
            ("10.16.1", (("typing", "weak"),), False, False),
            ("11.4.0", (("typing", "weak"),), True, True),
        ],
    )
    def test_a_version_decides(self, version, there, extra, types, int8):
        version(there)
        assert wants_types(TARGET) is types
        assert states_int8(TARGET, extra) is int8

    @pytest.mark.parametrize(("there", "typing"), [("10.0.1", "weak"), ("8.6.0", "auto")])
    def test_the_build_agrees(self, unet, version, there, typing):
        """Where the types of the graph don't decide, the graph is as it was."""
        version(there)
        lowered = first_attempt(unet, options=[f"tensorrt.typing={typing}"])
        assert int8_dtypes(lowered.model) == {"FLOAT"}
        assert opset_of(lowered.model) == 18
        assert set(lowered.account["nodes"]) == {"int8", "fp32"}


class TestAGraphThatStatesItsTypes:
    @pytest.mark.parametrize("there", ["10.0.1", "11.4.0"])
    def test_int8_operators_give_fp16_and_the_account_says_so(self, unet, version, there):
        version(there)
        lowered = first_attempt(unet)
        assert int8_dtypes(lowered.model) == {"FLOAT16"}
        assert opset_of(lowered.model) == 19
        assert check(lowered.model) == ""
        account = lowered.account
        assert account["precision"] == "int8"
        assert set(account["nodes"]) == {"int8", "fp16"}
        why = {item["node"]: (item["dtype"], item["why"]) for item in account["exceptions"]}
        assert why["first"][0] == why["last"][0] == "fp16"
        assert why["first"][1].startswith("first layer")
        assert "taken from ONNX opset 18 to 19, for FP16 scales" in account["notes"]
        json.dumps(account, allow_nan=False)

    def test_the_literal_graph_is_the_measure(self, unet, version):
        version("11.4.0")
        lowered = first_attempt(unet)
        target = Target("onnxruntime")
        options = CompileOptions(optimise=False, threads=1)
        engine = registry.find("onnxruntime").compile(
            lowered.model, unet.prepared.signature, target, options
        )
        verdict = verify_engine(engine, unet.prepared.trusted.cases, lowered.limits)
        assert verdict.passed
        assert "computed literally" in lowered.limits["y"].origin

    @pytest.mark.parametrize(("there", "reads"), [("10.0.1", 20), ("11.4.0", 24)])
    def test_it_is_handed_over_as_it_is(self, unet, version, there, reads):
        version(there)
        lowered = first_attempt(unet)
        options = CompileOptions(precision="int8")
        files, spec = build_inputs(
            lowered.model, unet.prepared.signature, options, parse_options(()), {"version": there}
        )
        assert spec["typing"] == "strong"
        assert spec["quantized"]
        assert {"float16", "int8"} <= set(spec["graph_types"])
        trt = SimpleNamespace(__version__=there)
        check_precision(trt, spec)
        assert is_strong(trt, spec)
        given = from_files(files)
        assert opset_of(given) == 19 <= reads
        assert int8_dtypes(given) == {"FLOAT16"}

    def test_ranges_and_opset_are_found_once_for_all_attempts(self, tmp_path, version):
        version("11.4.0")
        told = nets.Told()
        evidence = evidence_at(tmp_path, nets.MATMUL, nets.matmul_weights(), 18)
        with evidence.prepared.trusted:
            attempts = list(nets.lowering_of(evidence, "tensorrt").attempts(TARGET, "int8", told))
        assert len(attempts) == 2
        # INT8's own calibration, and the ranges of what isn't INT8.
        assert told.said.count("calibrate") == 2
        assert told.said.count("opset 19") == 1
        assert len({item.digest for item in attempts}) == 2
        assert int8_dtypes(attempts[1].model) == {"FLOAT16"}


class TestOpset:
    def test_an_older_network_is_taken_up_too(self, tmp_path, version):
        version("10.0.1")
        evidence = evidence_at(tmp_path, nets.MATMUL, nets.matmul_weights(), 17)
        with evidence.prepared.trusted:
            lowered = first_attempt(evidence)
        assert opset_of(lowered.model) == 19
        assert int8_dtypes(lowered.model) == {"FLOAT16"}

    def test_a_newer_one_stays(self, tmp_path, version):
        version("11.4.0")
        evidence = evidence_at(tmp_path, nets.MATMUL, nets.matmul_weights(), 21)
        with evidence.prepared.trusted:
            lowered = first_attempt(evidence)
        assert opset_of(lowered.model) == 21
        assert int8_dtypes(lowered.model) == {"FLOAT16"}
        assert not any("opset" in note for note in lowered.account["notes"])

    def test_an_average_pooling_is_judged_by_the_fp32_tolerance(self, tmp_path):
        """ONNX Runtime itself adds up in another order there from opset 19 on."""
        evidence = evidence_at(tmp_path, POOLED, nets.matmul_weights(), 18)
        with evidence.prepared.trusted:
            found = stated(evidence.model, evidence, evidence.samples, quiet)
        assert opset_of(found.model) == 19
        assert found.note.startswith("taken from ONNX opset 18 to 19")

    @pytest.mark.parametrize("graph", [nets.MATMUL, POOLED])
    def test_other_answers_leave_it_where_it_was(self, graph, tmp_path, version, monkeypatch):
        """And all that touches INT8 in FP32, with the reason."""
        version("11.4.0")
        really = stated_module.raised

        def wrongly(model):
            found, reason = really(model)
            weight = found.graph.initializers["k3"]
            spoilt = weight.const_value.numpy() * np.float32(1.01)
            weight.const_value = ir.tensor(spoilt, name="k3")
            return found, reason

        evidence = evidence_at(tmp_path, graph, nets.matmul_weights(), 18)
        monkeypatch.setattr(stated_module, "raised", wrongly)
        with evidence.prepared.trusted:
            lowered = first_attempt(evidence)
        assert opset_of(lowered.model) == 18
        assert int8_dtypes(lowered.model) == {"FLOAT"}
        [note] = [note for note in lowered.account["notes"] if "opset" in note]
        assert "couldn't be taken to 19: its answers changed" in note
        why = {item["node"]: item["why"] for item in lowered.account["exceptions"]}
        assert "ONNX opset 18 has no FLOAT16" in why["k3_DequantizeLinear"]
