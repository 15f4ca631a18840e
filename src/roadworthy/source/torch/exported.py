"""Load a program that torch.export saved (`model.pt2`)."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import nn

from roadworthy.core.errors import InputError, UsageError
from roadworthy.source.torch.proof import prove_harmless
from roadworthy.source.torch.quiet import quietly
from roadworthy.source.torch.usercode import describe

# Operators whose answer depends on a mode that export wrote into the graph, and the position of
# that argument (torch's native_functions.yaml).
_MODES = {"dropout": 2, "batch_norm": 5, "feature_dropout": 2, "alpha_dropout": 2}


def load_exported(path: Path, trust: bool) -> nn.Module:
    """Load a `.pt2` file.

    Args:
        path: written by `torch.export.save`.
        trust: load it even if it can't be shown to bring no code along (see `proof`).

    Returns:
        The program as a module on the CPU. Its mode and its shapes are those it was exported with.

    Raises:
        UntrustedError: it might run code and `trust` is False. Nothing was executed.
        InputError: it isn't a readable `.pt2` file.
        UsageError: it was exported in training mode.
    """
    if not path.is_file():
        raise InputError("the file doesn't exist", where=str(path))
    content = path.read_bytes()
    if not content.startswith(b"PK\x03\x04"):
        raise InputError(
            "the file isn't a .pt2 archive: it isn't a zip at all",
            where=str(path),
            remedy="write it with torch.export.save",
        )
    if not trust:
        prove_harmless(content, str(path))
    try:
        with quietly():
            program = torch.export.load(io.BytesIO(content))
            _check_mode(program, path)
            module = program.module()
    except UsageError:
        raise
    except Exception as error:  # torch.export raises almost any kind for a foreign archive
        raise InputError(
            f"torch.export can't load the archive: {describe(error)}",
            where=str(path),
            remedy=f"export it again with torch {torch.__version__.partition('+')[0]}",
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError("the archive holds no module", where=str(path))
    return module


def _check_mode(program: torch.export.ExportedProgram, path: Path) -> None:
    """Refuse a program in which dropout or batch statistics are switched on."""
    for node in program.graph.nodes:
        name = str(node.target).split(".")[1] if str(node.target).startswith("aten.") else ""
        position = _MODES.get(name)
        if position is None or len(node.args) <= position or node.args[position] is not True:
            continue
        raise UsageError(
            f"the program was exported in training mode: {node.name} is switched on",
            where=f"{path}: node {node.name}",
            remedy="call model.eval() before torch.export.export",
        )
