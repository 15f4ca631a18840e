"""Read weights as tensors. A pickle that carries code isn't executed unless the user said --trust.

What a file is, is told from its first bytes, not from its name:

1. safetensors: an 8-byte length and a JSON header. Holds tensors and nothing else.
2. PyTorch's zip or the older pickle stream: read by `torch.load(weights_only=True)`, whose
   unpickler knows tensors and plain containers only.
3. Anything else is refused before a reader is tried.
"""

from __future__ import annotations

import json
import pickle
import pickletools
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from roadworthy.core.errors import UntrustedError, WeightsError
from roadworthy.source.torch.usercode import describe

_KINDS = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"\x89HDF", "an HDF5 file (Keras?)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x7fELF", "a program"),
    (b"version https://git-lfs", "a Git LFS pointer: run `git lfs pull`"),
    (b"<", "a web page or XML: the download failed?"),
)
_REMEDY = "give the weights as .safetensors, or as a checkpoint written by torch.save"


def read_weights(path: Path, trust: bool) -> Any:
    """Read a weights file.

    Returns:
        What it holds: a mapping of names to tensors, or nested mappings around one. A whole
        pickled module (needs `trust`) is replaced by its state dict.

    Raises:
        WeightsError: missing, empty, truncated, or another kind of file.
        UntrustedError: it needs unpickling and `trust` is False. Nothing was executed.
    """
    if not path.is_file():
        raise WeightsError("the weights file doesn't exist", where=str(path))
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise WeightsError("the weights file is empty", where=str(path), remedy=_REMEDY)
    if _is_safetensors(path, head):
        return _read_safetensors(path)
    if not head.startswith((b"PK\x03\x04", b"\x80")):
        kind = next((name for magic, name in _KINDS if head.startswith(magic)), "something else")
        raise WeightsError(
            f"the file holds no weights: it is {kind}", where=str(path), remedy=_REMEDY
        )
    return _read_checkpoint(path, trust)


def _is_safetensors(path: Path, head: bytes) -> bool:
    length = int.from_bytes(head[:8], "little")
    return path.suffix == ".safetensors" or (head[8:9] == b"{" and length <= path.stat().st_size)


def _read_safetensors(path: Path) -> Mapping[str, torch.Tensor]:
    import safetensors
    from safetensors.torch import load_file

    try:
        state: Mapping[str, torch.Tensor] = load_file(path, device="cpu")
    except (safetensors.SafetensorError, ValueError, OSError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"the safetensors file is damaged or isn't one: {describe(error)}",
            where=str(path),
            remedy="copy or save it again",
        ) from error
    return state


def _read_checkpoint(path: Path, trust: bool) -> Any:
    _check_whole(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch.load raises almost any kind for a damaged file
        if not _needs_unpickling(error):
            raise _damaged(path, error) from error
        if not trust:
            raise UntrustedError(
                "the weights file holds more than tensors; reading it would run code it brings "
                f"along ({_culprit(error)})",
                where=str(path),
                remedy="save only model.state_dict(), or say --trust if you trust its origin",
            ) from error
    return _unpickle(path)


def _unpickle(path: Path) -> Any:
    """Load with the full unpickler, which runs the file's code: only under --trust."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(path, weights_only=False, map_location="cpu")
    except Exception as error:  # the file's own code may raise anything
        raise WeightsError(
            f"unpickling the weights failed: {describe(error)}",
            where=str(path),
            remedy="make the classes it names importable, or save only model.state_dict()",
        ) from error
    return loaded.state_dict() if isinstance(loaded, nn.Module) else loaded


def _check_whole(path: Path) -> None:
    """Refuse truncated files, and zips that aren't PyTorch's, before any unpickler sees them."""
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        if not is_zip:
            try:
                for _ in pickletools.genops(file):  # reads the opcodes, executes none
                    pass
            except Exception as error:  # pickletools has no exception of its own
                raise _damaged(path, error) from error
            return
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise _damaged(path, error) from error
    if not any(name.endswith("/data.pkl") for name in names):
        raise WeightsError(
            "the file is a zip archive, but not one written by torch.save",
            where=str(path),
            remedy=_REMEDY,
        )


def _needs_unpickling(error: Exception) -> bool:
    return isinstance(error, pickle.UnpicklingError) or "TorchScript" in str(error)


def _culprit(error: Exception) -> str:
    """Return the part of torch's long message that names what was refused."""
    text = str(error)
    if "TorchScript" in text:
        return "a TorchScript program"
    for line in text.splitlines():
        for mark in ("Unsupported", "GLOBAL", "WeightsUnpickler error"):
            if mark in line:
                return line[line.index(mark) :].split(" was not an allowed")[0].strip().rstrip(".")
    return "an object other than tensors"


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"the weights file is damaged or truncated: {describe(error)}",
        where=str(path),
        remedy="copy or download it again and compare its size",
    )
