"""An engine that runs in a worker of the timing process rests with it while the other is timed."""

import os
import sys
import time
from pathlib import Path

import numpy as np

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.registry import find
from roadworthy.core.target import Target
from roadworthy.graph.signature import signature_of
from roadworthy.measure.subject import EngineSubject
from tests.models import network, normal


def processes_of_group(group: int) -> dict[int, str]:
    """Every process of a group, with its state letter ("T" is stopped)."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        # Dead ones may wait for the system's first process to notice.
        if int(fields[2]) == group and fields[0] != "Z":
            found[int(folder.name)] = fields[0]
    return found


def test_the_worker_is_stopped_too():
    model = network("g (float[1,4] x) => (float[1,4] y) { y = Relu (x) }")
    target = Target("onnxruntime", where=f"python={sys.executable}")
    engine = find("onnxruntime").compile(model, signature_of(model), target, CompileOptions())
    with EngineSubject("elsewhere", engine, {"x": normal(1, 4, seed=0)}, 1) as subject:
        assert len(subject.block(3)) == 3
        subject.rest()
        assert subject.pid is not None
        states = processes_of_group(subject.pid)
        deadline = time.monotonic() + 5.0
        while set(states.values()) != {"T"} and time.monotonic() < deadline:
            time.sleep(0.02)
            states = processes_of_group(subject.pid)
        assert len(states) >= 2, "the timing process and its worker"
        assert set(states.values()) == {"T"}
        assert np.all(np.array(subject.block(2)) > 0)
        group = subject.pid
    assert processes_of_group(group) == {}
    assert os.getpgrp() != group
