"""What a target compiles: right on its own terms, repaired where a runtime is wrong, or refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from roadworthy.backends import registry
from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.core.errors import (
    EXIT_UNAVAILABLE,
    CompileError,
    SamplesError,
    UnavailableError,
    WrongAnswersError,
)
from roadworthy.core.samples import Samples
from roadworthy.core.target import Target
from roadworthy.graph.serial import from_files
from roadworthy.pipeline import lowering as lowering_module
from roadworthy.pipeline.deploy import deploy
from roadworthy.pipeline.lowering import LOWERED, Lowering, wants_types
from roadworthy.pipeline.request import make_request
from roadworthy.precision.dialect import COMPUTE, dialect_for
from roadworthy.verify.engine import verify_engine
from roadworthy.verify.tolerance import QUANTISED_CEILING
from tests.models import normal
from tests.unit.backends.quantised import deafen
from tests.unit.pipeline import int8_nets as nets
from tests.unit.precision.int8_made import quiet


@pytest.fixture(scope="module")
def matmul(tmp_path_factory):
    model = nets.write(
        tmp_path_factory.mktemp("matmul") / "m.onnx", nets.MATMUL, nets.matmul_weights()
    )
    evidence = nets.evidence_of(model, nets.feeds())
    with evidence.prepared.trusted:
        yield evidence


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    model = nets.write(tmp_path_factory.mktemp("unet") / "u.onnx", nets.UNET, nets.unet_weights())
    evidence = nets.evidence_of(model, nets.feeds(4, 1, 8, 16, 16))
    with evidence.prepared.trusted:
        yield evidence


def compiled(lowered, evidence, target):
    options = CompileOptions(precision="int8", threads=1)
    where = Target.parse(target)
    backend = registry.find(where.backend)
    return backend.compile(lowered.model, evidence.prepared.signature, where, options)


def judged(lowered, evidence, target):
    engine = compiled(lowered, evidence, target)
    return verify_engine(engine, evidence.prepared.trusted.cases, lowered.limits)


def quantised_matmuls(model: ir.Model) -> list[str]:
    """The MatMuls that read nothing but what a DequantizeLinear gives."""
    found = []
    for node in model.graph:
        producers = [value.producer() for value in node.inputs if value is not None]
        kinds = {producer.op_type if producer is not None else "" for producer in producers}
        if node.op_type == "MatMul" and kinds == {"DequantizeLinear"}:
            found.append(node.name)
    return found


def deployed_where(refuses, tmp_path, monkeypatch):
    """Deploy in INT8 to an ONNX Runtime that can't build the INT8 graphs that are refused."""
    backend, said = registry.find("onnxruntime"), []
    really = backend.compile

    def compile_(model, signature, target, options, *more):
        if options.precision == "int8" and options.optimise and refuses(model):
            said.append(f"attempt {len(said) + 1}: no kernel for it")
            raise CompileError(said[-1])
        return really(model, signature, target, options, *more)

    monkeypatch.setattr(backend, "compile", compile_, raising=False)
    model = nets.write(tmp_path / "m.onnx", nets.MATMUL, nets.matmul_weights())
    return deploy(
        make_request(
            model, nets.feeds(), targets="onnxruntime", precision="int8", method="minmax",
            threads=1, measure_seconds=0.0, out=tmp_path / "m.rw",
        )
    )  # fmt: skip


class TestOnePassForAll:
    def test_calibration_runs_once_for_all_targets(self, unet):
        told = nets.Told()
        lowering = nets.lowering_of(unet, "onnxruntime", "openvino")
        for name in ("onnxruntime", "openvino"):
            lowered = next(lowering.attempts(Target(name), "int8", told))
            assert lowered.account["dialect"] == name
            assert judged(lowered, unet, name).passed
        assert told.said.count("calibrate") == 1

    def test_the_account_says_what_was_done(self, unet):
        lowering = nets.lowering_of(unet, method="auto")
        lowered = next(lowering.attempts(Target("onnxruntime"), "int8", quiet))
        account = lowered.account
        assert account["precision"] == "int8"
        assert account["nodes"]["int8"] == len(lowered.plan.decisions) - account["nodes"]["fp32"]
        assert {item["node"] for item in account["exceptions"]} == {"first", "up", "last"}
        assert all(item["why"] for item in account["exceptions"])
        assert account["calibration"]["count"] == 3
        assert account["calibration"]["source"] == "samples"
        assert account["held_back"] == 1
        assert len(account["scores"]) == 4
        assert all(limit.limit <= QUANTISED_CEILING for limit in lowered.limits.values())
        assert "computed literally" in lowered.limits["y"].origin


