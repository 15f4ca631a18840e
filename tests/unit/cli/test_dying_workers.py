"""A runtime whose process dies is that target's failure: the others are verified and bundled."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from roadworthy.backends import registry
from roadworthy.backends.base import Engine, Support, quiet
from roadworthy.backends.place import open_place, open_runner
from roadworthy.backends.session import Session
from roadworthy.bundle.reader import read_bundle
from roadworthy.core.errors import DiedError, RunError
from roadworthy.graph.serial import to_files
from roadworthy.pipeline.deploy import deploy
from roadworthy.pipeline.request import make_request
from tests.unit.cli import made

RUNTIME = "tests.unit.cli.dying_runtime"
SPEC = {"device": None, "threads": 1, "optimise": True, "spinning": False}
# How execnet starts a worker.
WORKER = "exec(eval("
ELSEWHERE = f"onnxruntime@python={sys.executable}"


class DyingBackend:
    """ONNX Runtime in worker processes that die when $DIES says so."""

    name = "dying"

    def supports(self, target):
        return Support(True)

    def fingerprint(self, target):
        with open_place(RUNTIME, None, isolated=True) as place:
            return place.describe(None)

    def compile(self, model, signature, target, options, say=quiet):
        with open_place(RUNTIME, None, isolated=True) as place:
            built = place.build(to_files(model, "model.onnx"), SPEC, say)
            found = place.describe(None)
        return Engine(target, signature, built.files, options, found, built.log, built.proof)

    def open(self, engine):
        return Session(engine.signature, open_runner(RUNTIME, None, True, engine.files, SPEC))


@pytest.fixture
def dying(monkeypatch):
    backend, find = DyingBackend(), registry.find
    monkeypatch.setattr(
        registry, "find", lambda name: backend if name == backend.name else find(name)
    )


def children(word: str) -> list[int]:
    """Processes that this one started, whose command line has this word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
        except (OSError, ValueError):
            continue
        if parent == os.getpid() and word in command:
            found.append(int(folder.name))
    return found


def test_a_backend_that_does_not_die_verifies(command, dying, tmp_path, monkeypatch):
    """What the other tests are worth: the same backend, alive, is right."""
    model, samples = made.write_perceptron(tmp_path)
    monkeypatch.setenv("DIES", "never segv")
    words = ("deploy", model, "--samples", samples, "--measure-seconds", "0")
    assert command(*words, "--target", "dying").code == 0


@pytest.mark.parametrize(
    ("dies", "says"),
    [
        ("build segv", "died: killed by SIGSEGV; its last words: build: kernel 7 writes"),
        ("run segv", "died: killed by SIGSEGV; its last words: run: kernel 7 writes"),
        ("build kill", "died: killed by SIGKILL (out of memory?); its last words: build: kernel 7"),
        ("run kill", "died: killed by SIGKILL (out of memory?); its last words: run: kernel 7"),
        ("build memory", "out of memory"),
        ("run memory", "out of memory"),
    ],
)
def test_the_other_target_is_bundled(command, dying, tmp_path, monkeypatch, dies, says):
    model, samples = made.write_perceptron(tmp_path)
    monkeypatch.setenv("DIES", dies)
    out = tmp_path / "b.rw"
    words = ("deploy", model, "--samples", samples, "--measure-seconds", "0", "--out", out)
    ended = command(*words, "--target", "dying", "--target", "onnxruntime", "--json")
    assert ended.code == 4
    targets = {item["target"]: item for item in ended.document["result"]["targets"]}
    assert targets["onnxruntime"]["ok"] is True
    assert targets["onnxruntime"]["certificate"]["passed"] is True
    error = targets["dying"]["error"]
    assert targets["dying"]["exit_code"] == 4
    assert error == ended.error
    assert says in error["what"]
    assert error["what"].count("\n") == 0
    if dies.startswith("run"):
        assert error["code"] == "died"
        assert "case samples, sample" in error["where"]
    assert [str(record.target) for record in read_bundle(out).manifest.engines] == ["onnxruntime"]
    assert command("verify", out).code == 0
    assert children(WORKER) == []


def killing(word: str, stage: str):
    """Return a listener that kills every child with `word` when `stage` is told."""
    killed: list[int] = []

    def progress(what, share):
        if what == stage:
            for pid in children(word):
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)

    return progress, killed


def quick(tmp_path, *targets, seconds=0.0):
    model, samples = made.write_perceptron(tmp_path)
    return make_request(
        model, samples, targets=targets, out=tmp_path / "b.rw", measure_seconds=seconds, threads=1
    )


def test_a_real_worker_that_is_killed_while_it_is_verified(tmp_path):
    progress, killed = killing(WORKER, "verify: samples")
    ended = deploy(quick(tmp_path, ELSEWHERE, "onnxruntime"), progress)
    lost, other = ended.results
    assert killed
    assert isinstance(lost.error, DiedError)
    assert "the worker of onnxruntime died: killed by SIGKILL" in lost.error.what
    assert other.ok and other.certificate.passed
    assert ended.exit_code == 4
    assert [str(r.target) for r in read_bundle(tmp_path / "b.rw").manifest.engines] == [
        "onnxruntime"
    ]


def test_a_real_process_that_is_killed_while_it_is_timed(tmp_path):
    progress, killed = killing("roadworthy.measure.child", "time onnxruntime")
    ended = deploy(quick(tmp_path, "onnxruntime", ELSEWHERE, seconds=0.2), progress)
    lost, other = ended.results
    assert killed
    assert isinstance(lost.error, RunError)
    assert "killed by SIGKILL" in lost.error.what
    assert other.ok and other.certificate.latency.runs > 0
    assert ended.exit_code == 4
    assert [str(r.target) for r in read_bundle(tmp_path / "b.rw").manifest.engines] == [ELSEWHERE]
