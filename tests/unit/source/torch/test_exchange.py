"""Tensors and arrays share their memory, and their values whatever the element type."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from roadworthy.core.errors import InputError
from roadworthy.core.inputspec import parse_inputs
from roadworthy.core.signature import Signature, TensorSpec
from roadworthy.source.torch.exchange import as_array, as_tensor, gpu_of, room_for_outputs

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64, torch.bool])
def test_no_copy_on_the_cpu(dtype):
    tensor = torch.ones(2, 3).to(dtype)
    array = as_array("x", tensor)
    assert array.ctypes.data == tensor.data_ptr()
    back = as_tensor(array, CPU)
    assert back.data_ptr() == tensor.data_ptr()
    assert back.dtype is dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_types_that_numpy_lacks(dtype):
    tensor = torch.tensor([[0.5, -2.0], [3.0, 1.0]]).to(dtype)
    array = as_array("x", tensor.T)
    assert array.dtype.name == str(dtype).removeprefix("torch.")
    np.testing.assert_array_equal(array.astype(np.float32), tensor.float().numpy().T)
    back = as_tensor(array, CPU)
    assert back.dtype is dtype
    assert torch.equal(back.float(), tensor.T.float())


def test_strides_scalars_and_read_only_arrays():
    tensor = torch.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(as_array("x", tensor.T), tensor.numpy().T)
    assert as_tensor(np.array(2.0, np.float32), CPU).shape == ()
    array = np.arange(3.0)
    array.flags.writeable = False
    as_tensor(array, CPU)[0] = 9
    assert array[0] == 0
    assert as_tensor(np.arange(3, dtype=">f4"), CPU)[2] == 2
    conjugate = torch.tensor([1 + 2j]).conj()
    assert as_array("x", conjugate)[0] == 1 - 2j


@pytest.mark.parametrize(
    "tensor",
    [torch.ones(2, device="meta"), torch.eye(2).to_sparse()],
    ids=["meta", "sparse"],
)
def test_tensors_without_plain_values_are_refused(tensor):
    with pytest.raises(InputError, match="input 'x' can't be read"):
        as_array("x", tensor)


def signature(inputs, *outputs):
    (spec,) = parse_inputs([inputs])
    return Signature((TensorSpec(spec.name, spec.dtype or "float32", spec.shape),), outputs)


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


@pytest.mark.parametrize(
    "output",
    [TensorSpec("y", "float32", None), TensorSpec("y", "bfloat16", (2,))],
    ids=["rank unknown", "no NumPy type"],
)
def test_what_must_go_through_the_host(output):
    given = signature("x[n=0..8,3]", output)
    assert room_for_outputs(given, {"x": torch.ones(5, 3)}, CPU) is None
    same = signature("x[n=0..8,3]", TensorSpec("y", "float32", given.inputs[0].shape))
    assert room_for_outputs(same, {"x": torch.ones(0, 3)}, CPU) is None
    other = signature("x[3]", TensorSpec("y", "float32", (given.inputs[0].shape[0],)))
    assert room_for_outputs(other, {"x": torch.ones(3)}, CPU) is None


@pytest.mark.parametrize(
    ("device", "number"), [(None, 0), ("cuda", 0), ("gpu:2", 2), ("cuda:1", 1), ("3", 3)]
)
def test_gpu_numbers(device, number):
    """As the TensorRT runtime's own `device_index` reads them."""
    assert gpu_of(device) == number
