"""How a plan is judged. ONNX Runtime gives the answers here: an engine with a plan's account of
itself. tests/device/test_plan_source.py does the same with TensorRT's own plans.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from roadworthy.backends.tensorrt.plan import signature_of_plan
from roadworthy.core.errors import UnavailableError, UsageError
from roadworthy.core.inputspec import parse_inputs
from roadworthy.core.signature import Signature, TensorSpec
from roadworthy.pipeline.adopted import judge_plan, judged_precision, with_int64
from roadworthy.pipeline.subjects import narrowed
from roadworthy.source.onnx.source import OnnxSource
from tests import models

ROWS = 4
PROFILES = [[[1, 3], [4, 3], [8, 3]]]


def adopted(weights=None, profiles=PROFILES, **layers):
    """Return PERCEPTRON as an engine that tells of itself what a plan tells."""
    tensors = [
        {"name": "x", "input": True, "dtype": "FLOAT", "shape": [-1, 3], "ranges": profiles},
        {"name": "y", "input": False, "dtype": "FLOAT", "shape": [-1, 2], "ranges": []},
        {"name": "label", "input": False, "dtype": "INT64", "shape": [-1], "ranges": []},
    ]
    model = models.network(models.PERCEPTRON, weights or models.perceptron_weights())
    engine = models.engine(model, signature_of_plan(tensors))
    proof = {"tensors": tensors, "layers": layers or {"fp32": 3}, "opaque": {}}
    return replace(engine, proof=proof)


def altered(factor):
    given = models.perceptron_weights()
    return {**given, "w2": given["w2"] * np.float32(factor)}


@pytest.fixture
def place(tmp_path):
    onnx.save(models.proto(models.PERCEPTRON, models.perceptron_weights()), tmp_path / "m.onnx")
    x = models.normal(ROWS, 3, seed=3)
    np.savez(tmp_path / "samples.npz", x=x)
    np.savez(tmp_path / "answers.npz", **models.perceptron_in_numpy({"x": x}))
    return tmp_path


def judge(engine, place, trusted=None, **how):
    trusted = trusted or OnnxSource(place / "m.onnx")
    return judge_plan(engine, place / "samples.npz", (), trusted, **how)


def limit(said, output="y"):
    return next(o.tolerance for o in said.verdict.cases[0].outputs if o.name == output)


def test_by_another_network_at_every_shape_that_the_plan_takes(place):
    said = judge(adopted(), place)
    assert said.verdict.passed, said.verdict.failures
    assert [case.case for case in said.verdict.cases] == ["samples", "smallest", "odd", "largest"]
    assert said.verdict.cases[3].sizes == {"x_axis0": 8}
    assert "onnxruntime" in said.judge


def test_by_given_answers_at_the_samples_only(place):
    said = judge(adopted(), place, place / "answers.npz")
    assert said.verdict.passed, said.verdict.failures
    assert [case.case for case in said.verdict.cases] == ["samples"]
    assert any("no other shape" in note for note in said.notes)


@pytest.mark.parametrize("trusted", [None, "answers.npz"])
def test_another_networks_plan_fails(place, trusted):
    said = judge(adopted(altered(1.001)), place, place / trusted if trusted else None)
    assert not said.verdict.passed
    assert "relative L2" in said.verdict.failures[0]


def test_the_tolerance_follows_the_layers_and_says_so(place):
    exact, half = judge(adopted(), place), judge(adopted(fp32=2, fp16=1), place)
    assert "3 of 3 layers of the plan run in fp32" in limit(exact).origin
    assert "1 of 3 layers of the plan run in fp16" in limit(half).origin
    assert limit(exact).limit < 1e-4 < limit(half).limit
    # An error that FP16 may have and FP32 may not.
    assert judge(adopted(altered(1.001), fp32=2, fp16=1), place).verdict.passed


def test_a_plan_that_does_not_tell_is_judged_strictly_unless_the_user_says(place):
    silent = adopted(altered(1.001), other=3)
    strict = judge(silent, place)
    assert not strict.verdict.passed
    assert "doesn't tell" in limit(strict).origin
    assert any("--precision" in note for note in strict.notes)
    stated = judge(silent, place, precision="fp16")
    assert stated.verdict.passed
    assert "fp16 was stated with --precision" in limit(stated).origin
    assert not any("--precision tf32" in note for note in stated.notes)


def test_the_depth_is_the_graphs_or_else_the_layers(place):
    assert "depth 3" in limit(judge(adopted(fp32=50), place)).origin
    by_answers = judge(adopted(fp32=50), place, place / "answers.npz")
    assert "depth 50" in limit(by_answers).origin
    assert "layers were counted" in limit(by_answers).origin


def test_shapes_in_no_profile_are_left_out_and_named(place):
    two = [[[1, 3], [1, 3], [1, 3]], [[4, 3], [4, 3], [4, 3]], [[8, 3], [8, 3], [8, 3]]]
    said = judge(adopted(profiles=two), place)
    assert said.verdict.passed
    assert [case.case for case in said.verdict.cases] == ["samples", "smallest", "largest"]
    assert [note for note in said.notes if "no profile" in note] == [
        "case odd was not judged: no profile of the plan takes its sizes"
    ]


def test_a_stated_precision_must_not_contradict_the_plan():
    for precision, layers, said in [
        ("fp16", {"fp32": 3}, "run in fp32"),
        ("fp32", {"fp16": 3}, "run in fp16"),
        ("fp8", {"other": 3}, "isn't a precision"),
        ("half", {"other": 3}, "isn't a precision"),
    ]:
        with pytest.raises(UsageError, match=said):
            judged_precision(adopted(**layers), precision)
    assert judged_precision(adopted(fp32=3), "fp32")[0] == "fp32"


def test_a_precision_whose_error_is_not_known_is_not_judged():
    with pytest.raises(UnavailableError, match="fp8") as caught:
        judged_precision(adopted(fp16=2, fp8=1), None)
    assert "deploy" in str(caught.value.remedy)


def test_int32_stands_for_int64_where_the_reference_has_that():
    plan = Signature(
        (TensorSpec("ids", "int32", (4,)), TensorSpec("mask", "int32", (4,))),
        (TensorSpec("label", "int32", (4,)), TensorSpec("y", "float16", (4,))),
    )
    found = with_int64(plan, {"ids": "int64", "mask": "int32", "label": "int64", "y": "int64"})
    assert [spec.dtype for spec in found] == ["int64", "int32", "int64", "float16"]


def ranged(*inputs):
    return str(narrowed(adopted().signature, parse_inputs(inputs), "old.plan").inputs[0])


def test_inputs_name_the_plans_axes_and_narrow_them():
    assert ranged() == "x[x_axis0=1..8,3]:float32"
    assert ranged("x[batch,3]") == "x[batch=1..8,3]:float32"
    assert ranged("x[batch=2..4,3]") == "x[batch=2..4,3]:float32"
    assert ranged("x[4,3]") == "x[4,3]:float32"


@pytest.mark.parametrize("text", ["x[batch=1..9,3]", "x[batch=0..4,3]", "x[9,3]", "x[b,c]", "z[b]"])
def test_inputs_beyond_the_plan_are_refused(text):
    with pytest.raises(UsageError):
        ranged(text)
