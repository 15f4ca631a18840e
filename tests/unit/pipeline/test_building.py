"""A build says how far it is, and how long it may take, though its runtime is silent."""

import threading
import time

import pytest

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.registry import find
from roadworthy.core.target import Target
from roadworthy.graph.serial import digest, to_files
from roadworthy.graph.signature import signature_of
from roadworthy.pipeline import building, history
from roadworthy.pipeline.building import BuildProgress, build
from roadworthy.pipeline.history import Estimate
from tests import models

STAGE = "tensorrt: compile"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(building.time, "monotonic", lambda: now[0])
    return now


class Told(list):
    def __call__(self, what, share):
        self.append((what, share))


def test_it_tells_what_the_runtime_says_the_time_and_the_estimate(clock):
    told = Told()
    with BuildProgress(STAGE, Estimate(61.0, "last time 61 s"), told, tick=1e9) as progress:
        clock[0] += 34
        progress.say("tactics 12/80, 33 s")  # the runtime's own clock began later
        clock[0] += 1000
        progress.say("linking")
    assert told == [
        ("tensorrt: compile, 0 s; last time 61 s", 0.0),
        ("tensorrt: compile, tactics 12/80, 34 s; last time 61 s", 34 / 61),
        ("tensorrt: compile, linking, 1034 s; last time 61 s", 0.95),
    ]


def test_without_an_estimate_nothing_is_claimed(clock):
    told = Told()
    with BuildProgress(STAGE, None, told, tick=1e9) as progress:
        clock[0] += 34
        progress.say("tactics 12/80")
    assert told == [("tensorrt: compile, tactics 12/80, 34 s", 0.0)]


def test_time_goes_on_though_nothing_is_said():
    told, enough = Told(), threading.Event()

    def progress(what, share):
        told(what, share)
        if len(told) == 3:
            enough.set()

    with BuildProgress(STAGE, None, progress, tick=0.001):
        assert enough.wait(60)
    count = len(told)
    time.sleep(0.05)
    assert len(told) == count, "it goes on after its end"
    assert threading.active_count() == len(threading.enumerate())


def test_what_the_listener_raises_is_raised_when_the_build_is_over():
    raised = threading.Event()

    def progress(what, share):
        raised.set()
        raise KeyError("a listener's own defect")

    with pytest.raises(KeyError), BuildProgress(STAGE, None, progress, tick=0.001):
        assert raised.wait(60)


def built(model, progress, options=models.PLAIN):
    target = Target("onnxruntime")
    name = digest(to_files(model, "model.onnx"))
    return build(model, signature_of(model), name, target, options, progress)


def test_a_real_build_is_remembered_and_the_next_knows(monkeypatch):
    model, told = models.perceptron(), Told()
    built(model, told)
    assert told[0] == ("onnxruntime: compile", 0.0)
    (known,) = history.read_builds()
    assert known.backend == "onnxruntime"
    assert known.nodes == 4
    assert known.seconds > 0
    monkeypatch.setattr(history, "WORTH_TELLING_SECONDS", 0.0)
    told.clear()
    built(model, told)
    assert told[1][0].endswith("; last time 0 s")
    told.clear()
    built(models.convnet(), told)
    assert told[1][0].endswith("(from 2 builds of other networks)")
    told.clear()
    built(model, told, CompileOptions(threads=2))
    assert "last time" not in told[1][0]


def test_what_comes_from_a_cache_is_no_build(monkeypatch):
    """TensorRT's build cache: its engine is real, the time is not that of a build."""
    from dataclasses import replace

    backend = find("onnxruntime")
    compile_ = type(backend).compile

    def from_cache(self, *arguments):
        return replace(compile_(self, *arguments), proof={"from_cache": True})

    monkeypatch.setattr(type(backend), "compile", from_cache)
    built(models.perceptron(), Told())
    assert history.read_builds() == []
