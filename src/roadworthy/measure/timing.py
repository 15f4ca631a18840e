"""Time a call, and wait until this process is idle."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from roadworthy.core.errors import RunError

Clock = Callable[[], int]
"""Nanoseconds from any fixed point on, never going back."""

# ONNX Runtime's threads were seen to spin for 35 ms after a run, libgomp's (PyTorch's) for 10 ms;
# Intel's OpenMP waits 200 ms by default (KMP_BLOCKTIME).
_SLICE_SECONDS = 0.02
_QUIET_SHARE = 0.2
_SETTLE_SECONDS = 3.0


def time_runs(
    call: Callable[[], object],
    runs: int,
    *,
    lead: int = 0,
    between: Callable[[], None] | None = None,
    clock: Clock = time.perf_counter_ns,
) -> list[int]:
    """Return the time of each of `runs` calls, in nanoseconds.

    A call's result is dropped within its time. The garbage collector waits, as in `timeit`: what
    it would collect is rarely the call's.

    Args:
        call: what is timed.
        runs: how often.
        lead: calls before those, not timed: caches and threads that rested come back.
        between: called after each timed call, outside its time.
        clock: where the time comes from.
    """
    times: list[int] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(lead):
            call()
        for _ in range(runs):
            started = clock()
            call()
            times.append(clock() - started)
            if between is not None:
                between()
    finally:
        if collecting:
            gc.enable()
    return times


def settle(
    clock: Clock = time.perf_counter_ns,
    cpu_clock: Clock = time.process_time_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return when this process's threads no longer use the processor.

    After a run a thread pool spins for a while, waiting for the next one. Whatever is timed
    meanwhile has one core less.

    Raises:
        RunError: they go on for 3 seconds.
    """
    deadline = clock() + int(_SETTLE_SECONDS * 1e9)
    while True:
        began, cpu_began = clock(), cpu_clock()
        sleep(_SLICE_SECONDS)
        now = clock()
        busy = (cpu_clock() - cpu_began) / (now - began)
        if busy < _QUIET_SHARE:
            return
        if now > deadline:
            raise RunError(
                f"threads of this process keep {busy:.1f} cores busy between the runs, so nothing "
                "can be timed beside them",
                remedy="stop background threads, or let the thread pool sleep when it has no work",
            )
