"""Find the network's state dict in a checkpoint, and load it strictly.

Checkpoints wrap the state dict (`{"state_dict": …, "epoch": …}`) and prefix its keys (`module.` by
DataParallel, `_orig_mod.` by torch.compile, `model.` by training frameworks). Cases, in order:

1. The mapping itself, then what stands under the usual keys, up to two levels deep.
2. Of each: as it is, then with up to three usual prefixes taken off.
3. The first that fits exactly is loaded. If none does, the nearest one is described in the error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from roadworthy.core.errors import WeightsError

WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "params",
    "weights", "ema", "ema_state_dict", "model_ema", "state_dict_ema", "params_ema", "teacher",
    "student", "generator",
)  # fmt: skip
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "ema_model.", "_model.")
# Counters that training leaves in a state dict; no answer depends on them in eval mode.
_BOOKKEEPING = ("num_batches_tracked", "n_averaged")
_SHOWN = 4

State = dict[str, torch.Tensor]


def fit_weights(module: nn.Module, loaded: Any, where: str) -> tuple[str, ...]:
    """Load the checkpoint's state dict into `module`; every key must be there and fit.

    Args:
        module: the network; changed in place.
        loaded: what the weights file held.
        where: the file, for messages.

    Returns:
        Notes for the certificate: where in the file the weights were, and other dtypes than
        float32.

    Raises:
        WeightsError: no state dict inside, or missing, unexpected or mis-shaped keys.
    """
    wanted = _shapes(module)
    nearest: tuple[int, State] = (-1, {})
    places = list(_state_dicts(loaded))
    if not places:
        raise WeightsError(
            f"the file holds no state dict but {_describe(loaded)}",
            where=where,
            remedy="save model.state_dict()",
        )
    for place, state in places:
        for prefix, candidate in _without_prefixes(state):
            if not _misfits(wanted, candidate):
                _load(module, candidate)
                others = [other for other, _ in places if other != place]
                return _notes(place, prefix, candidate, others)
            score = sum(_fits(wanted, name, tensor) for name, tensor in candidate.items())
            if score > nearest[0]:
                nearest = (score, candidate)
    problems = "; ".join(_misfits(wanted, nearest[1]))
    raise WeightsError(
        f"these are the weights of another network: of {len(wanted)} tensors {nearest[0]} fit; "
        f"{problems}",
        where=where,
        remedy="give the weights that belong to this factory, or the factory of these weights",
    )


def _state_dicts(loaded: Any, depth: int = 2, place: str = "") -> Iterator[tuple[str, State]]:
    """Yield every state dict inside, the outermost first, with the keys that lead there."""
    if isinstance(loaded, nn.Module):
        loaded = loaded.state_dict()
    if not isinstance(loaded, Mapping):
        return
    tensors = {
        str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)
    }
    if tensors and all(
        isinstance(value, torch.Tensor) or not isinstance(value, Mapping)
        for value in loaded.values()
    ):
        yield place, tensors
    if depth:
        for name in WRAPPERS:
            if name in loaded:
                yield from _state_dicts(loaded[name], depth - 1, f"{place}/{name}".strip("/"))


def _without_prefixes(state: State) -> Iterator[tuple[str, State]]:
    """Yield the state as it is, then with one, two and three of the usual prefixes taken off."""
    level = [("", state)]
    for _ in range(4):
        yield from level
        level = [
            (taken + prefix, {name.removeprefix(prefix): t for name, t in inner.items()})
            for taken, inner in level
            for prefix in PREFIXES
            if all(name.startswith(prefix) for name in inner if not _is_bookkeeping(name))
        ]


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(value.shape)
        for name, value in module.state_dict().items()
        if isinstance(value, torch.Tensor)
    }


def _is_bookkeeping(name: str) -> bool:
    return name.rpartition(".")[2] in _BOOKKEEPING


def _fits(wanted: Mapping[str, tuple[int, ...]], name: str, tensor: torch.Tensor) -> bool:
    return wanted.get(name) == tuple(tensor.shape)


def _misfits(wanted: Mapping[str, tuple[int, ...]], state: State) -> list[str]:
    """Say what is missing, unexpected and of another shape; nothing when the state fits."""
    missing = [n for n in wanted if n not in state and not _is_bookkeeping(n)]
    unexpected = [n for n in state if n not in wanted and not _is_bookkeeping(n)]
    shapes = [
        f"{name} {list(tensor.shape)} instead of {list(wanted[name])}"
        for name, tensor in state.items()
        if name in wanted and not _fits(wanted, name, tensor)
    ]
    found = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    return [f"{len(names)} {what}: {_few(names)}" for what, names in found if names]


def _few(names: list[str]) -> str:
    rest = f", … ({len(names) - _SHOWN} more)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


def _load(module: nn.Module, state: State) -> None:
    """Copy every tensor in; counters that one side lacks are left as they are."""
    with torch.no_grad():
        own = module.state_dict()
        for name, tensor in state.items():
            if name in own:
                own[name].copy_(tensor)


def _notes(place: str, prefix: str, state: State, others: list[str]) -> tuple[str, ...]:
    notes = []
    if place:
        ignored = f" (not used: {', '.join(other or 'the top level' for other in others)})"
        notes.append(f"weights taken from {place!r} of the file{ignored if others else ''}")
    if prefix:
        notes.append(f"prefix {prefix!r} taken off the names of the weights")
    dtypes = {
        str(tensor.dtype).removeprefix("torch.")
        for tensor in state.values()
        if tensor.is_floating_point()
    } - {"float32"}
    if dtypes:
        notes.append(f"weights stored as {', '.join(sorted(dtypes))} were converted to float32")
    return tuple(notes)


def _describe(loaded: Any) -> str:
    if isinstance(loaded, Mapping):
        return f"a mapping with the keys {_few([repr(key) for key in loaded])}"
    return f"a {type(loaded).__name__}"