class TestAWrongRuntime:
    def test_signed_activations_on_openvino_never_pass(self, unet, monkeypatch):
        """The same graph is right where it is computed as it is written."""
        signed = replace(dialect_for("tensorrt"), compute=COMPUTE)
        monkeypatch.setattr(lowering_module, "dialect_of", lambda target: signed)
        lowering = nets.lowering_of(unet, "openvino")
        first, *others = lowering.attempts(Target("openvino"), "int8", quiet)
        literal = compiled(first, unet, "onnxruntime")
        literal = replace(literal, options=CompileOptions(optimise=False, threads=1))
        cases = unet.prepared.trusted.cases
        assert verify_engine(literal, cases, first.limits).passed
        verdict = judged(first, unet, "openvino")
        assert not verdict.passed
        assert "above the tolerance" in verdict.failures[0]
        # With islands it is right or still refused; each of them is another graph.
        assert others
        assert len({first.digest, *(item.digest for item in others)}) == 1 + len(others)
        for item in others:
            assert any("float island" in e["why"] for e in item.account["exceptions"])

    def test_a_runtime_that_is_wrong_with_one_operator_is_repaired(self, matmul, monkeypatch):
        """A real session, whose answers are spoilt while its graph has a MatMul in INT8."""
        really = Engine.open

        def spoilt(engine):
            session = really(engine)
            files = {n: c for n, c in engine.files.items() if ".onnx" in n}
            if engine.options.optimise and quantised_matmuls(from_files(files)):
                run = session.runner.run
                session.runner.run = lambda feed: {n: a * 1.5 for n, a in run(feed).items()}
            return session

        monkeypatch.setattr(Engine, "open", spoilt)
        lowering = nets.lowering_of(matmul)
        attempts = lowering.attempts(Target("onnxruntime"), "int8", quiet)
        first = next(attempts)
        assert quantised_matmuls(first.model) == ["mm"]
        assert not judged(first, matmul, "onnxruntime").passed
        second = next(attempts)
        assert quantised_matmuls(second.model) == []
        assert judged(second, matmul, "onnxruntime").passed
        why = {item["node"]: item["why"] for item in second.account["exceptions"]}
        assert why["mm"] == (
            "float island: onnxruntime computes the plan wrongly with MatMul in it"
        )
        # What was in float before keeps its own reason, and the rest is in INT8 as before.
        assert why["first"].startswith("first layer")
        assert second.account["nodes"]["int8"] >= 2

    def test_a_plan_that_cannot_be_built_is_built_without_what_stands_in_the_way(
        self, tmp_path, monkeypatch
    ):
        ended = deployed_where(lambda model: quantised_matmuls(model), tmp_path, monkeypatch)
        assert ended.exit_code == 0
        [result] = ended.results
        why = {item["node"]: item["why"] for item in result.certificate.lowering["exceptions"]}
        assert why["mm"] == "float island: onnxruntime can't build the plan with MatMul in it"
        assert result.certificate.lowering["nodes"]["int8"] >= 2

    def test_where_no_plan_can_be_built_the_first_ones_reason_is_given(self, tmp_path, monkeypatch):
        tried = []
        ended = deployed_where(lambda model: tried.append(model) or True, tmp_path, monkeypatch)
        [result] = ended.results
        assert len(tried) == 2
        assert result.error.what == "attempt 1: no kernel for it"
        assert ended.exit_code == result.error.exit_code
        assert ended.bundle is None

    def test_an_engine_that_runs_none_of_it_in_int8_is_refused(self, tmp_path, monkeypatch):
        """As one that can't be built: the islands are tried first, and then it is exit 4."""
        deafen(monkeypatch)
        tried = []
        ended = deployed_where(lambda model: tried.append(model), tmp_path, monkeypatch)
        [result] = ended.results
        assert len(tried) == 2
        assert "no layer of the engine runs in it: " in result.error.what
        assert ended.exit_code == EXIT_UNAVAILABLE
        assert ended.bundle is None
        assert not (tmp_path / "m.rw").exists()

    def test_an_island_that_changes_nothing_is_no_attempt(self, matmul):
        """Of the suspects only MatMul is in this network in INT8."""
        attempts = list(nets.lowering_of(matmul).attempts(Target("onnxruntime"), "int8", quiet))
        assert len(attempts) == 2

    def test_islands_that_leave_no_int8_are_no_attempt(self, tmp_path):
        """It would be an FP32 engine under the name of an INT8 one."""
        graph = """g (float[4, 8] x) => (float[4, 8] y) {
            a = MatMul(x, w) b = Relu(a) c = MatMul(b, w) d = Relu(c) y = MatMul(d, w)
        }"""
        model = nets.write(tmp_path / "m.onnx", graph, {"w": normal(8, 8) * 0.3})
        evidence = nets.evidence_of(model, nets.feeds(4, 4, 8))
        with evidence.prepared.trusted:
            [only] = nets.lowering_of(evidence).attempts(Target("onnxruntime"), "int8", quiet)
        assert only.account["nodes"]["int8"] >= 1


