"""One worker for many builds and sessions: kept while it lives, replaced when it doesn't."""

import os
import signal
import sys
import threading

import numpy as np
import pytest

from roadworthy.backends.gateway import Worker
from roadworthy.backends.shared import Workers
from roadworthy.core.errors import RunError
from roadworthy.core.target import Target

RUNTIME = "tests.unit.backends.numpy_runtime"
HERE, OTHER = Target("numpy"), Target("numpy", where=f"python={sys.executable}")
FEED = {"x": np.arange(3.0)}


def pid_of(workers, target=HERE):
    with workers.place(target) as place:
        assert isinstance(place, Worker)
        return place.pid


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_without_a_block_each_place_is_a_worker_of_its_own_and_ends():
    workers = Workers(RUNTIME)
    first, second = pid_of(workers), pid_of(workers)
    assert first != second
    assert gone(first) and gone(second)


@pytest.mark.parametrize("target", [HERE, OTHER], ids=["here", "elsewhere"])
def test_within_a_block_all_is_done_in_one_worker_which_ends_with_it(target):
    workers = Workers(RUNTIME)
    with workers.kept():
        pid = pid_of(workers, target)
        runners = [workers.runner(target, False, {"m": b""}, {}) for _ in range(2)]
        for runner in runners:
            np.testing.assert_array_equal(runner.run(dict(FEED))["x"], FEED["x"])
        runners[0].close()
        np.testing.assert_array_equal(runners[1].run(dict(FEED))["x"], FEED["x"])
        assert pid_of(workers, target) == pid
    assert gone(pid)


def test_each_place_has_its_own():
    workers = Workers(RUNTIME)
    with workers.kept():
        assert pid_of(workers, HERE) != pid_of(workers, OTHER)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_died_is_replaced(how):
    workers = Workers(RUNTIME)
    with workers.kept():
        first = pid_of(workers)
        runner = workers.runner(HERE, True, {"m": b""}, {})
        os.kill(first, how)
        with pytest.raises(RunError, match=how.name):
            runner.run(dict(FEED))
        second = pid_of(workers)
        assert second != first
        runner.close()
        assert pid_of(workers) == second


def test_one_in_doubt_can_be_replaced_on_demand():
    workers = Workers(RUNTIME)
    with workers.kept() as kept:
        first = pid_of(workers)
        kept.renew()
        assert gone(first)
        assert pid_of(workers) != first


def test_an_inner_block_uses_the_outer_ones_worker():
    workers = Workers(RUNTIME)
    with workers.kept():
        pid = pid_of(workers)
        with workers.kept():
            assert pid_of(workers) == pid
        assert pid_of(workers) == pid


def test_threads_that_come_at_once_start_one_worker():
    workers, found = Workers(RUNTIME), []
    with workers.kept():
        threads = [threading.Thread(target=lambda: found.append(pid_of(workers))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
