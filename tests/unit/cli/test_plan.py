"""An engine file of TensorRT on the command line, as far as TensorRT isn't needed for it."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from tests import models
from tests.unit.cli import made
from tests.unit.cli.refusals import refused

HERE = importlib.util.find_spec("tensorrt") is not None


@pytest.fixture
def place(tmp_path):
    made.write_perceptron(tmp_path)
    (tmp_path / "old.plan").write_bytes(b"ftrt and no more")
    (tmp_path / "empty.plan").touch()
    x = models.normal(4, 3, seed=3)
    np.savez(tmp_path / "answers.npz", **models.perceptron_in_numpy({"x": x}))
    return tmp_path


def verify(place, plan="old.plan", *words, reference="answers.npz"):
    judge = () if reference is None else ("--reference", f"{place}/{reference}")
    return ("verify", place / plan, "--samples", place / "samples.npz", *judge, *words)


def every(place):
    """Return each command that takes a plan."""
    given = (place / "old.plan", "--samples", place / "samples.npz")
    return {
        "verify": verify(place),
        "bench": ("bench", *given),
        "run": ("run", *given, "--out", place / "a.npz"),
    }


def test_a_plan_needs_a_reference(command, scratch, place):
    error = refused(command, scratch, place, *verify(place, reference=None))
    assert "--reference" in error["remedy"]


@pytest.mark.parametrize("plan", ["none.plan", "empty.plan"])
@pytest.mark.parametrize("reference", ["answers.npz", "model.onnx"])
def test_a_file_that_holds_no_plan(command, scratch, place, plan, reference):
    error = refused(command, scratch, place, *verify(place, plan, reference=reference))
    assert error["where"].endswith(plan)


@pytest.mark.parametrize("word", ["verify", "bench", "run"])
def test_nothing_but_tensorrt_runs_a_plan(command, scratch, place, word):
    error = refused(command, scratch, place, *every(place)[word], "--target", "openvino")
    assert "can't run on openvino" in error["what"]
    assert "tensorrt@python=" in error["remedy"]


def test_what_else_can_be_wrong_is_said_before_tensorrt_is_asked(command, scratch, place):
    for words, said in [
        (verify(place, reference="none.npz"), "none.npz"),
        (verify(place, reference="none.onnx"), "none.onnx"),
        (verify(place, "old.plan", "--weights", place / "answers.npz"), "--weights"),
        (("verify", place / "old.plan", "--reference", place / "answers.npz"), "--samples"),
        (verify(place, "old.plan", reference="old.plan"), "old.plan"),
    ]:
        error = refused(command, scratch, place, *words)
        assert said in error["where"], words


def test_a_precision_is_stated_of_plans_only(command, scratch, place):
    error = refused(command, scratch, place, *verify(place, "model.onnx", "--precision", "fp16"))
    assert "plans only" in error["what"]


@pytest.mark.skipif(HERE, reason="TensorRT is installed here")
@pytest.mark.parametrize("word", ["verify", "bench", "run"])
def test_without_tensorrt_one_command_brings_it(command, scratch, place, word):
    error = refused(command, scratch, place, *every(place)[word], exit_code=4)
    assert "pip install tensorrt" in error["remedy"]


def test_a_plan_cannot_be_deployed(command, scratch, place):
    words = ("deploy", place / "old.plan", "--samples", place / "samples.npz", "--out")
    error = refused(command, scratch, place, *words, place / "new.rw")
    assert "holds no network" in error["what"]
    assert "roadworthy verify" in error["remedy"]
    assert "deploy the network" in error["remedy"]
