"""Importing openvino by itself tells Google Analytics and writes to the home; ours does neither."""

import os
import subprocess
import sys

SCRIPT = """
import pathlib, socket, sys

def refuse(*arguments, **named):
    raise AssertionError("somebody calls home")

socket.socket.connect = refuse
from roadworthy.backends.registry import find
from roadworthy.core.target import Target

assert find("openvino").supports(Target("openvino")).ok
loaded = [name for name in sys.modules if name.split(".")[0] == "openvino_telemetry"]
assert not loaded, loaded
import openvino_telemetry  # others may still have it
assert not list(pathlib.Path.home().rglob("*")), list(pathlib.Path.home().rglob("*"))
"""


def test_nothing_is_sent_and_nothing_is_written(tmp_path):
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CI", "TF_BUILD", "JENKINS_URL")
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**env, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
