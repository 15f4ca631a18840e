"""The account of the machine says enough to compare two of them, and names nobody."""

import getpass
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from roadworthy.core.jsonable import dumps
from roadworthy.measure import environment as module
from roadworthy.measure.environment import environment, package_versions


def test_it_says_what_the_machine_is_and_what_is_installed():
    account = environment()
    assert account["cpus"] == os.cpu_count()
    assert 1 <= account["cpus_usable"] <= account["cpus"]
    assert account["memory_bytes"] > 2**28
    assert account["python"].endswith(".".join(map(str, sys.version_info[:3])))
    assert {"roadworthy", "numpy", "onnx", "onnxruntime"} <= account["packages"].keys()
    assert account["cpu"]
    assert account["load_1min"] >= 0
    assert json.loads(dumps(account)) == account


def test_it_names_no_host_no_user_and_no_path():
    text = dumps(environment())
    words = {word.strip('",') for word in text.split()}
    assert socket.gethostname() not in words
    assert getpass.getuser() not in words
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text
    assert str(Path(sys.prefix)) not in text


def test_versions_are_read_without_importing_the_packages():
    script = (
        "import sys; from roadworthy.measure.environment import environment; environment();"
        "print([n for n in ('onnx', 'onnxruntime', 'onnx_ir', 'torch') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_package_that_is_not_installed_is_left_out(monkeypatch):
    monkeypatch.setattr(module, "PACKAGES", ("numpy", "no-such-package-here"))
    assert package_versions().keys() == {"numpy"}


def test_the_processor_of_an_arm_board_has_a_name_too():
    assert module._linux_cpu_model("processor\t: 0\nModel\t\t: Raspberry Pi 5\n") == (
        "Raspberry Pi 5"
    )
    assert module._linux_cpu_model("processor : 0\nmodel name : AMD EPYC\n") == "AMD EPYC"
    assert module._linux_cpu_model("") is None
