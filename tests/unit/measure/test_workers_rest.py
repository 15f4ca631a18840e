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


def settled(group: int, wanted: set[str]) -> dict[int, str]:
    """The processes of a group once they are all in a wanted state, or after five seconds."""
    deadline = time.monotonic() + 5.0
    states = processes_of_group(group)
    while set(states.values()) != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
        states = processes_of_group(group)
    return states


def test_the_worker_is_stopped_too():
    model = network("g (float[1,4] x) => (float[1,4] y) { y = Relu (x) }")
    target = Target("onnxruntime", where=f"python={sys.executable}")
    engine = find("onnxruntime").compile(model, signature_of(model), target, CompileOptions())
    with EngineSubject("elsewhere", engine, {"x": normal(1, 4, seed=0)}, 1) as subject:
        assert len(subject.block(3)) == 3
        subject.rest()
        assert subject.pid is not None
        states = settled(subject.pid, {"T"})
        assert len(states) >= 2, "the timing process and its worker"
        assert set(states.values()) == {"T"}
        assert np.all(np.array(subject.block(2)) > 0)
        group = subject.pid
    # Killed, but the system may take a moment to take the worker's memory back.
    assert settled(group, set()) == {}
    assert os.getpgrp() != group
