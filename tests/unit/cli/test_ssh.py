"""The whole road with an engine on another host, over a real ssh client and server."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from roadworthy.bundle.reader import read_bundle
from roadworthy.core.errors import DiedError
from roadworthy.core.target import Target
from roadworthy.pipeline.deploy import deploy as deploy_here
from roadworthy.pipeline.request import Request
from tests.loopback import HOST
from tests.unit.cli import made
from tests.unit.cli.test_dying_workers import killing, quick

THERE = f"onnxruntime@ssh={HOST}:{sys.executable}"


@pytest.fixture
def place(tmp_path):
    made.write_perceptron(tmp_path)
    return tmp_path


def deploy(command, place, *words):
    model, samples = place / "model.onnx", place / "samples.npz"
    words = ("--samples", samples, "--out", place / "b.rw", "--json", *words)
    return command("deploy", model, *words)


def answers(command, place, target):
    out = place / "answers.npz"
    words = ("--samples", place / "samples.npz", "--target", target, "--out", out)
    ended = command("run", place / "b.rw", *words, "--json")
    assert ended.code == 0, ended
    assert ended.document["result"]["target"] == target
    with np.load(out) as found:
        return {name: (found[name].dtype, found[name].tobytes()) for name in found}


def test_an_engine_there_is_deployed_verified_timed_profiled_and_run(command, far, place):
    words = ("--target", THERE, "--target", "onnxruntime", "--measure-seconds", "0.05")
    ended = deploy(command, place, *words)
    assert ended.code == 0, ended
    there, here = ended.document["result"]["targets"]
    for result, target in ((there, THERE), (here, "onnxruntime")):
        assert result["target"] == target
        assert result["certificate"]["passed"] is True
        assert result["certificate"]["latency"]["runs"] > 0
    bundle = place / "b.rw"
    ended = command("verify", bundle)
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert any(f"verified  {THERE}  (" in line or line == f"verified  {THERE}" for line in lines)
    assert command("bench", bundle, "--target", THERE, "--seconds", "0.1").code == 0
    assert command("profile", bundle, "--target", THERE).code == 0
    assert answers(command, place, THERE) == answers(command, place, "onnxruntime")


def test_a_host_that_nobody_gets_into_costs_only_its_own_target(command, far, place):
    words = ("--target", "onnxruntime@ssh=strange-key", "--target", "onnxruntime")
    ended = deploy(command, place, *words, "--measure-seconds", "0")
    assert ended.code == 4
    assert "ssh doesn't get into strange-key: " in ended.error["what"]
    assert "Permission denied" in ended.error["what"]
    assert "`ssh strange-key true` must work without a question" in ended.error["remedy"]
    kept = read_bundle(place / "b.rw").manifest.engines
    assert [str(record.target) for record in kept] == ["onnxruntime"]


def test_ssh_that_is_killed_while_an_engine_is_verified(far, tmp_path):
    progress, killed = killing(HOST, "verify: samples")
    ended = deploy_here(quick(tmp_path, THERE, "onnxruntime"), progress)
    lost, other = ended.results
    assert killed
    assert isinstance(lost.error, DiedError)
    assert "the worker of onnxruntime died: ssh was killed here by SIGKILL" in lost.error.what
    assert other.ok and other.certificate.passed
    assert ended.exit_code == 4


def test_an_engine_there_is_not_timed_against_pytorch_here(far, tmp_path):
    """A ratio of the two would be one of the machines."""
    module = torch.nn.Linear(4, 3)
    samples = [{"input": np.ones((1, 4), np.float32)}]
    targets = (Target.parse(THERE), Target("onnxruntime"))
    there, here = deploy_here(
        Request(source=module, samples=samples, targets=targets, measure_seconds=0.05)
    ).results
    assert there.certificate.latency.runs > 0
    assert there.certificate.comparison is None
    assert here.certificate.comparison is not None
