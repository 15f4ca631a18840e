"""The rule's library or the tuned one: both are run as they would ship, and the faster is kept.

A tile that wins by itself, its arrays in the cache, may lose inside the network.
"""

from __future__ import annotations

import importlib
import statistics
import time
from typing import Any, Callable, Dict, List

import numpy as np

# Each side, in all; and a block of it, which is one run at least.
_SECONDS, _BLOCK_SECONDS = 0.4, 0.02
_FEWEST_BLOCKS, _MOST_BLOCKS = 4, 40

Clock = Callable[[], float]


def kept(
    rules: Callable[[], object], tuned: Callable[[], object], clock: Clock = time.perf_counter
) -> Dict[str, Any]:
    """Time both and return what is to be kept: "kept" ("rules" or "tuned"), "rules_ms", "tuned_ms".

    The medians of single runs, in blocks that go rules, tuned, tuned, rules, and again, so that a
    machine which steadily slows down favours neither. The rule's is kept where they are even.
    """
    sides = (rules, tuned)
    for side in sides:
        side()  # the first run finds cold caches and sleeping threads
    times: List[List[float]] = [[], []]
    for number in range(_MOST_BLOCKS):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            times[which] += _block(sides[which], clock)
        if number + 1 >= _FEWEST_BLOCKS and min(map(sum, times)) >= _SECONDS:
            break
    medians = [statistics.median(side) for side in times]
    return {
        "kept": "tuned" if medians[1] < medians[0] else "rules",
        "rules_ms": round(medians[0] * 1e3, 4),
        "tuned_ms": round(medians[1] * 1e3, 4),
    }


def _block(call: Callable[[], object], clock: Clock) -> List[float]:
    times: List[float] = []
    while sum(times) < _BLOCK_SECONDS:
        start = clock()
        call()
        times.append(clock() - start)
    return times


def opened(tvm: Any, path: str, main: Any) -> Callable[[], object]:
    """Return a run of a library, on arrays of real shapes: floats from 0 to 1, else zeros.

    Args:
        tvm: the package.
        path: of the library.
        main: the function of its module; the sizes of all that it takes are known.
    """
    relax = importlib.import_module("tvm.relax")
    call = relax.VirtualMachine(tvm.runtime.load_module(path), tvm.cpu())["main"]
    random = np.random.default_rng(0)
    tensors = []
    for parameter in main.params:
        shape, dtype = [int(size) for size in parameter.ty.shape], str(parameter.ty.dtype)
        array = random.random(shape) if dtype.startswith("float") else np.zeros(shape)
        tensors.append(tvm.runtime.tensor(array.astype(dtype)))
    return lambda: call(*tensors)
