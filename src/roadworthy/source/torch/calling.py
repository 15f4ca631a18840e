"""How a network is called: which of `forward`'s parameters the named inputs go to."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from roadworthy.core.errors import SamplesError, UsageError
from roadworthy.core.signature import Array, Feed
from roadworthy.source.torch.outputs import flatten

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Convention:
    """Inputs by name, in order; `passed_as` is each one's keyword, None for by position."""

    names: tuple[str, ...]
    passed_as: tuple[str | None, ...]

    def call(self, module: nn.Module, tensors: Sequence[torch.Tensor]) -> Any:
        """Call the module with one tensor per name."""
        pairs = list(zip(self.passed_as, tensors, strict=True))
        positional = [tensor for keyword, tensor in pairs if keyword is None]
        return module(*positional, **{key: tensor for key, tensor in pairs if key is not None})

    def tensors(self, feed: Feed) -> tuple[torch.Tensor, ...]:
        """Return the feed's arrays as tensors of their own memory, in order.

        Raises:
            SamplesError: missing or unknown names, or a dtype that torch doesn't have.
        """
        missing = [name for name in self.names if name not in feed]
        unknown = [name for name in feed if name not in self.names]
        if missing or unknown:
            raise SamplesError(
                f"inputs don't match: missing {missing or 'none'}, unknown {unknown or 'none'}",
                where=f"the network is called with {', '.join(self.names)}",
                remedy="name the arrays as forward() names its parameters, or say --inputs",
            )
        return tuple(_to_tensor(name, feed[name]) for name in self.names)


def convention(module: nn.Module, names: Sequence[str] | None = None) -> Convention:
    """Match input names to `forward`'s parameters.

    Cases: (1) no names: the parameters without a default (the first one if all have one).
    (2) Names that are parameters: passed as keywords, so optional ones may be left out.
    (3) Other names: they stand for the parameters in order.
    (4) A program of torch.export is called exactly as it was when it was exported.

    Raises:
        UsageError: too many names, a required parameter without one, or `*args` without names.
    """
    if hasattr(module, "_in_spec"):
        return _exported_convention(module, names)
    parameters = _parameters(module)
    plain = [item for item in parameters if item.kind not in _VARIADIC]
    required = [item.name for item in plain if item.default is item.empty]
    if names is None:
        names = required or [item.name for item in plain][:1]
        if not names:
            raise UsageError(
                f"forward{inspect.Signature(parameters)} doesn't name its inputs",
                where=type(module).__name__,
                remedy="name them in order with --inputs",
            )
    names = tuple(names)
    known = {item.name for item in plain if item.kind is not item.POSITIONAL_ONLY}
    variadic = any(item.kind is item.VAR_KEYWORD for item in parameters)
    if names and (set(names) <= known or (variadic and set(required) <= set(names))):
        left = [name for name in required if name not in names]
        if left:
            raise UsageError(
                f"forward() also needs {', '.join(left)}",
                where=f"forward{inspect.Signature(parameters)}",
                remedy="give samples for every parameter without a default",
            )
        return Convention(names, names)
    positional = [item for item in plain if item.kind in _POSITIONAL]
    most = None if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(positional)
    if len(names) < len(required) or (most is not None and len(names) > most):
        raise UsageError(
            f"{len(names)} inputs were named ({', '.join(names)}), but the network is called as "
            f"forward{inspect.Signature(parameters)}",
            where="--inputs",
            remedy="name one input per parameter, in order",
        )
    return Convention(names, (None,) * len(names))


def parameter_names(module: nn.Module, count: int) -> tuple[str, ...]:
    """Return names for `count` arguments given by position: the parameters' own.

    What `*args` takes is named after it: "args_0", "args_1", ….

    Raises:
        UsageError: `forward` doesn't take so many.
    """
    parameters = _parameters(module)
    own = [item.name for item in parameters if item.kind in _POSITIONAL]
    for item in parameters:
        if item.kind is item.VAR_POSITIONAL:
            own += [f"{item.name}_{index}" for index in range(count - len(own))]
    if len(own) < count:
        raise UsageError(
            f"{count} inputs were given, but the network is called as "
            f"forward{inspect.Signature(parameters)}",
            where=type(module).__name__,
            remedy="give one tensor per parameter, in order",
        )
    return tuple(own[:count])


