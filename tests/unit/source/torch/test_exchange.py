"""Tensors and arrays share their memory, and their values whatever the element type."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from roadworthy.core.errors import InputError
from roadworthy.source.torch.exchange import as_array, as_tensor

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
