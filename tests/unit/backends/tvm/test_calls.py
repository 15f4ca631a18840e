"""Time by function, from what TVM's virtual machine tells of its calls."""

from types import SimpleNamespace

import numpy as np
import pytest

from roadworthy.backends.tvm.runtime import calls as module
from roadworthy.backends.tvm.runtime.calls import Calls

ARRAY = SimpleNamespace(dtype="float32")


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand, in microseconds."""
    now = SimpleNamespace(us=0.0)
    timer = SimpleNamespace(perf_counter_ns=lambda: round(now.us * 1000))
    monkeypatch.setattr(module, "time", timer)
    return now


def run(calls, clock, events):
    """Tell calls: (time, name) begins one, (time, name, ARRAYS) too, (time,) ends the last."""
    calls.begin_run()
    names = []
    for at, *call in events:
        clock.us = at
        if call:
            names.append(call[0])
            calls.instrument(None, call[0], True, None, *call[1:])
        else:
            calls.instrument(None, names.pop(), False, None)


def test_times_are_medians_over_the_runs_after_the_first(clock):
    calls = Calls()
    for took in (900, 30, 10, 20):
        run(calls, clock, [(0, "f", ARRAY), (took,), (took, "g", ARRAY), (took + 60,)])
    f, g = calls.rows()
    assert (f["name"], f["median_us"], f["share"]) == ("f", 20, 0.25)
    assert (g["name"], g["median_us"], g["share"]) == ("g", 60, 0.75)


def test_a_function_called_twice_in_a_run_has_both_times(clock):
    calls = Calls()
    for _ in range(2):
        run(calls, clock, [(0, "f"), (5,), (5, "g"), (6,), (6, "f"), (13,)])
    assert [(row["name"], row["median_us"]) for row in calls.rows()] == [("f", 12), ("g", 1)]


def test_what_a_call_calls_is_not_counted_twice(clock):
    calls = Calls()
    for _ in range(2):
        run(calls, clock, [(0, "branch"), (30, "f"), (40, "g"), (50,), (60,), (100,)])
    assert {row["name"]: row["median_us"] for row in calls.rows()} == {
        "branch": 70,
        "f": 20,
        "g": 10,
    }


def test_a_function_computes_in_what_it_writes(clock):
    calls = Calls()
    kinds = {"f": np.float16, "g": np.float32, "h": np.float64, "i": np.int64}
    events = []
    for name, dtype in kinds.items():
        events += [(0, name, np.zeros(1, np.int32), np.zeros(1, dtype)), (1,)]
    events += [(1, "vm.builtin.alloc_tensor", ARRAY), (2,)]
    for _ in range(2):
        run(calls, clock, events)
    assert [row["precision"] for row in calls.rows()] == ["fp16", "fp32", "fp64", "other", ""]
    assert [row["kind"] for row in calls.rows()] == ["function"] * 4 + ["builtin"]
