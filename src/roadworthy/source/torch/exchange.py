"""Tensors as arrays and back, sharing their memory wherever that can be."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from roadworthy.core.errors import InputError
from roadworthy.core.signature import Array, Dim, Signature, dtype_name

# Element types that NumPy has through `ml_dtypes` only, and the unsigned integers of their size.
_RAW = {
    torch.bfloat16: torch.uint16,
    torch.float8_e4m3fn: torch.uint8,
    torch.float8_e4m3fnuz: torch.uint8,
    torch.float8_e5m2: torch.uint8,
    torch.float8_e5m2fnuz: torch.uint8,
}
# Those that a runtime on the GPU takes as they are.
_PLAIN = ("float32", "float16", "int8", "uint8", "int32", "int64", "bool")
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
            remedy="give a dense tensor that holds values",
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


def gpu_of(device: str | None) -> int:
    """Return a GPU's number from a target's device: "cuda:1", "gpu:1" and "1" are 1, else 0."""
    number = (device or "").rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def room_for_outputs(
    signature: Signature, feed: Mapping[str, torch.Tensor], device: torch.device
) -> dict[str, torch.Tensor] | None:
    """Return memory for the outputs of a run on the GPU, in the signature's order.

    None where it must go through the host: sizes that only the run can tell, arrays without
    elements (which have no address), element types that NumPy lacks. `feed` isn't checked here.
    """
    if any(spec.dtype not in _PLAIN for spec in signature):
        return None
    sizes = {
        axis.name: size
        for spec in signature.inputs
        if spec.name in feed
        for axis, size in zip(spec.shape or (), feed[spec.name].shape, strict=False)
        if isinstance(axis, Dim)
    }
    made = {}
    for spec in signature.outputs:
        if spec.shape is None:
            return None
        shape = [axis if isinstance(axis, int) else sizes.get(axis.name, 0) for axis in spec.shape]
        if 0 in shape:
            return None
        made[spec.name] = torch.empty(shape, dtype=getattr(torch, spec.dtype), device=device)
    return None if any(not tensor.numel() for tensor in feed.values()) else made
