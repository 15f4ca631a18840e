"""Load a network from its own code: `path/to/file.py:factory` or `package.module:factory`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from torch import nn

from roadworthy.core.errors import UsageError
from roadworthy.source.torch.fit import fit_weights
from roadworthy.source.torch.usercode import import_file, import_path, told_as_usage
from roadworthy.source.torch.weights import read_weights

_FORM = "write it as path/to/file.py:factory or package.module:factory"


def load_module(spec: str, weights: Path | None, trust: bool) -> nn.Module:
    """Build the network, load its weights, and make it ready to be judged by.

    Args:
        spec: `path/to/file.py:factory` or `package.module:factory`; the factory is a function or
            a class, may be dotted, and is called without arguments.
        weights: a `.safetensors` file or a PyTorch checkpoint; None keeps the factory's own.
        trust: allow unpickling, which runs code that the weights file brings along.

    Returns:
        The module in eval mode, float32, without gradients.

    Raises:
        UsageError: the spec, the user's code or what the factory returned is wrong.
        WeightsError: the weights can't be read or belong to another network.
        UntrustedError: the weights need unpickling and `trust` is False.
    """
    return load_with_notes(spec, weights, trust)[0]


def load_with_notes(
    spec: str, weights: Path | None, trust: bool
) -> tuple[nn.Module, tuple[str, ...]]:
    """Do what `load_module` does, and also tell what a certificate should mention."""
    module = build(spec)
    notes: tuple[str, ...] = ()
    if weights is not None:
        notes = fit_weights(module, read_weights(weights, trust), str(weights))
    return module, notes + freeze(module)


def build(spec: str) -> nn.Module:
    """Import and call the factory, without loading weights."""
    place, _, attribute = spec.rpartition(":")
    if not place or not attribute:
        raise UsageError(f"{spec!r} doesn't name a network", where="SOURCE", remedy=_FORM)
    if place.endswith(".py"):
        path = Path(place).absolute()
        if not path.is_file():
            raise UsageError("the source file doesn't exist", where=place, remedy=_FORM)
        folder = path.resolve().parent
    else:
        path, folder = None, Path.cwd()
    with import_path(folder):
        with told_as_usage(f"importing {place} failed", place):
            module = import_file(path) if path else importlib.import_module(place)
        factory = _attribute(module, attribute, place)
        with told_as_usage(f"calling {attribute}() of {place} failed", spec, _callable(factory)):
            network = factory()
    if not isinstance(network, nn.Module):
        raise UsageError(
            f"{attribute}() returned {_kind(network)}, not a torch.nn.Module",
            where=spec,
            remedy="name a function that returns the network, or the network's class",
        )
    return unwrap(network)


def unwrap(module: nn.Module) -> nn.Module:
    """Take the network out of torch.compile and of the data-parallel wrappers."""
    from torch.nn.parallel import DataParallel, DistributedDataParallel

    while True:
        inner = getattr(module, "_orig_mod", None)
        if isinstance(module, DataParallel | DistributedDataParallel):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def freeze(module: nn.Module) -> tuple[str, ...]:
    """Put the module into eval mode, float32, on the CPU, without gradients; tell what changed.

    Modules that override `train()` to stay in training mode are put into eval mode all the same.
    """
    notes = []
    dtypes = {
        str(tensor.dtype).removeprefix("torch.")
        for tensor in (*module.parameters(), *module.buffers())
        if tensor.is_floating_point()
    } - {"float32"}
    if dtypes:
        notes.append(f"the network held {', '.join(sorted(dtypes))} values: computed in float32")
    if not _is_exported(module):
        module.eval()
    module.cpu().float().requires_grad_(False)
    stubborn = [name or "the network" for name, part in module.named_modules() if part.training]
    if stubborn and not _is_exported(module):
        for part in module.modules():
            part.training = False
        notes.append(f"{stubborn[0]} overrides train() and was put into eval mode")
    return tuple(notes)


def _is_exported(module: nn.Module) -> bool:
    """Tell whether the module came out of torch.export: its mode is part of the graph."""
    return type(module).__name__ == "GraphModule" and hasattr(module, "_guards_fn")


def _attribute(module: Any, attribute: str, place: str) -> Any:
    found = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            names = [item for item in vars(module) if callable(getattr(module, item))]
            own = [
                n for n in names if getattr(vars(module)[n], "__module__", "") == module.__name__
            ]
            raise UsageError(
                f"{place} has no {attribute!r}",
                where=f"{place}:{attribute}",
                remedy=f"it defines: {', '.join(own) or 'nothing that can be called'}",
            )
        found = getattr(found, name)
    if isinstance(found, nn.Module) or not callable(found):
        raise UsageError(
            f"{attribute} is {_kind(found)}, not a function or class",
            where=f"{place}:{attribute}",
            remedy=f"write `def factory(): return {attribute}` and name that",
        )
    return found


def _callable(factory: Any) -> str | None:
    """Give the remedy for the commonest mistake: a factory that needs arguments."""
    import inspect

    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return None
    needed = [
        item.name
        for item in parameters
        if item.default is item.empty and item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)
    ]
    if not needed:
        return None
    return f"it needs {', '.join(needed)}: name a function without arguments that calls it"


def _kind(value: Any) -> str:
    return f"a {type(value).__module__}.{type(value).__qualname__}".replace("a builtins.", "a ")
