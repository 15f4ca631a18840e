"""What the wrapper of a TensorRT runner hands on: dtypes, overlapping, and who times."""

import ml_dtypes
import numpy as np
import pytest

from roadworthy.backends.tensorrt.exchange import Exchanging
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
    answers = list(Exchanging(raw, HALF).run_many(feeds))
    assert raw.asked == ["run_many"]
    for answer, feed in zip(answers, feeds, strict=True):
        assert answer["y"].dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(answer["y"], feed["x"])


@pytest.mark.parametrize("there", [True, False])
def test_an_engine_in_a_worker_is_timed_there(there):
    raw = Raw()
    raw.times_itself = there
    assert Exchanging(raw, HALF).times_itself is there