def in_own_order(module: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names in the order of `forward`'s parameters; those it doesn't name come last."""
    own = [item.name for item in _parameters(module)]
    return tuple(sorted(names, key=lambda name: own.index(name) if name in own else len(own)))


def by_position(module: nn.Module, how: Convention) -> int:
    """Return how many of the inputs, from the first on, a caller may give by position.

    Those that are the network's own first parameters; whatever follows one that was left out may
    be given by its name only, or it would take that one's place.
    """
    own = [item.name for item in _parameters(module) if item.kind in _POSITIONAL]
    count = 0
    for index, (name, keyword) in enumerate(zip(how.names, how.passed_as, strict=True)):
        if keyword is not None and own[index : index + 1] != [name]:
            break
        count += 1
    return count


def _exported_convention(module: nn.Module, names: Sequence[str] | None) -> Convention:
    """Case 4. `_in_spec` is the tree of arguments: a tuple of positional ones, a dict of others."""
    spec: Any = module._in_spec
    positional, keywords = spec.child(0), spec.child(1)
    children = [*positional.children(), *keywords.children()]
    own = tuple(inspect.signature(module.forward).parameters)
    if not all(child.is_leaf() for child in children) or len(own) != len(children):
        raise UsageError(
            "the program takes lists or mappings of tensors",
            where=f"forward{inspect.signature(module.forward)}",
            remedy="export a module that takes each tensor as a parameter of its own",
        )
    chosen = own if names is None else tuple(names)
    if len(chosen) != len(own):
        raise UsageError(
            f"{len(chosen)} inputs were named, the program takes {len(own)}: {', '.join(own)}",
            where="--inputs",
            remedy="name each of them",
        )
    passed = (None,) * positional.num_children + tuple(keywords.context)
    by_own_name = dict(zip(own, passed, strict=True))
    if set(chosen) == set(own) and None not in passed:
        return Convention(chosen, tuple(by_own_name[name] for name in chosen))
    if set(chosen) == set(own):
        chosen = own  # by position: the program's order is the only one
    return Convention(chosen, passed)


def _parameters(module: nn.Module) -> list[inspect.Parameter]:
    schema = getattr(module.forward, "schema", None)  # TorchScript has no Python signature
    if schema is None:
        return list(inspect.signature(module.forward).parameters.values())
    return [
        inspect.Parameter(
            argument.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=argument.default_value
            if argument.has_default_value()
            else inspect.Parameter.empty,
        )
        for argument in schema.arguments
        if argument.name != "self"
    ]


def _to_tensor(name: str, array: Array) -> torch.Tensor:
    try:
        # A copy: a forward() that writes into its input must not write into the samples.
        return torch.from_numpy(np.array(array, copy=True, order="C"))
    except TypeError as error:
        raise SamplesError(
            f"input {name!r} has dtype {array.dtype}, which PyTorch doesn't take",
            where=f"input {name!r}",
            remedy="convert the samples",
        ) from error


class Flat(nn.Module):
    """The network with tensors in, in the order of its input names, and a tuple of tensors out.

    This is what both exporters get: they then agree on the order of outputs whatever the network
    returns, and optional parameters need no special care.
    """

    def __init__(self, network: nn.Module, how: Convention) -> None:
        super().__init__()
        self.network = network
        self.how = how
        self.training = False

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Call the network and flatten what it returns."""
        returned = self.how.call(self.network, tensors)
        return tuple(tensor for _, tensor in flatten(returned))

    def train(self, mode: bool = True) -> Flat:
        """Stay in eval mode: the older exporter sets the mode of all it is given, back and forth.

        A network that overrides `train()` would be recorded in training mode.
        """
        return self
