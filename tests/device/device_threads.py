"""Run by the interpreter that has TensorRT: one process, a runner per thread, all at once.

    python device_threads.py RUNTIME ENGINE.plan    (input "image" 1..2x1x32..64x32..64, output "y")

Prints "right" when each thread's answers, over shapes that change, are those of one thread alone.
"""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path

import numpy as np

# As in device_arrays.py.
sys.path.append(str(Path(sys.argv[1]).parent))
runtime = importlib.import_module(Path(sys.argv[1]).name)
PLAN = {"engine.plan": Path(sys.argv[2]).read_bytes()}
SIZES = [(1, 32, 32), (2, 64, 64), (1, 33, 47), (2, 40, 64), (1, 64, 32), (2, 32, 33)]
THREADS, TURNS = 6, 30


def feeds(seed: int):
    numbers = np.random.default_rng(seed)
    for n, h, w in SIZES[seed % len(SIZES) :] + SIZES[: seed % len(SIZES)]:
        yield {"image": numbers.standard_normal((n, 1, h, w)).astype(np.float32)}


def alone(seed: int) -> list[np.ndarray]:
    runner = runtime.Runner(PLAN, {})
    answers = [runner.run(feed)["y"] for feed in feeds(seed)]
    runner.close()
    return answers


expected = [alone(seed) for seed in range(THREADS)]
failures: list[str] = []
begin = threading.Barrier(THREADS)


def work(seed: int) -> None:
    try:
        runner = runtime.Runner(PLAN, {})
        begin.wait()
        for turn in range(TURNS):
            for index, feed in enumerate(feeds(seed)):
                if not np.array_equal(runner.run(feed)["y"], expected[seed][index]):
                    failures.append(f"thread {seed}, turn {turn}, feed {index}")
        runner.close()
    except Exception as error:
        begin.abort()
        failures.append(repr(error))


threads = [threading.Thread(target=work, args=(seed,)) for seed in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failures, failures[:5]
print("right")