class TestRefusals:
    @pytest.mark.parametrize("graph", [nets.PLAIN, nets.WHOLE])
    def test_a_network_with_nothing_to_quantise(self, graph, tmp_path):
        model = nets.write(tmp_path / "m.onnx", graph)
        dtype = np.int64 if "int64" in graph else np.float32
        evidence = nets.evidence_of(model, [{"x": np.ones((2, 8), dtype)}])
        with evidence.prepared.trusted:
            attempts = nets.lowering_of(evidence).attempts(Target("openvino"), "int8", quiet)
            with pytest.raises(UnavailableError, match="nothing in this network would run in INT8"):
                next(attempts)

    def test_a_backend_without_int8(self, matmul):
        with pytest.raises(UnavailableError, match="tvm"):
            next(nets.lowering_of(matmul, "tvm").attempts(Target("tvm"), "int8", quiet))

    def test_quantisation_that_costs_too_much(self, tmp_path):
        """One weight column a million times larger than the rest, and then taken away again."""
        graph = """g (float[4, 8] x) => (float[4, 8] y) {
            a = MatMul(x, w1) b = MatMul(a, w2) y = MatMul(b, w3)
        }"""
        large, small = np.eye(8, dtype=np.float32), np.eye(8, dtype=np.float32)
        large[0, 0], small[0, 0] = 1e6, 1e-6
        weights = {"w1": large, "w2": np.eye(8, dtype=np.float32), "w3": small}
        model = nets.write(tmp_path / "m.onnx", graph, weights)
        evidence = nets.evidence_of(model, nets.feeds(4, 4, 8))
        with evidence.prepared.trusted:
            attempts = nets.lowering_of(evidence).attempts(Target("onnxruntime"), "int8", quiet)
            with pytest.raises(WrongAnswersError, match="quantisation itself costs too") as caught:
                next(attempts)
        assert "'y'" in caught.value.what
        assert "computed literally" in caught.value.where
        assert "higher precision" in caught.value.remedy

    @pytest.mark.parametrize(
        "feed", [{"x": normal(1, 3, 8, 8)}, {"z": normal(1, 8, 8, 8)}, {"x": np.ones((1, 8, 8, 8))}]
    )
    def test_calibration_samples_that_do_not_fit(self, matmul, feed):
        request = make_request("m.onnx", "s", precision="int8")
        with pytest.raises(SamplesError):
            Lowering(request, matmul, Samples.of_arrays([feed]))


