"""Killed at random moments of a deploy, the bundle at its path is whole: the old one or the new."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest

from roadworthy.bundle.reader import read_bundle
from tests import models
from tests.unit.cli import made

KILLS = 25  # of each form: 50 together
# A fresh process for each; packages that an ONNX file doesn't need are kept out, to be quick.
PROGRAM = """
import sys
sys.modules["torch"] = sys.modules["openvino"] = None
from roadworthy.cli.main import main
main()
"""


def command(folder, which, out):
    words = ("deploy", folder / f"{which}.onnx", "--samples", folder / "samples.npz", "--out", out)
    return [sys.executable, "-P", "-c", PROGRAM, *map(str, words), "--measure-seconds", "0"]


def run(words):
    return subprocess.run(words, check=True, capture_output=True, timeout=120)


def which(out):
    """Check everything in the bundle, and return which network is in it."""
    bundle = read_bundle(out)
    assert bundle.manifest.engines[0].verified
    ((case, items), *_) = bundle.cases()
    found = bytes(bundle.read(bundle.manifest.model[0]))
    marks = [mark for mark in ("even", "odd") if mark.encode() in found]
    assert len(marks) == 1
    assert case.name == "samples"
    assert items
    return marks[0]


@pytest.fixture
def networks(tmp_path):
    """Two networks that differ in a name and in their weights."""
    for index, name in enumerate(("even", "odd")):
        weights = {"w1": models.normal(3, 8, seed=index), "w2": models.normal(8, 2, seed=index)}
        onnx.save(
            models.proto(models.PERCEPTRON.replace("g (", f"{name} ("), weights),
            tmp_path / f"{name}.onnx",
        )
    np.savez(tmp_path / "samples.npz", x=models.normal(4, 3, seed=3))
    return tmp_path


def test_killed_at_fifty_random_moments(networks):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # shown when the test fails

    def kill_again_and_again(form: int) -> list[str]:
        delays = random.Random(seed + form)
        folder = networks / f"place{form}"
        folder.mkdir()
        out = folder / ("b.rw" if form else "b")
        started = time.monotonic()
        run(command(networks, "even", out))
        full = time.monotonic() - started
        assert which(out) == "even"
        seen = []
        for turn in range(KILLS):
            new = ("odd", "even")[turn % 2]
            allowed = {which(out), new}
            with subprocess.Popen(
                command(networks, new, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as process:
                time.sleep(delays.uniform(0, full))
                process.kill()
            seen.append(which(out))
            assert seen[-1] in allowed
        run(command(networks, "odd", out))
        assert which(out) == "odd"
        assert [item.name for item in folder.iterdir()] == [out.name], "leftovers stay"
        return seen

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(kill_again_and_again, (0, 1)))
    assert [len(seen) for seen in ended] == [KILLS, KILLS]
    assert made.listing(networks)
