"""Progress as plain lines: every stage once, and of one stage no more than a log bears."""

import pytest

from roadworthy.cli import progress
from roadworthy.cli.progress import ProgressDisplay


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def shown(capsys):
    return lambda: [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]


def test_a_heartbeat_a_second_is_a_line_every_ten(clock, shown):
    with ProgressDisplay(silent=False) as display:
        display("tensorrt: compile", 0.0)
        for second in range(1, 36):
            clock[0] = second
            display(f"tensorrt: compile, tactics {second}/80, {second} s; last time 61 s", 0.1)
        display("verify: samples", 0.0)
        display("verify: samples", 0.5)
    assert shown() == [
        "tensorrt: compile",
        *(
            f"tensorrt: compile, tactics {second}/80, {second} s; last time 61 s"
            for second in (10, 20, 30)
        ),
        "verify: samples",
    ]


def test_a_stage_whose_name_only_begins_alike_is_another(clock, shown):
    stages = ["time A: net", "time A: net beside B", "time A: net beside C, 2.rw", "tidy", "tid"]
    with ProgressDisplay(silent=False) as display:
        for stage in stages:
            display(stage, 0.0)
    assert shown() == stages


def test_with_json_nothing_is_shown(shown):
    with ProgressDisplay(silent=True) as display:
        display("tensorrt: compile", 0.0)
    assert shown() == []
