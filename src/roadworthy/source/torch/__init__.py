"""Networks written in PyTorch come in: `open_torch`, `open_exported`, `from_module`.

Only this folder imports torch, and only inside these functions.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from roadworthy.core.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from torch import nn

    from roadworthy.source.torch.opened import TorchSource

__all__ = ["from_module", "open_exported", "open_torch"]


def open_torch(
    spec: str,
    weights: Path | None = None,
    trust: bool = False,
    input_names: Sequence[str] | None = None,
) -> TorchSource:
    """Open `path/to/file.py:factory`, `package.module:factory`, or a `model.pt2`.

    Args:
        spec: where the network's code is; the factory is called without arguments.
        weights: a `.safetensors` file or a PyTorch checkpoint.
        trust: allow unpickling, which runs code that the weights file brings along.
        input_names: the inputs in order; None takes `forward`'s required parameters.

    Raises:
        MissingExtraError: PyTorch isn't installed.
        UsageError: the spec or the user's code is wrong.
        WeightsError: the weights can't be read or belong to another network.
        UntrustedError: the weights need unpickling and `trust` is False.
    """
    if spec.endswith(".pt2"):
        if weights is not None:
            raise UsageError("a .pt2 file has its weights inside", where=f"--weights {weights}")
        return open_exported(Path(spec), trust, input_names)
    _require("torch", "onnxscript")
    if weights is not None and weights.suffix == ".safetensors":
        _require("safetensors")
    from roadworthy.source.torch.calling import convention
    from roadworthy.source.torch.load import load_with_notes
    from roadworthy.source.torch.opened import TorchSource

    module, notes = load_with_notes(spec, weights, trust)
    return TorchSource(module, spec, convention(module, input_names).names, None, notes)


def open_exported(
    path: Path, trust: bool = False, input_names: Sequence[str] | None = None
) -> TorchSource:
    """Open a `model.pt2` that `torch.export.save` wrote.

    Raises:
        MissingExtraError: PyTorch isn't installed.
        UntrustedError: loading it might run code and `trust` is False.
        InputError: it isn't a readable `.pt2` file.
        UsageError: it was exported in training mode, or the names don't fit.
    """
    _require("torch", "onnxscript")
    from roadworthy.source.torch.calling import convention
    from roadworthy.source.torch.exported import load_exported
    from roadworthy.source.torch.load import freeze
    from roadworthy.source.torch.opened import TorchSource

    module = load_exported(path, trust)
    notes = freeze(module)
    return TorchSource(module, str(path), convention(module, input_names).names, None, notes)


def from_module(module: nn.Module, input_names: Sequence[str] | None = None) -> TorchSource:
    """Open a module that the caller holds; a copy is made, theirs is left exactly as it was.

    Raises:
        MissingExtraError: PyTorch isn't installed.
        UsageError: the module can't be copied, or the names don't fit.
    """
    _require("torch", "onnxscript")
    from roadworthy.source.torch.opened import adopt

    return adopt(module, input_names)


def _require(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "torch", "a PyTorch source")
