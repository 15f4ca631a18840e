"""How an engine is called where its network was: arguments become a feed, outputs its result.

The other way round from `example.py` and `structure.describe`, which ask the network itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from roadworthy.core.errors import BundleError, InputError, UsageError
from roadworthy.core.signature import Signature
from roadworthy.source.torch.structure import check_structure, rebuild


class Calling:
    """Which inputs may be given by position, and how the outputs are put together."""

    def __init__(self, signature: Signature, stated: Any, where: str) -> None:
        """Read what a certificate states.

        Args:
            signature: the engine's.
            stated: the certificate's `calling`. An ONNX file has none (None): there all inputs may
                be given by position, and the result is the only output, or a dict.
            where: names the certificate in errors.

        Raises:
            BundleError: it isn't of that form.
        """
        outputs = [spec.name for spec in signature.outputs]
        if stated is None:
            leaves = [{"kind": "tensor", "name": output} for output in outputs]
            whole = {"kind": "dict", "keys": outputs, "items": leaves}
            stated = {
                "positional": len(signature.inputs),
                "returns": whole if len(leaves) != 1 else leaves[0],
            }
        positional = stated.get("positional") if isinstance(stated, dict) else None
        if not isinstance(positional, int) or not 0 <= positional <= len(signature.inputs):
            raise BundleError(
                f"{positional!r} isn't a number of the network's inputs",
                where=where,
                remedy="the bundle was changed; deploy again",
            )
        self._positional = positional
        self._returns = check_structure(stated.get("returns"), outputs, where)
        self._takes = f"the engine takes {', '.join(str(spec) for spec in signature.inputs)}"
        self._names = tuple(spec.name for spec in signature.inputs)
        self._dtypes = {s.name: getattr(torch, s.dtype, None) for s in signature.inputs}

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Return the arguments by the inputs' names; which of them there are isn't checked here.

        Raises:
            InputError: too many by position, one given twice, or something that isn't a dense
                tensor of the input's dtype.
        """
        if len(args) > self._positional:
            raise InputError(
                f"{len(args)} inputs were given by position, of which it takes {self._positional}",
                where=self._takes,
                remedy="give those that it was compiled with; the others by name",
            )
        feed = dict(zip(self._names, args, strict=False))
        if twice := sorted(feed.keys() & kwargs.keys()):
            raise InputError(
                f"input {twice[0]!r} is given twice, by position and by name",
                where=self._takes,
                remedy="give it once",
            )
        feed |= kwargs
        for name, value in feed.items():
            self._check(name, value)
        return feed

    def _check(self, name: str, value: Any) -> None:
        if not isinstance(value, torch.Tensor):
            raise InputError(
                f"input {name!r} is a {type(value).__name__}, not a tensor",
                where=self._takes,
                remedy="give a torch.Tensor, and leave out what it wasn't compiled with",
            )
        if value.layout is not torch.strided:
            raise InputError(
                f"input {name!r} is a {value.layout} tensor, not a dense one",
                where=self._takes,
                remedy="give x.to_dense()",
            )
        wanted = self._dtypes.get(name, value.dtype)
        if value.dtype is not wanted:
            found = str(value.dtype).removeprefix("torch.")
            raise InputError(
                f"input {name!r} has dtype {found}, which isn't the engine's",
                where=self._takes,
                remedy=f"convert it: x.to({wanted})"
                if wanted
                else "torch has no such tensors: roadworthy.load takes arrays",
            )

    def result(self, tensors: Mapping[str, torch.Tensor]) -> Any:
        """Put the outputs together as the network returns them."""
        return rebuild(self._returns, tensors)


def one_device(feed: Mapping[str, torch.Tensor]) -> torch.device:
    """Return the device that all inputs are on; the CPU if there are none.

    Raises:
        InputError: they are on several.
    """
    devices = {tensor.device for tensor in feed.values()}
    if len(devices) > 1:
        raise InputError(
            "the inputs are on several devices",
            where=", ".join(f"{name}: {tensor.device}" for name, tensor in feed.items()),
            remedy="bring them to one, e.g. x.to('cuda')",
        )
    return devices.pop() if devices else torch.device("cpu")


def refuse_gradients(feed: Mapping[str, torch.Tensor]) -> None:
    """Refuse what would be silently wrong: a gradient that ends here, an answer that is frozen.

    Raises:
        UsageError: torch traces or exports, or an input requires a gradient while gradients are
            recorded.
    """
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if tracing or torch.compiler.is_exporting():
        raise UsageError(
            "torch is tracing: the engine's answer would become a constant",
            where="torch.jit.trace, torch.export or torch.onnx.export",
            remedy="trace or export the network itself",
        )
    if not torch.is_grad_enabled():
        return
    for name, tensor in feed.items():
        if tensor.requires_grad:
            raise UsageError(
                f"input {name!r} requires a gradient, and none flows through an engine",
                where=f"input {name!r}",
                remedy="call it under torch.no_grad(), or give x.detach()",
            )
