"""Run by the interpreter that has TensorRT: `run_many` in one process, where runs overlap.

    python device_many.py RUNTIME ENGINE.plan    (input "image" 1..4x3x32..64x32..64, output "y")

Prints "right" when its answers are those of `run` bit for bit, whatever happens around them.
"""

from __future__ import annotations

import importlib
import sys
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

# As in device_arrays.py.
sys.path.append(str(Path(sys.argv[1]).parent))
runtime = importlib.import_module(Path(sys.argv[1]).name)
PLAN = {"engine.plan": Path(sys.argv[2]).read_bytes()}
# The largest several times in a row: copies and computing take long enough to overlap.
SIZES = [(4, 64, 64)] * 4 + [(1, 32, 32), (2, 33, 47), (2, 33, 47), (4, 64, 32), (3, 64, 64)]
MANY = 50


def feeds(seed: int = 0, count: int = MANY) -> list[dict[str, np.ndarray]]:
    numbers = np.random.default_rng(seed)
    return [
        {"image": numbers.standard_normal((n, 3, h, w)).astype(np.float32)}
        for n, h, w in (SIZES * count)[:count]
    ]


def alone(given: list[dict[str, np.ndarray]]) -> list[np.ndarray]:
    runner = runtime.Runner(PLAN, {})
    answers = [runner.run(feed)["y"] for feed in given]
    runner.close()
    return answers


def same(answers: Any, wanted: list[np.ndarray], what: str) -> None:
    found = [answer["y"] for answer in answers]
    assert len(found) == len(wanted), f"{what}: {len(found)} answers, not {len(wanted)}"
    for index, (one, other) in enumerate(zip(found, wanted)):  # noqa: B905 - Python 3.8
        assert np.array_equal(one, other), f"{what}: answer {index} is another"


EXPECTED = alone(feeds())


def in_order(graphs: bool) -> None:
    runner = runtime.Runner(PLAN, {"graphs": graphs})
    for turn in range(3):
        same(runner.run_many(feeds()), EXPECTED, f"graphs {graphs}, turn {turn}")
    same([runner.run(feed) for feed in feeds()], EXPECTED, "run afterwards")
    assert not runner.notes, runner.notes
    runner.close()


def one_shape_for_long() -> None:
    """All lanes of one shape, over and over, the feeds' array written anew each time."""
    runner = runtime.Runner(PLAN, {})
    given = [feed["image"] for feed in feeds(1) if feed["image"].shape == (4, 3, 64, 64)]
    wanted = alone([{"image": image} for image in given])
    buffer = np.empty((4, 3, 64, 64), np.float32)

    def frames() -> Any:
        for turn in range(400):
            buffer[...] = given[turn % len(given)]
            yield {"image": buffer}

    kept = list(runner.run_many(frames()))
    same(kept, [wanted[turn % len(wanted)] for turn in range(400)], "one shape")
    assert not any(np.shares_memory(kept[0]["y"], answer["y"]) for answer in kept[1:])
    kept[0]["y"][...] = 0
    same(islice(runner.run_many(frames()), 5), wanted[:5], "after an answer was changed")
    runner.close()


def ended_early_and_failing() -> None:
    runner = runtime.Runner(PLAN, {})
    for count in (1, 2, 5):
        answers = runner.run_many(feeds())
        same(islice(answers, count), EXPECTED[:count], "before it was ended")
        answers.close()
    too_large = {"image": np.zeros((9, 3, 64, 64), np.float32)}
    answers = runner.run_many([*feeds()[:7], too_large, *feeds()])
    same(islice(answers, 7), EXPECTED[:7], "before a feed that fails")
    try:
        next(answers)
    except RuntimeError as error:
        assert "no optimisation profile takes" in str(error), error
    else:
        raise AssertionError("a batch of 9 was taken")
    assert next(answers, None) is None
    same(runner.run_many(feeds()), EXPECTED, "after a feed that failed")
    answers = runner.run_many(feeds())
    next(answers)
    runner.close()
    answers.close()


def interleaved() -> None:
    """Two at once in one runner, with single runs between: overlap is lost, nothing else."""
    runner = runtime.Runner(PLAN, {})
    left, right = runner.run_many(feeds()), runner.run_many(feeds()[::-1])
    for index, feed in enumerate(feeds()):
        same([next(left)], [EXPECTED[index]], "the first of two")
        same([next(right)], [EXPECTED[-1 - index]], "the second of two")
        same([runner.run(feed)], [EXPECTED[index]], "a run between")
    runner.close()


def in_threads() -> None:
    """A runner each, at the same time."""
    failures: list[str] = []

    def work(seed: int) -> None:
        try:
            runner = runtime.Runner(PLAN, {})
            for _ in range(4):
                same(runner.run_many(feeds(seed)), wanted[seed], f"thread {seed}")
            runner.close()
        except BaseException as error:
            failures.append(repr(error))

    wanted = {seed: alone(feeds(seed)) for seed in (0, 1)}
    threads = [threading.Thread(target=work, args=(seed,)) for seed in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


for switch in (True, False):
    in_order(switch)
one_shape_for_long()
ended_early_and_failing()
interleaved()
in_threads()
print("right")
