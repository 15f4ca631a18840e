"""Arrays that stay on the GPU: how it is told beforehand that a network can't be run so."""

import numpy as np
import pytest


class Lying:
    """An array of the simulated GPU's memory, which is this process's."""

    def __init__(self, array):
        self.array = array
        self.__cuda_array_interface__ = dict(array.__array_interface__)


def arrays(size):
    return Lying(np.arange(size, dtype=np.float32)), Lying(np.zeros(size, np.float32))


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "no graphs"])
def test_it_runs_where_the_arrays_lie(opened, graphs):
    runner, _, gpu = opened(graphs=graphs)
    assert runner.device_refusal == ""
    for size in (4, 4, 7, 4):
        x, y = arrays(size)
        for _ in range(3):
            y.array[...] = 0
            assert runner.run_device({"x": x}, {"y": y})["y"] is y
            np.testing.assert_array_equal(y.array, 2 * x.array + 1)
    assert {kind for kind, _ in gpu.log} <= {"graph", "enqueue"}, "nothing was copied"
    runner.close()
    assert not gpu.blocks


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"grows": True}, "shape of output 'y' depends on the data"),
        ({"on_host": "x"}, "'x' is a shape"),
        ({"on_host": "y"}, "'y' is a shape"),
        ({"integers": "x", "spec": {"inputs": {"x": "int64"}}}, "'x' is INT64"),
        ({"integers": "y", "spec": {"outputs": {"y": "int64"}}}, "'y' is INT64"),
    ],
    ids=[
        "data-dependent",
        "input by value",
        "output by value",
        "narrowed input",
        "narrowed output",
    ],
)
def test_what_cannot_run_so_is_known_when_it_is_open(opened, how, why):
    runner, _, gpu = opened(**how)
    assert why in runner.device_refusal
    x, y = arrays(4)
    with pytest.raises(RuntimeError, match="use run"):
        runner.run_device({"x": x}, {"y": y})
    assert not gpu.log


def test_the_question_leaves_runs_from_the_host_as_they_are(opened):
    runner, _, _ = opened(grows=True)
    for size in (3, 8, 5):
        x = np.arange(size, dtype=np.float32)
        np.testing.assert_array_equal(runner.run({"x": x})["y"], (2 * x + 1)[:2])
    runner, _, _ = opened()
    np.testing.assert_array_equal(runner.run({"x": x})["y"], 2 * x + 1)


def test_what_fails_says_what_it_was_and_the_next_call_is_right(opened):
    runner, plan, _ = opened(graphs=False)
    x, y = arrays(4)
    plan.fails = lambda stream: True
    with pytest.raises(RuntimeError, match="failed to run"):
        runner.run_device({"x": x}, {"y": y})
    plan.fails = lambda stream: False
    runner.run_device({"x": x}, {"y": y})
    np.testing.assert_array_equal(y.array, 2 * x.array + 1)
    with pytest.raises(RuntimeError, match="is float64 on the GPU"):
        runner.run_device({"x": Lying(x.array.astype(np.float64))}, {"y": y})
    with pytest.raises(RuntimeError, match=r"output 'y' is float32 \[4\]"):
        runner.run_device({"x": x}, {"y": Lying(np.zeros(3, np.float32))})
