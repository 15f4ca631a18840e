"""A plan file as SOURCE, through the real commands, on a real GPU: `pytest tests/device -m device`.

ROADWORTHY_TENSORRT names the target, as in test_tensorrt.py. What is right comes from NumPy and
from the ONNX file that the plan was made from.
"""

from __future__ import annotations

import json
import os

import numpy as np
import onnx
import pytest

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.registry import find
from roadworthy.cli.main import run
from roadworthy.core.target import Target
from tests import models
from tests.device import networks

pytestmark = [pytest.mark.device, pytest.mark.usefixtures("own_cache")]

TARGET = os.environ.get("ROADWORTHY_TENSORRT", "tensorrt")
QUICK = (("build-cache", "off"), ("level", "0"))
FP32 = 1e-5
"""Relative L2 of one FP32 runtime against NumPy."""


@pytest.fixture
def command(capfd):
    """Run a command line with --json on this target; return its exit code and document."""

    def go(*words, target=TARGET):
        capfd.readouterr()
        where = () if target is None else ("--target", target)
        code = run([str(word) for word in (*words, *where, "--json")])
        return code, json.loads(capfd.readouterr().out)

    return go


def write_plan(path, weights=None):
    model = models.network(models.PERCEPTRON, weights or models.perceptron_weights())
    return write(path, model, models.ranged(model, "x[batch=1..8,3]"), "fp32")


def write(path, model, signature, precision, level="0"):
    options = CompileOptions(precision=precision, extra=(*QUICK[:1], ("level", level)))
    engine = find("tensorrt").compile(model, signature, Target.parse(TARGET), options)
    path.write_bytes(engine.files["engine.plan"])
    return path


@pytest.fixture
def place(tmp_path):
    write_plan(tmp_path / "old.plan")
    onnx.save(models.proto(models.PERCEPTRON, models.perceptron_weights()), tmp_path / "model.onnx")
    x = models.normal(4, 3, seed=3)
    np.savez(tmp_path / "samples.npz", x=x)
    np.savez(tmp_path / "right.npz", **models.perceptron_in_numpy({"x": x}))
    answers = models.perceptron_in_numpy({"x": x})
    np.savez(tmp_path / "wrong.npz", **{**answers, "y": answers["y"] * np.float32(1.01)})
    return tmp_path


def verify(place, reference, plan="old.plan"):
    given = ("--samples", place / "samples.npz", "--reference", place / reference)
    return ("verify", place / plan, *given)


def test_given_answers_judge_a_plan(command, place):
    code, document = command(*verify(place, "right.npz"))
    assert code == 0, document
    (judged,) = document["result"]["targets"]
    origins = [o["tolerance"]["origin"] for o in judged["verdict"]["cases"][0]["outputs"]]
    assert any("layers of the plan run in fp32" in origin for origin in origins)
    code, document = command(*verify(place, "wrong.npz"))
    assert code == 3, document
    assert document["error"]["code"] == "wrong-answers"


def test_the_network_that_it_was_made_from_judges_it_at_all_its_shapes(command, place):
    code, document = command(*verify(place, "model.onnx"))
    assert code == 0, document
    (judged,) = document["result"]["targets"]
    cases = {case["case"]: case["sizes"] for case in judged["verdict"]["cases"]}
    assert cases["smallest"] == {"x_axis0": 1}
    assert cases["largest"] == {"x_axis0": 8}


def test_another_networks_plan_fails(command, place):
    given = models.perceptron_weights()
    write_plan(place / "other.plan", {**given, "w2": given["w2"] * np.float32(1.01)})
    code, document = command(*verify(place, "model.onnx", "other.plan"))
    assert code == 3, document


def test_an_fp16_plan_is_judged_as_fp16(command, tmp_path):
    network = networks.wide_convnet()
    signature = models.ranged(network, "image[batch=1..2,3,h=32..64,w=32..64]")
    write(tmp_path / "half.plan", network, signature, "fp16", level="3")
    onnx.save(networks.wide_convnet_proto(), tmp_path / "model.onnx")
    np.savez(tmp_path / "samples.npz", image=models.normal(1, 3, 48, 48))
    code, document = command(*verify(tmp_path, "model.onnx", "half.plan"))
    assert code == 0, document
    (judged,) = document["result"]["targets"]
    (output,) = judged["verdict"]["cases"][0]["outputs"]
    assert "run in fp16" in output["tolerance"]["origin"]


def test_inputs_narrow_a_plan(command, place):
    code, document = command(*verify(place, "model.onnx"), "--inputs", "x[batch=2..5,3]")
    assert code == 0, document
    (judged,) = document["result"]["targets"]
    cases = {case["case"]: case["sizes"] for case in judged["verdict"]["cases"]}
    assert (cases["smallest"], cases["largest"]) == ({"batch": 2}, {"batch": 5})
    code, document = command(*verify(place, "model.onnx"), "--inputs", "x[batch=1..9,3]")
    assert code == 2, document


def test_run_saves_a_plans_answers(command, place):
    given = ("--samples", place / "samples.npz", "--out", place / "answers.npz")
    code, document = command("run", place / "old.plan", *given)
    assert code == 0, document
    with np.load(place / "answers.npz") as found, np.load(place / "right.npz") as expected:
        difference = np.linalg.norm(found["y"] - expected["y"])
        assert difference < FP32 * np.linalg.norm(expected["y"])
        np.testing.assert_array_equal(found["label"], expected["label"])


def test_bench_times_a_plan_alone_and_beside_others(command, place):
    given = ("--samples", place / "samples.npz", "--seconds", "0.3")
    code, document = command("bench", place / "old.plan", *given)
    assert code == 0, document
    assert document["result"]["latency"]["runs"] > 0
    # Built for TensorRT, a model wants a range for every open axis.
    both = ("bench", place / "old.plan", place / "model.onnx", *given)
    code, document = command(*both)
    assert code == 2
    assert "--inputs" in document["error"]["remedy"]
    code, document = command(*both, "--inputs", "x[batch=1..8,3]")
    assert code == 0, document
    (comparison,) = document["result"]["comparisons"]
    assert comparison["baseline"]["runs"] > 0


@pytest.mark.skipif("@" in TARGET, reason="a bundle on ONNX Runtime and a plan need one --target")
def test_bench_beside_a_bundle_takes_the_bundles_own_input(command, place):
    words = ("--samples", place / "samples.npz", "--measure-seconds", "0", "--out", place / "b.rw")
    code, document = command("deploy", place / "model.onnx", *words, target=None)
    assert code == 0, document
    pair = ("bench", place / "old.plan", place / "b.rw", "--seconds", "0.3")
    code, document = command(*pair, target=None)
    assert code == 0, document


def test_a_damaged_plan_gives_tensorrts_reason(command, place):
    content = (place / "old.plan").read_bytes()
    (place / "old.plan").write_bytes(b"nonsense" + content[8:])
    code, document = command(*verify(place, "right.npz"))
    assert code == 4, document
    assert "can't load this plan" in document["error"]["what"]
