"""Only the calls that count are timed, and a busy process is never taken for an idle one."""

import gc
import threading
import time

import pytest

from roadworthy.core.errors import RunError
from roadworthy.measure.timing import settle, time_runs


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def advance(self, amount: int) -> None:
        self.now += amount


def test_each_timed_call_has_its_own_time_and_the_lead_has_none():
    clock = Clock()
    takes = iter([500, 500, 7, 8, 9])
    times = time_runs(lambda: clock.advance(next(takes)), 3, lead=2, clock=clock)
    assert times == [7, 8, 9]


def test_what_happens_between_calls_is_not_timed():
    clock = Clock()
    times = time_runs(
        lambda: clock.advance(5), 2, between=lambda: clock.advance(1_000), clock=clock
    )
    assert times == [5, 5]


def test_the_garbage_collector_waits_and_comes_back_even_after_an_error():
    seen = []
    time_runs(lambda: seen.append(gc.isenabled()), 1)
    assert seen == [False]
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        time_runs(lambda: 1 // 0, 1)
    assert gc.isenabled()


def test_settling_waits_until_the_threads_stop_spinning():
    clock, cpu = Clock(), Clock()
    slices = iter([1.2, 0.9, 0.5, 0.01, 0.0])

    def sleep(seconds: float) -> None:
        clock.advance(int(seconds * 1e9))
        cpu.advance(int(next(slices) * seconds * 1e9))

    settle(clock, cpu, sleep)
    assert list(slices) == [0.0]  # returned after the first quiet slice


def test_threads_that_never_rest_are_an_error_not_a_wrong_ratio():
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            time.perf_counter()

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        with pytest.raises(RunError, match="cores busy between the runs") as caught:
            settle()
    finally:
        stop.set()
        thread.join()
    assert "stop background threads" in str(caught.value)