class TestTypes:
    @pytest.mark.parametrize(("version", "wanted"), [("10.16.1", False), ("11.4.0", True)])
    def test_tensorrt_11_is_given_a_graph_in_fp16(self, matmul, monkeypatch, version, wanted):
        backend = registry.find("tensorrt")
        monkeypatch.setattr(type(backend), "fingerprint", lambda *_: {"version": version})
        assert wants_types(Target("tensorrt")) is wanted
        lowering = nets.lowering_of(matmul, "tensorrt", precision="fp16", method="auto")
        [lowered] = lowering.attempts(Target("tensorrt"), "fp16", quiet)
        halves = {
            value.dtype.name
            for node in lowered.model.graph
            for value in node.outputs
            if value.dtype is not None
        }
        assert ("FLOAT16" in halves) is wanted
        assert "known error of fp16" in lowered.limits["y"].origin
        if wanted:
            assert lowered.account["precision"] == "fp16"
            assert lowered.account["nodes"]["fp16"] >= 5
            assert lowered.account["calibration"]["method"] == "ranges"
            assert lowered.digest != matmul.model_digest
        else:
            assert (lowered.plan, lowered.account) == (None, {})
            assert lowered.digest == matmul.model_digest

    def test_no_other_backend_is_asked(self, matmul, monkeypatch):
        """Asking TensorRT may start a worker: it costs seconds and may not be there."""

        def asked(*_):
            raise AssertionError("no fingerprint is needed")

        for name in ("tensorrt", "onnxruntime", "openvino"):
            monkeypatch.setattr(type(registry.find(name)), "fingerprint", asked)
        for name in ("onnxruntime", "openvino", "openvino:GPU"):
            assert wants_types(Target.parse(name)) is False
        for name, precision in (("openvino", "fp16"), ("tensorrt", "fp32"), ("tensorrt", "tf32")):
            [lowered] = nets.lowering_of(matmul, name, precision=precision, method="auto").attempts(
                Target(name), precision, quiet
            )
            assert lowered.model is matmul.model

    def test_the_account_says_why_weights_are_reduced(self, matmul, monkeypatch):
        careful = dialect_for("onnxruntime").careful("weights have 7 bits: nobody knows")
        monkeypatch.setattr(lowering_module, "dialect_of", lambda target: careful)
        attempts = nets.lowering_of(matmul).attempts(Target("onnxruntime"), "int8", quiet)
        assert "weights have 7 bits: nobody knows" in next(attempts).account["notes"]


class TestWhatShips:
    def test_the_lowered_graph_is_kept_with_the_engine(self, unet):
        lowering = nets.lowering_of(unet, "openvino")
        lowered = next(lowering.attempts(Target("openvino"), "int8", quiet))
        engine = compiled(lowered, unet, "openvino")
        files = lowered.kept_with(replace(engine, files={"engine.plan": b"made"})).files
        assert files["engine.plan"] == b"made"
        kept = from_files({name: files[name] for name in files if name.startswith(LOWERED)})
        kinds = [node.op_type for node in kept.graph]
        assert kinds == [node.op_type for node in lowered.model.graph]
        assert "QuantizeLinear" in kinds
        inside = compiled(lowered, unet, "onnxruntime")
        assert lowered.kept_with(inside).files.keys() == inside.files.keys()

    def test_a_wrong_plan_is_not_shipped(self, tmp_path, monkeypatch):
        monkeypatch.setattr(lowering_module, "dialect_of", lambda target: dialect_for("tensorrt"))
        monkeypatch.setattr(lowering_module, "_SUSPECTS", ())
        model = nets.write(tmp_path / "u.onnx", nets.UNET, nets.unet_weights())
        ended = deploy(
            make_request(
                model, nets.feeds(4, 1, 8, 16, 16), targets="openvino", precision="int8",
                method="minmax", threads=1, measure_seconds=0.0, out=tmp_path / "u.rw",
            )
        )  # fmt: skip
        assert ended.exit_code == 3
        assert ended.bundle is None
        assert [item.name for item in tmp_path.iterdir()] == ["u.onnx"]
