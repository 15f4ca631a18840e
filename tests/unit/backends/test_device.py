"""`Session.run_device`: offered where the runtime has it, and checked like `run`.

The memory is the host's here; `tests/device` runs the same on a GPU.
"""

from __future__ import annotations

import numpy as np
import pytest

from roadworthy.backends.exchange import Exchange, Exchanging
from roadworthy.backends.place import Here, open_runner
from roadworthy.backends.session import Session
from roadworthy.core.errors import InputError, RunError, UsageError
from roadworthy.core.signature import Dim, Signature, TensorSpec
from tests import models
from tests.unit.backends import device_runtime

RUNTIME = device_runtime.__name__
ROWS = Dim("rows", 1, 4)
SIGNATURE = Signature(
    (TensorSpec("x", "float32", (ROWS, 2)),), (TensorSpec("y", "float32", (ROWS, 2)),)
)


class Lying:
    """An array as a GPU's would describe itself."""

    def __init__(self, array):
        self.array = array
        self.__cuda_array_interface__ = dict(array.__array_interface__)


@pytest.fixture
def session():
    with Session(SIGNATURE, open_runner(RUNTIME, None, False, {}, {})) as session:
        yield session


def test_it_runs_in_place(session):
    x, y = Lying(models.normal(3, 2)), Lying(np.zeros((3, 2), np.float32))
    answers = session.run_device({"x": x}, {"y": y}, 5)
    assert answers["y"] is y
    np.testing.assert_array_equal(y.array, 2 * x.array + 5)
    made = session.run_device({"x": x})
    np.testing.assert_array_equal(made["y"].array, 2 * x.array)


@pytest.mark.parametrize(
    ("feed", "said"),
    [
        ({}, "missing"),
        ({"x": models.normal(3, 2)}, "not a GPU array"),
        ({"x": Lying(models.normal(5, 2))}, "shape"),
        ({"x": Lying(models.normal(3, 2).astype(np.float64))}, "dtype"),
        ({"x": Lying(models.normal(3, 2)), "z": Lying(models.normal(3, 2))}, "unknown"),
    ],
)
def test_it_is_checked(session, feed, said):
    with pytest.raises(InputError, match=said):
        session.run_device(feed)


def test_a_runtimes_own_failure_is_a_run_error(session):
    with pytest.raises(RunError, match="stream -1"):
        session.run_device({"x": Lying(models.normal(3, 2))}, None, -1)


def test_a_closed_session_refuses(session):
    run = session.run_device
    session.close()
    with pytest.raises(UsageError, match="closed"):
        run({"x": Lying(models.normal(3, 2))})


def test_none_where_the_runtime_has_no_such_thing_or_is_elsewhere():
    with models.engine(models.perceptron()).open() as session:
        assert session.run_device is None
        assert "only an engine of TensorRT" in session.device_refusal
    with Session(SIGNATURE, open_runner(RUNTIME, None, True, {}, {})) as session:
        assert session.run_device is None
    assert Here(RUNTIME).open({}, {}).run_device is not None


def test_a_network_that_cannot_run_so_is_known_beforehand(monkeypatch):
    """Whatever wraps the runner hands its reason on."""
    monkeypatch.setattr(device_runtime.Runner, "device_refusal", "'n' is a shape", raising=False)
    runner = Exchanging(open_runner(RUNTIME, None, False, {}, {}), Exchange(SIGNATURE))
    with Session(SIGNATURE, runner) as session:
        assert session.run_device is None
        assert session.device_refusal == "'n' is a shape"
        x = models.normal(3, 2)
        np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x)
    monkeypatch.undo()
    runner = Exchanging(open_runner(RUNTIME, None, False, {}, {}), Exchange(SIGNATURE))
    with Session(SIGNATURE, runner) as session:
        assert session.run_device is not None
        assert session.device_refusal == ""
