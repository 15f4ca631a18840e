"""CUDA tensors stay where they are, or a warning says why not; what fails is raised.

The GPU is a simulated one; `tests/device/test_compile.py` does the same on a real one.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from roadworthy.backends.session import Session
from roadworthy.core.errors import InputError, RunError
from roadworthy.core.inputspec import parse_inputs
from roadworthy.core.signature import Signature, TensorSpec
from roadworthy.source.torch.running import TensorRuns, compact, gpu_of, room_for_outputs
from tests.unit.source.torch.simulated_gpu import STREAM, gpu, there

CPU = torch.device("cpu")


def signature(inputs, *outputs):
    (spec,) = parse_inputs([inputs])
    return Signature((TensorSpec(spec.name, spec.dtype or "float32", spec.shape),), outputs)


def doubling(inputs="x[n=0..8,3]", output=None):
    """One output, of the input's shape unless said otherwise."""
    (spec,) = signature(inputs).inputs
    return signature(inputs, output or TensorSpec("y", spec.dtype, spec.shape))


def test_room_for_outputs_takes_the_sizes_of_the_inputs():
    given = signature("x[n=1..8,3]")
    (n, _) = given.inputs[0].shape
    made = room_for_outputs(
        Signature(given.inputs, (TensorSpec("y", "int64", (n, 2)), TensorSpec("z", "bool", (4,)))),
        {"x": torch.ones(5, 3)},
        CPU,
    )
    assert [(t.shape, t.dtype) for t in made.values()] == [
        ((5, 2), torch.int64),
        ((4,), torch.bool),
    ]


OTHER_AXIS = TensorSpec("y", "float32", (signature("z[rows=1..4]").inputs[0].shape[0],))


@pytest.mark.parametrize(
    ("asked", "x", "why"),
    [
        (doubling(output=TensorSpec("y", "float32", None)), torch.ones(5, 3), "size of output 'y'"),
        (doubling(output=TensorSpec("y", "bfloat16", (2,))), torch.ones(5, 3), "bfloat16"),
        (doubling(), torch.ones(0, 3), "'x' has no elements"),
        (doubling("x[3]", TensorSpec("y", "float32", (0,))), torch.ones(3), "'y' has no elements"),
        (doubling("x[3]", OTHER_AXIS), torch.ones(3), "size of output 'y'"),
    ],
    ids=["rank unknown", "no NumPy type", "empty input", "empty output", "size unknown"],
)
def test_what_must_go_through_the_host(asked, x, why):
    assert why in room_for_outputs(asked, {"x": x}, CPU)


@pytest.mark.parametrize(
    ("device", "number"), [(None, 0), ("cuda", 0), ("gpu:2", 2), ("cuda:1", 1), ("3", 3)]
)
def test_gpu_numbers(device, number):
    """As the TensorRT runtime's own `device_index` reads them."""
    assert gpu_of(device) == number


def test_memory_is_values_in_c_order():
    negative = torch.tensor([1 + 2j, 3 - 4j]).conj().imag
    for tensor in (negative, negative[:1], torch.randn(3, 2).T):  # one element is contiguous
        found = compact(tensor)
        # As a GPU would read it.
        raw = torch.empty(0).set_(found.untyped_storage())
        at = found.storage_offset()
        assert torch.equal(raw[at : at + found.numel()].reshape(found.shape), tensor)
    assert negative.is_neg() and negative[:1].is_contiguous()
    plain = torch.randn(2, 3)
    assert compact(plain).data_ptr() == plain.data_ptr()


class Doubling:
    """y = 2·x, in host memory or where the arrays lie."""

    device_refusal = ""

    def __init__(self):
        self.calls = []
        self.fails = None

    def run(self, feed):
        self.calls.append("host")
        return {"y": 2 * feed["x"]}

    def run_device(self, feed, outputs=None, stream=None):
        self.calls.append(stream)
        if self.fails is not None:
            raise self.fails
        x, y = (
            np.asarray(SimpleNamespace(__array_interface__=value.__cuda_array_interface__))
            for value in (feed["x"], outputs["y"])
        )
        np.multiply(x, 2, out=y)
        return outputs

    def close(self):
        pass


def run(runs, runner, x, asked=None, device="cuda:0"):
    with pytest.MonkeyPatch.context() as patch, gpu(patch):
        feed = {"x": there(x, device)}
        outputs = runs.run(Session(asked or doubling(), runner), feed, torch.device(device))
    assert outputs["y"].device == torch.device(device)
    return outputs["y"].held


def test_cuda_tensors_stay_where_they_are():
    runs, runner, x = TensorRuns("cuda:0"), Doubling(), torch.randn(5, 3)
    assert torch.equal(run(runs, runner, x), 2 * x)
    assert runner.calls == [STREAM]


@pytest.mark.parametrize("said", ["CUDA error 700", "out of memory", "input 'x' is int64"])
def test_what_fails_on_the_gpu_is_raised_and_changes_nothing(said):
    runs, runner, x = TensorRuns(None), Doubling(), torch.randn(5, 3)
    runner.fails = RunError(said)
    with pytest.raises(RunError, match=said) as caught:
        run(runs, runner, x)
    assert caught.value is runner.fails
    runner.fails = None
    assert torch.equal(run(runs, runner, x), 2 * x)
    assert runner.calls == [STREAM, STREAM]


REFUSED = Doubling()
REFUSED.device_refusal = "the shape of output 'y' depends on the data"
HERE_ONLY = SimpleNamespace(run=Doubling().run, close=lambda: None)


@pytest.mark.parametrize(
    ("runner", "engine_on", "rows", "why"),
    [
        (REFUSED, "cuda", 2, "depends on the data"),
        (HERE_ONLY, None, 2, "only an engine of TensorRT, in this process"),
        (Doubling(), "cuda:1", 2, "they are on cuda:0, the engine is on cuda:1"),
        (Doubling(), "cuda", 0, "no elements"),
    ],
    ids=["this network", "this runtime", "another GPU", "empty"],
)
def test_a_warning_says_once_why_they_go_through_the_host(runner, engine_on, rows, why):
    runs, x = TensorRuns(engine_on), torch.randn(rows, 3)
    with pytest.warns(UserWarning, match=f"copied to the host and back.*{why}"):
        assert torch.equal(run(runs, runner, x), 2 * x)
    assert torch.equal(run(runs, runner, x), 2 * x)  # a second warning would be an error


def test_tensors_on_the_cpu_need_no_warning():
    x = torch.randn(2, 3)
    outputs = TensorRuns(None).run(Session(doubling(), REFUSED), {"x": x}, CPU)
    assert torch.equal(outputs["y"], 2 * x)


def test_what_does_not_fit_is_refused_and_no_matter_of_copies():
    runner = Doubling()
    with pytest.raises(InputError, match="shape"):
        run(TensorRuns(None), runner, torch.ones(9, 3))
    with (
        pytest.MonkeyPatch.context() as patch,
        gpu(patch),
        pytest.raises(InputError, match="missing"),
    ):
        TensorRuns(None).run(
            Session(doubling(), runner),
            {"z": there(torch.ones(2, 3), "cuda:0")},
            torch.device("cuda:0"),
        )
    assert runner.calls == []
