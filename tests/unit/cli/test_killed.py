"""Killed at random moments of a deploy, the bundle at its path is whole: the old one or the new."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import onnx
import pytest

from roadworthy.bundle.reader import read_bundle
from tests import models
from tests.unit.cli import made

KILLS = 25  # of each form: 50 together


class Deployer:
    """Runs deploys, each in a process of its own; see `deploys_that_die`."""

    def __init__(self, folder, process):
        self.folder = folder
        self.process = process

    def start(self, network, out) -> int:
        model, samples = self.folder / f"{network}.onnx", self.folder / "samples.npz"
        words = ["deploy", model, "--samples", samples, "--out", out]
        words += ["--measure-seconds", "0", "--threads", "1"]
        return int(self._answer("started", json.dumps([str(word) for word in words])))

    def wait(self) -> int:
        return int(self._answer("ended", ""))

    def _answer(self, kind: str, order: str) -> str:
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        said = self.process.stdout.readline().split()
        assert said[0] == kind
        return said[1]


@contextmanager
def deployer(folder) -> Iterator[Deployer]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.unit.cli.deploys_that_die"],
        cwd=made.ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Deployer(folder, process)
        process.stdin.close()


def which(out):
    """Check everything in the bundle, and return which network is in it."""
    bundle = read_bundle(out)
    assert bundle.manifest.engines[0].verified
    ((case, items), *_) = bundle.cases()
    assert case.name == "samples"
    assert items
    content = bundle.read(bundle.manifest.model[0])
    (found,) = [name for name in ("even", "odd") if name.encode() in content]
    return found


@pytest.fixture
def networks(tmp_path):
    """Two networks that differ in their name and their weights."""
    for index, name in enumerate(("even", "odd")):
        weights = {"w1": models.normal(3, 8, seed=index), "w2": models.normal(8, 2, seed=index)}
        graph = models.PERCEPTRON.replace("g (", f"{name} (")
        onnx.save(models.proto(graph, weights), tmp_path / f"{name}.onnx")
    np.savez(tmp_path / "samples.npz", x=models.normal(4, 3, seed=3))
    return tmp_path


def test_killed_at_fifty_random_moments(networks):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # shown when the test fails

    def kill_again_and_again(name: str) -> list[int]:
        delays = random.Random(f"{seed}{name}")
        folder = networks / f"place of {name}"
        folder.mkdir()
        out = folder / name
        endings = []
        with deployer(networks) as deploys:
            deploys.start("even", out)
            assert deploys.wait() == 0
            started = time.monotonic()
            deploys.start("even", out)
            assert deploys.wait() == 0
            full = time.monotonic() - started
            assert which(out) == "even"
            for turn in range(KILLS):
                new = ("odd", "even")[turn % 2]
                allowed = {which(out), new}
                pid = deploys.start(new, out)
                delay = delays.uniform(0, full)
                time.sleep(delay)
                os.kill(pid, signal.SIGKILL)
                endings.append(deploys.wait())
                # On a machine that other work has left, the first run took longer than later ones.
                full = delay if endings[-1] == 0 else full
                assert which(out) in allowed
            deploys.start("odd", out)
            assert deploys.wait() == 0
        assert which(out) == "odd"
        assert [item.name for item in folder.iterdir()] == [name], "leftovers stay"
        return endings

    with ThreadPoolExecutor(2) as pool:
        endings = [code for each in pool.map(kill_again_and_again, ("b.rw", "b")) for code in each]
    assert len(endings) == 2 * KILLS
    assert set(endings) <= {0, signal.SIGKILL}
    assert endings.count(signal.SIGKILL) > KILLS, "most of them died"
