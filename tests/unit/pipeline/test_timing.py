"""Threads of what is timed: this machine's CPUs are this machine's, and nobody else's."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from roadworthy.core.cpus import usable_cpus
from roadworthy.core.errors import UsageError
from roadworthy.core.target import Target
from roadworthy.measure.paired import compare
from roadworthy.measure.subject import EngineSubject, LocalSubject
from roadworthy.pipeline import bench, timing
from tests.unit.measure.engines import FEED, engine

FAR = Target.parse("onnxruntime@ssh=user@far")
HERE = Target.parse("onnxruntime")


def on(target, threads=None):
    made = engine()
    return replace(made, target=target, options=replace(made.options, threads=threads))


def timed(monkeypatch, made, threads):
    """The subject that would be timed."""
    seen = []
    monkeypatch.setattr(timing, "measure", lambda subject, **_: seen.append(subject))
    case = SimpleNamespace(pairs=lambda: iter([(0, FEED, None)]))
    prepared = SimpleNamespace(trusted=SimpleNamespace(cases=[case]), baseline=None)
    timing.time_engine(made, prepared, threads, 1.0, lambda *_: None)
    return seen[0]


@pytest.mark.parametrize(
    ("target", "threads", "wanted"),
    [(HERE, None, usable_cpus()), (HERE, 3, 3), (FAR, None, None), (FAR, 3, 3)],
)
def test_an_engine_on_another_host_is_timed_as_it_was_verified(
    monkeypatch, target, threads, wanted
):
    subject = timed(monkeypatch, on(target, threads), threads)
    assert subject.threads == subject._engine.options.threads == wanted


@pytest.mark.parametrize(
    ("target", "threads", "wanted"), [(HERE, None, usable_cpus()), (FAR, None, None), (FAR, 3, 3)]
)
def test_bench_leaves_another_hosts_threads_alone_too(target, threads, wanted):
    opened = SimpleNamespace(kind="engine", engine=lambda: on(target))
    assert bench._subject("A", opened, FEED, threads).threads == wanted


def test_what_nobody_stated_is_not_compared_with_a_number():
    far = EngineSubject("far", on(FAR), FEED, None)
    with pytest.raises(UsageError, match="as many threads as its host takes, near has 2") as caught:
        compare(far, LocalSubject("near", lambda: np.zeros(1), threads=2))
    assert "--threads" in caught.value.remedy


def test_only_ssh_is_another_host():
    assert FAR.is_elsewhere
    assert not HERE.is_elsewhere
    assert not Target.parse("onnxruntime@python=/usr/bin/python3").is_elsewhere
