"""What a network returns, as a flat list of named tensors.

Names, the same in every call: the keys of a mapping, the fields of a dataclass or named tuple,
the positions of a list, joined with "_" where they nest. A single unnamed result is "output";
unnamed ones are "output_0", "output_1", …. None, as an optional result, is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from roadworthy.core.errors import UsageError
from roadworthy.core.signature import Answers, Array


def flatten(value: Any, names: Sequence[str] | None = None) -> list[tuple[str, torch.Tensor]]:
    """Return the tensors in `value` with their names, in order.

    Args:
        value: what the network's `forward` returned.
        names: the names to use instead, one for each tensor.

    Raises:
        UsageError: something other than tensors inside, or another number of them than names.
    """
    leaves = list(_walk(value, ()))
    if names is not None:
        if len(names) != len(leaves):
            own = ", ".join(_join(path, alone=len(leaves) == 1) for path, _ in leaves)
            raise UsageError(
                f"{len(names)} output names were given, the network has {len(leaves)}: {own}",
                where=f"--outputs {','.join(names)}",
                remedy="name every output once, in the network's order",
            )
        return [(name, tensor) for name, (_, tensor) in zip(names, leaves, strict=True)]
    alone = len(leaves) == 1
    found: dict[str, torch.Tensor] = {}
    for path, tensor in leaves:
        name = _join(path, alone=alone)
        while name in found:
            name += "_"
        found[name] = tensor
    return list(found.items())


def to_arrays(value: Any, names: Sequence[str] | None = None) -> Answers:
    """Return a copy of every tensor in `value` as a C-contiguous NumPy array, by name."""
    return {name: _to_array(tensor) for name, tensor in flatten(value, names)}


def _to_array(tensor: torch.Tensor) -> Array:
    tensor = tensor.detach().cpu()
    if tensor.is_sparse or tensor.is_quantized:
        raise UsageError("the network returns a sparse or quantised tensor", remedy="densify it")
    if tensor.dtype == torch.bfloat16:
        import ml_dtypes  # NumPy has no bfloat16 of its own

        bits: Array = tensor.contiguous().view(torch.uint16).numpy()
        return bits.copy().view(ml_dtypes.bfloat16)
    return np.array(tensor.resolve_conj().resolve_neg().numpy(), copy=True, order="C")


def _walk(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield path, value
    elif value is None:
        return
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(item, (*path, str(key)))
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for key, item in zip(value._fields, value, strict=True):
            yield from _walk(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _walk(item, (*path, str(index)))
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _walk(getattr(value, field.name), (*path, field.name))
    else:
        raise UsageError(
            f"the network returns a {type(value).__name__} at {_join(path, alone=True)!r}, "
            "only tensors can be exported",
            remedy="return tensors, or a wrapper module that leaves the rest out",
        )


def _join(path: tuple[str, ...], *, alone: bool) -> str:
    if all(part.isdigit() for part in path):
        return "output" if alone else "_".join(("output", *path))
    return "_".join(path if not path[0].isdigit() else ("output", *path))
