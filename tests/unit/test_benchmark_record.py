"""What the GPU's benchmark records isn't lost, and a busy machine's times don't take its place."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
BESIDE = ", beside other work"


@pytest.fixture
def do(tmp_path, monkeypatch):
    """Records one step anew, as another run of the program; returns all that is recorded then."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    record = importlib.import_module("h200.record")

    def recorded(milliseconds, also_running=""):
        path = tmp_path / "results.json"
        step = record.Step("torch", "pairs", 1.0, lambda: {"device_ms": milliseconds})
        assert record.Record(path, {}, 60.0, also_running).do([step], again=True) == 0
        steps = json.loads(path.read_text("utf-8"))["steps"]
        return {key: value["device_ms"] for key, value in steps.items()}

    return recorded


def test_a_busy_machine_does_not_replace_what_a_quiet_one_gave(do):
    assert do(1.0) == {"pairs": 1.0}
    assert do(2.0, "builds") == {"pairs": 1.0, f"pairs{BESIDE}": 2.0}
    assert do(3.0) == {"pairs": 3.0, f"pairs{BESIDE}": 2.0}


def test_a_quiet_machine_replaces_what_a_busy_one_gave(do):
    assert do(2.0, "builds") == {"pairs": 2.0}
    assert do(3.0, "builds") == {"pairs": 3.0}
    assert do(1.0) == {"pairs": 1.0}
