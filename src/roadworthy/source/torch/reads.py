"""Where a network's own Python reads values of its inputs: `if x.sum() > 0`, `x.max().item()`.

A recording of one run keeps what was decided on such a value, for every other input too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from roadworthy.source.torch.usercode import current_line

# What `bool(t)`, `int(t)`, `float(t)`, `t.item()` and `torch.equal` come down to.
_READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default)


def read_of_values(run: Callable[..., Any], tensors: Sequence[torch.Tensor]) -> str | None:
    """Return `file:line` of the first read of a value that comes from `tensors`, None without one.

    Args:
        run: is called with them, in eager mode.
        tensors: the inputs. Their sizes aren't values: a branch on a size isn't a read.
    """
    watch = _Reads(tensors)
    with torch.no_grad(), watch:
        run(*tensors)
    return watch.place


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types for it
    """Follow what is computed from some tensors until Python asks for one of its values."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the same
        self.place: str | None = None
        # Weak, so that no more of the network is in memory than usually.
        self._derived = WeakIdKeyDictionary()
        self._add(tensors)

    def _add(self, values: Any) -> None:
        for value in tree_leaves(values):
            if isinstance(value, torch.Tensor):
                self._derived[value] = True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = tree_leaves((args, kwargs or {}))
        if any(isinstance(item, torch.Tensor) and item in self._derived for item in given):
            if func in _READS and self.place is None:
                self.place = current_line() or "forward()"
            self._add(result)
        return result
