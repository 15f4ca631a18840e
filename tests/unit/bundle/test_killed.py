"""Whatever moment a writer is killed, the bundle at its path is whole: the old one or the new."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from roadworthy.bundle.reader import read_bundle
from roadworthy.bundle.writer import write_bundle
from tests.unit.bundle.writer_that_dies import NEW, OLD, content

ROOT = Path(__file__).parents[3]
RANDOM_KILLS = 10  # for each of the two forms
# More steps than any write of this bundle takes; the loop ends where the writer finishes.
MOST_STEPS = 1_000


@contextmanager
def mortal_writer():
    """The program, and a function that gives it an order and returns its answer."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.unit.bundle.writer_that_dies"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def answer(order: str | None = None) -> str:
            if order:
                process.stdin.write(order + "\n")
                process.stdin.flush()
            return process.stdout.readline().strip()

        yield answer
        process.stdin.close()


def whole_bundle(path: Path) -> str:
    """Check everything in the bundle, and return which of the two it is."""
    bundle = read_bundle(path)
    ((case, items),) = bundle.cases()
    assert [item.sample for item in items] == [f"{case.name}{i}" for i in range(len(items))]
    assert len(items) == (1 if case.name == OLD else 2)
    return case.name


@pytest.mark.parametrize("name", ["b.rw", "b"])
def test_killed_at_random_moments(tmp_path, name):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # shown when the test fails
    delays = random.Random(seed)
    path = tmp_path / name
    write_bundle(path, content(OLD))
    with mortal_writer() as answer:
        for _ in range(RANDOM_KILLS):
            child = int(answer(f"forever {path}").split()[1])
            time.sleep(delays.uniform(0, 0.05))
            os.kill(child, signal.SIGKILL)
            assert answer() == "ended"
            assert whole_bundle(path) in (OLD, NEW)
    write_bundle(path, content(OLD))
    assert [item.name for item in tmp_path.iterdir()] == [name], "leftovers stay"


@pytest.mark.parametrize("name", ["b.rw", "b"])
def test_killed_at_every_step(tmp_path, name):
    """Every step on the file system that Python audits, one after another, not by chance."""
    path = tmp_path / name
    seen = []
    with mortal_writer() as answer:
        write_bundle(path, content(OLD))
        for step in range(MOST_STEPS):
            if seen and seen[-1] == NEW:
                write_bundle(path, content(OLD))
            outcome = answer(f"step {step} {path}")
            seen.append(whole_bundle(path))
            if outcome != "killed":
                break
    assert outcome == "finished"
    assert seen[-1] == NEW
    assert seen[0] == OLD
    # Both sides of the exchange were visited, and there is exactly one exchange.
    assert seen == sorted(seen, reverse=True)
    assert [item.name for item in tmp_path.iterdir()] == [name], "leftovers stay"
