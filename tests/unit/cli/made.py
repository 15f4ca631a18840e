"""Small real networks and samples as a user has them, in files; and the command line to run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tests import models

ROOT = Path(__file__).parents[3]
KEYS = ["schema", "command", "exit_code", "error", "result"]

# One module, several factories: what a user's `net.py` may hold.
NET = '''
"""Networks of two convolutions, 3 colours to 2 classes."""
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, image):
        return self.last(torch.relu(self.first(image)))


class Parity(Net):
    def forward(self, image):
        y = super().forward(image)
        return y * 2 if image.shape[2] % 2 else y


class Dropping(Net):
    def forward(self, image):
        return nn.functional.dropout(super().forward(image), 0.5, training=True)


class Loud(Net):
    def forward(self, image):
        print("said in forward")
        return super().forward(image)


def net():
    torch.manual_seed(0)
    return Net()


def parity():
    torch.manual_seed(0)
    return Parity()


def dropping():
    torch.manual_seed(0)
    return Dropping()


def loud():
    import os

    print("said in the factory")
    os.write(1, b"written to descriptor 1\\n")
    return Loud()


def other():
    """Another network altogether."""
    return nn.Sequential(nn.Linear(3, 3))
'''


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one document on standard output; anything beside it is an error here."""
        found = json.loads(self.out)
        assert list(found) == KEYS
        assert found["schema"] == "roadworthy/command/1"
        assert found["exit_code"] == self.code
        return found

    @property
    def error(self) -> dict[str, str]:
        """The document's error object."""
        found = self.document["error"]
        assert list(found) == ["code", "what", "where", "remedy"]
        return found


def roadworthy(*words: object, cwd: Path | None = None, **environment: str) -> Ended:
    """Run a command in a fresh process."""
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "roadworthy", *map(str, words)],
        cwd=cwd or ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def images(count: int = 4, size: int = 8, seed: int = 0) -> np.ndarray:
    """Return (count, 1, 3, size, size) FP32 samples."""
    return models.normal(count, 1, 3, size, size, seed=seed)


def write_network(folder: Path) -> Path:
    """Write net.py, w.safetensors and a folder of samples; return the folder."""
    from safetensors.numpy import save_file

    (folder / "net.py").write_text(NET)
    save_file(weights(), folder / "w.safetensors")
    write_arrays(folder / "samples")
    return folder


def weights(seed: int = 7) -> dict[str, np.ndarray]:
    """Return weights for `Net`."""
    return {
        "first.weight": models.normal(4, 3, 3, 3, seed=seed),
        "first.bias": models.normal(4, seed=seed + 1),
        "last.weight": models.normal(2, 4, 1, 1, seed=seed + 2),
        "last.bias": models.normal(2, seed=seed + 3),
    }


def write_arrays(folder: Path, count: int = 4) -> Path:
    """Write a folder of .npy samples for `Net`."""
    folder.mkdir()
    for index, image in enumerate(images(count)):
        np.save(folder / f"s{index}.npy", image)
    return folder


def net_in_numpy(image: np.ndarray, given: dict[str, np.ndarray]) -> np.ndarray:
    """Return what `Net` computes, in FP64."""
    padded = np.pad(image.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    hidden = np.einsum("bchwij,ocij->bohw", windows, given["first.weight"])
    hidden = np.maximum(hidden + given["first.bias"][:, None, None], 0)
    last = given["last.weight"][:, :, 0, 0]
    return np.einsum("bohw,co->bchw", hidden, last) + given["last.bias"][:, None, None]


def write_net_onnx(path: Path, given: dict[str, np.ndarray], zero: bool = False) -> Path:
    """Write `Net` as an ONNX file with these weights; `zero` makes its answers all zero."""
    graph = """g (float[1, 3, 8, 8] image) => (float[1, 2, 8, 8] output) {
        a = Conv<pads = [1, 1, 1, 1]>(image, fw, fb)  r = Relu(a)  y = Conv(r, lw, lb)
        output = Mul(y, factor)
    }"""
    names = {"fw": "first.weight", "fb": "first.bias", "lw": "last.weight", "lb": "last.bias"}
    initializers = {short: given[name] for short, name in names.items()}
    initializers["factor"] = np.float32(0 if zero else 1)
    onnx.save(models.proto(graph, initializers), path)
    return path


def write_perceptron(folder: Path, rows: int = 4) -> tuple[Path, Path]:
    """Write a tiny ONNX file and an .npz of one sample for it: the quickest deploy there is."""
    model, samples = folder / "model.onnx", folder / "samples.npz"
    onnx.save(models.proto(models.PERCEPTRON, models.perceptron_weights()), model)
    np.savez(samples, x=models.normal(rows, 3, seed=3))
    return model, samples


def listing(*folders: Path) -> dict[str, bytes | None]:
    """Return every file and folder below these, with the files' content.

    PyTorch makes itself an empty folder for its compiler, in TMPDIR, when parts of it are imported.
    """
    return {
        str(item): item.read_bytes() if item.is_file() and not item.is_symlink() else None
        for folder in folders
        for item in sorted(folder.rglob("*"))
        if not item.name.startswith("torchinductor_")
    }
