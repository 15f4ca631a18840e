"""Arrays that stay on the GPU: how it is told beforehand that a network can't be run so."""

import sys

import numpy as np
import pytest

from roadworthy.backends.session import Session
from roadworthy.backends.tensorrt.runtime.cuda import LEGACY_STREAM
from roadworthy.core.errors import InputError
from roadworthy.core.signature import Dim, Signature, TensorSpec
from tests.unit.backends.tensorrt.simulated import Gpu


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


def made_later(gpu, x, values, stream):
    """Queue the making of an array on a stream, as another library would."""
    gpu.stream(stream).add(lambda: np.copyto(x.array, values))


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "no graphs"])
@pytest.mark.parametrize("told", [True, False])
def test_it_waits_for_the_stream_that_an_array_is_made_on(opened, graphs, told):
    """PyTorch's arrays don't tell (version 2): then it is the legacy default stream."""
    runner, _, gpu = opened(graphs=graphs)
    x, y = arrays(4)
    stream = LEGACY_STREAM
    x.__cuda_array_interface__["version"] = 2
    if told:
        stream = gpu.handle("cudaStreamCreateWithFlags", 1)
        x.__cuda_array_interface__.update(version=3, stream=stream)
    for turn in range(4):
        values = np.arange(4, dtype=np.float32) + turn
        made_later(gpu, x, values, stream)
        runner.run_device({"x": x}, {"y": y})
        np.testing.assert_array_equal(y.array, 2 * values + 1)


def test_on_the_callers_stream_only_what_is_told_is_waited_for(opened):
    runner, _, gpu = opened()
    own, other = (gpu.handle("cudaStreamCreateWithFlags", 1) for _ in range(2))
    x, y = arrays(4)
    x.__cuda_array_interface__["version"] = 2
    made_later(gpu, x, np.full(4, 5, np.float32), own)
    runner.run_device({"x": x}, {"y": y}, own)
    gpu.cudaStreamSynchronize(own)
    np.testing.assert_array_equal(y.array, np.full(4, 11))
    x.__cuda_array_interface__.update(version=3, stream=other)
    made_later(gpu, x, np.full(4, 6, np.float32), other)
    runner.run_device({"x": x}, {"y": y}, own)
    gpu.cudaStreamSynchronize(own)
    np.testing.assert_array_equal(y.array, np.full(4, 13))


class Packed:
    """An array that speaks DLPack only; it is told on which stream it will be used, and once."""

    def __init__(self, array, gpu=None, making=None):
        self.array, self.told = array, None
        self.gpu, self.making = gpu, making

    def __dlpack_device__(self):
        return (2, 0)

    def __dlpack__(self, stream=None):
        assert self.told is None, "its capsule is given away once"
        self.told = stream
        if self.gpu is not None:  # as its library would: its own stream first, then the caller's
            event = self.gpu.handle("cudaEventCreateWithFlags", 0)
            self.gpu.cudaEventRecord(event, self.making)
            self.gpu.cudaStreamWaitEvent(stream, event, 0)
        return self.array.__dlpack__()


FLOATS = Signature(
    (TensorSpec("x", "float32", (Dim("n", 1, 8),)),), (TensorSpec("y", "float32", (Dim("n"),)),)
)


@pytest.mark.parametrize("own", [False, True], ids=["waits", "on a stream"])
def test_a_session_takes_arrays_that_speak_dlpack_only(opened, own):
    runner, _, gpu = opened()
    making, using = (gpu.handle("cudaStreamCreateWithFlags", 1) for _ in range(2))
    stream = using if own else None
    with Session(FLOATS, runner) as session:
        for turn in range(3):
            values = np.arange(4, dtype=np.float32) + turn
            x = Packed(np.zeros(4, np.float32), gpu, making)
            y = Packed(np.zeros(4, np.float32))
            gpu.stream(making).add(lambda x=x, values=values: np.copyto(x.array, values))
            held = sys.getrefcount(x.array), sys.getrefcount(y.array)
            assert session.run_device({"x": x}, {"y": y}, stream)["y"] is y
            assert x.told == y.told == (using if own else LEGACY_STREAM)
            gpu.cudaStreamSynchronize(stream or LEGACY_STREAM)
            np.testing.assert_array_equal(y.array, 2 * values + 1)
            assert (sys.getrefcount(x.array), sys.getrefcount(y.array)) == held, "given back"
        [made] = session.run_device({"x": Packed(values)}).values()
        assert made.shape == (4,)
    assert {kind for kind, _ in gpu.log} <= {"graph", "enqueue"}, "nothing was copied"


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(9, np.float32), r"n=1\.\.8"),
        (np.zeros((2, 2), np.float32), "shape"),
        (np.zeros((), np.float32), "shape"),
        (np.zeros(4, np.int64), "int64"),
        (np.zeros(4, np.float16), "float16"),
        (np.zeros(4, np.bool_), "bool"),
        (np.zeros(4, np.complex64), r"dtype \|V8"),
    ],
)
def test_such_arrays_are_checked_too(opened, array, said):
    with Session(FLOATS, opened()[0]) as session, pytest.raises(InputError, match=said):
        session.run_device({"x": Packed(array)})


def test_what_isn_t_on_the_gpu_or_has_gaps_is_refused(opened):
    with Session(FLOATS, opened()[0]) as session:
        x = Packed(np.zeros(4, np.float32))
        with pytest.raises(InputError, match="'y' is a ndarray, not a GPU array"):
            session.run_device({"x": x}, {"y": x.array})
        with pytest.raises(RuntimeError, match="'x' is not contiguous"):
            session.run_device({"x": Packed(np.zeros(8, np.float32)[::2])})


def test_a_thread_works_on_the_engines_gpu_and_then_on_its_own_again(opened):
    gpu = Gpu(count=2)
    runner, _, _ = opened(gpu, spec={"device": "cuda:1"})
    assert (gpu.current, gpu.used) == (0, set()), "opening allocates nothing"
    x, y = arrays(4)
    for _ in range(3):
        runner.run_device({"x": x}, {"y": y})
        runner.run({"x": x.array})
        assert gpu.current == 0
    list(runner.run_many([{"x": x.array}] * 5))
    runner.time({"x": x.array}, 2, 1)
    runner.close()
    assert (gpu.current, gpu.used) == (0, {1})
