"""Tensors as arrays and back, sharing their memory wherever that can be."""

from __future__ import annotations

import numpy as np
import torch

from roadworthy.core.errors import InputError
from roadworthy.core.signature import Array, dtype_name

# Element types that NumPy has through `ml_dtypes` only, and the unsigned integers of their size.
_RAW = {
    torch.bfloat16: torch.uint16,
    torch.float8_e4m3fn: torch.uint8,
    torch.float8_e4m3fnuz: torch.uint8,
    torch.float8_e5m2: torch.uint8,
    torch.float8_e5m2fnuz: torch.uint8,
}
_BY_NAME = {str(dtype).removeprefix("torch."): dtype for dtype in _RAW}


def as_array(name: str, tensor: torch.Tensor) -> Array:
    """Return a tensor as an array: the same memory for a plain one on the CPU, else a copy.

    Args:
        name: the input's, for messages.
        tensor: any strides, on any device.

    Raises:
        InputError: a tensor without plain values: sparse, quantised, on the meta device, traced.
    """
    try:
        plain = tensor.detach().cpu().resolve_conj().resolve_neg()
        raw = _RAW.get(plain.dtype)
        if raw is None:
            array: Array = plain.numpy()
            return array
        import ml_dtypes

        bits: Array = plain.contiguous().view(raw).numpy()
        return bits.view(np.dtype(getattr(ml_dtypes, str(plain.dtype).removeprefix("torch."))))
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise InputError(
            f"input {name!r} can't be read as an array: {str(error).splitlines()[0]}",
            where=f"input {name!r}: a {tensor.dtype} tensor, {tensor.layout}, on {tensor.device}",
            remedy="give a dense tensor that holds values; none does in torch.vmap or torch.func",
        ) from error


def as_tensor(array: Array, device: torch.device) -> torch.Tensor:
    """Return an array that is nobody else's as a tensor; on the CPU it keeps its memory."""
    dtype = _BY_NAME.get(dtype_name(array.dtype))
    if not array.flags.writeable or not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if dtype is None:
        return torch.from_numpy(array).to(device)
    bits = array.view(f"uint{8 * array.itemsize}")
    return torch.from_numpy(bits).view(dtype).to(device)
