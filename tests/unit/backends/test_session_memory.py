"""A session that meets new shapes for ever doesn't grow for ever."""

import numpy as np
import pytest

from roadworthy.backends.session import Session
from roadworthy.core.errors import InputError
from roadworthy.core.signature import Dim, Signature, TensorSpec


class Nothing:
    """A runner that answers nothing: only what the session remembers matters here."""

    def run(self, feed):
        return {}

    def close(self):
        pass


def test_shapes_are_remembered_up_to_a_limit_and_always_checked():
    session = Session(
        Signature((TensorSpec("x", "float32", (Dim("n", 1, 5_000),)),), ()), Nothing()
    )
    for size in range(1, 3_000):
        session.run({"x": np.zeros(size, np.float32)})
    assert len(session._seen) <= 256
    with pytest.raises(InputError, match="5001"):
        session.run({"x": np.zeros(5_001, np.float32)})
