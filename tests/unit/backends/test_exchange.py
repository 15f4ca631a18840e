"""What the wrapper of a runner hands on: dtypes, byte order, overlapping, who times, names."""

import ml_dtypes
import numpy as np
import pytest

from roadworthy.backends.exchange import Exchange, Exchanging
from roadworthy.core.signature import Signature, TensorSpec

HALF = Signature((TensorSpec("x", "bfloat16", (2,)),), (TensorSpec("y", "bfloat16", (2,)),))


class Raw:
    """Gives back the bits it gets; counts how it was asked."""

    def __init__(self):
        self.asked = []

    def run(self, feed):
        self.asked.append("run")
        return {"y": feed["x"].copy()}

    def run_many(self, feeds):
        self.asked.append("run_many")
        for feed in feeds:
            yield {"y": feed["x"].copy()}


def test_many_feeds_reach_the_runtime_s_own_run_many_and_keep_their_dtype():
    raw, feeds = Raw(), [{"x": np.array([n, -n], ml_dtypes.bfloat16)} for n in range(5)]
    answers = list(Exchanging(raw, Exchange(HALF)).run_many(map(dict, feeds)))
    assert raw.asked == ["run_many"]
    for answer, feed in zip(answers, feeds, strict=True):
        assert answer["y"].dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(answer["y"], feed["x"])


@pytest.mark.parametrize("there", [True, False])
def test_an_engine_in_a_worker_is_timed_there(there):
    raw = Raw()
    raw.times_itself = there
    assert Exchanging(raw, Exchange(HALF)).times_itself is there


def test_only_a_runner_that_can_do_so_runs_on_the_gpu():
    raw = Raw()
    assert Exchanging(raw, Exchange(HALF)).run_device is None
    raw.run_device = raw.run
    assert Exchanging(raw, Exchange(HALF)).run_device == raw.run


@pytest.mark.parametrize("order", "<>")
def test_a_runtime_is_given_the_machine_s_byte_order(order):
    signature = Signature((TensorSpec("x", "float32", (2,)),), (TensorSpec("y", "float32", (2,)),))
    x = np.array([1.5, -2], np.dtype(np.float32).newbyteorder(order))
    answer = Exchanging(Raw(), Exchange(signature)).run({"x": x})["y"]
    assert answer.dtype.isnative
    np.testing.assert_array_equal(answer, [1.5, -2])
