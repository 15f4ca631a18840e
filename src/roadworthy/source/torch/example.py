"""Example inputs as PyTorch's users give them, `(x,)` or `{"x": x}`, become named feeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from roadworthy.core.errors import SamplesError, UsageError
from roadworthy.core.inputspec import parse_inputs
from roadworthy.core.signature import Array
from roadworthy.source.torch.calling import convention, in_own_order, parameter_names
from roadworthy.source.torch.exchange import as_array
from roadworthy.source.torch.load import unwrap


@dataclass(frozen=True)
class Examples:
    """What a deploy takes: an input specification for each input in order, and the feeds."""

    inputs: tuple[str, ...]
    feeds: tuple[dict[str, Array], ...]


def read_examples(
    module: nn.Module, example: Any, more: Iterable[Any] = (), inputs: Sequence[str] = ()
) -> Examples:
    """Name the examples as the network names its inputs.

    Args:
        module: the network.
        example: a tensor, or a tuple or list of them by position, or a mapping by keyword.
        more: others of the same form.
        inputs: `--inputs` specifications. They name inputs of the network; or there is one for
            each, in order, and gives it a name.

    Raises:
        UsageError: the network isn't called so, or the specifications name other inputs.
        SamplesError: something that isn't a tensor.
    """
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"a {type(module).__name__} can't be compiled",
            where="module",
            remedy="give a torch.nn.Module; roadworthy.deploy takes files",
        )
    module = unwrap(module)
    own = _own_names(module, example)
    stated = {spec.name: text for spec, text in zip(parse_inputs(inputs), inputs, strict=True)}
    names = own
    if not stated.keys() <= set(own):
        if len(stated) != len(own):
            raise UsageError(
                f"inputs names {', '.join(stated)}, the network takes {', '.join(own)}",
                where="inputs",
                remedy="name the network's inputs, or each of them anew, in order",
            )
        names = tuple(stated)
    renamed = dict(zip(own, names, strict=True))
    if isinstance(more, torch.Tensor | np.ndarray | Mapping | str):
        raise UsageError(
            f"samples is a {type(more).__name__}, not several examples",
            where="samples",
            remedy="give a list of examples, each of the same form as the first",
        )
    feeds = [
        {renamed.get(name, name): array for name, array in _feed(item, own, index).items()}
        for index, item in enumerate([example, *more])
    ]
    return Examples(tuple(stated.get(name, name) for name in names), tuple(feeds))


def _own_names(module: nn.Module, example: Any) -> tuple[str, ...]:
    """Return the inputs that the example is for, in the order of the network's parameters."""
    if not isinstance(example, Mapping):
        return parameter_names(module, len(_positional(example)))
    names = in_own_order(module, [str(name) for name in example])
    how = convention(module, names)
    own = parameter_names(module, len(names)) if None in how.passed_as else names
    if set(own) != set(names):
        raise UsageError(
            f"the network has no input {sorted(set(names) - set(own))[0]!r}",
            where=f"its first parameters are {', '.join(own)}",
            remedy="name the inputs as forward() names its parameters, or give them by position",
        )
    return how.names


def _positional(example: Any) -> Sequence[Any]:
    if isinstance(example, torch.Tensor | np.ndarray):
        return (example,)
    if isinstance(example, tuple | list) and example:
        return example
    raise SamplesError(
        f"the example is {'empty' if example in ((), []) else f'a {type(example).__name__}'}",
        where="example",
        remedy='give a tensor, a tuple of tensors (x,), or a mapping {"x": x}',
    )


def _feed(item: Any, names: Sequence[str], index: int) -> dict[str, Array]:
    """Return copies, so that the samples stay what they are whatever the caller does next."""
    if not isinstance(item, Mapping):
        values = _positional(item)
        if len(values) != len(names):
            raise SamplesError(
                f"example {index} has {len(values)} inputs, the first one has {len(names)}",
                where=f"the network is called with {', '.join(names)}",
            )
        item = dict(zip(names, values, strict=True))
    found: dict[str, Array] = {}
    for name, value in item.items():
        if not isinstance(value, torch.Tensor | np.ndarray):
            raise SamplesError(
                f"input {name!r} of example {index} is a {type(value).__name__}, not a tensor",
                where=f"input {name!r}",
                remedy="give a tensor; leave optional inputs out; wrap a network that takes lists",
            )
        array = as_array(str(name), value) if isinstance(value, torch.Tensor) else value
        found[str(name)] = np.array(array, copy=True, order="C")
    return found
