"""What the quantisers' scripts share. NumPy and the standard library only: each has a Python apart.

Every script takes the same arguments, reads the samples one at a time where its library lets it,
writes an ONNX file, and a report: seconds of the work (without imports), processor time and peak
memory of its own process, versions.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Feed = dict[str, NDArray[np.float32]]


def arguments(methods: tuple[str, ...]) -> argparse.Namespace:
    """Read the command line, the same for every tool."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path, help="FP32, ONNX, one input")
    parser.add_argument("samples", type=Path, help="a folder of .npy, each as the input takes it")
    parser.add_argument("out", type=Path, help="the INT8 file to write")
    parser.add_argument("report", type=Path, help="the JSON to write")
    parser.add_argument("--method", choices=methods, default=methods[0])
    parser.add_argument("--count", type=int, required=True, help="samples to use, the first ones")
    parser.add_argument("--input", default="image", help="the input's name")
    parser.add_argument("--transformer", action="store_true", help="the network is one")
    parser.add_argument("--dialect", default="onnxruntime", help="roadworthy's alone")
    parser.add_argument("--threads", type=int, help="of one inference, where it can be said")
    return parser.parse_args()


def sample_files(folder: Path, count: int) -> list[Path]:
    """Return the first `count` samples' files.

    Raises:
        ValueError: there are fewer.
    """
    files = sorted(folder.glob("*.npy"))[:count]
    if len(files) < count:
        raise ValueError(f"{folder}: {len(files)} samples, {count} are needed")
    return files


class Reader:
    """Hands out one sample after the other, as ONNX Runtime's CalibrationDataReader does."""

    def __init__(self, files: list[Path], name: str) -> None:
        self._files, self._name = files, name
        self._feeds = self._load()

    def _load(self) -> Iterator[Feed]:
        return ({self._name: np.load(file)} for file in self._files)

    def get_next(self) -> Feed | None:
        """Return the next sample; None after the last."""
        return next(self._feeds, None)

    def rewind(self) -> None:
        """Begin anew."""
        self._feeds = self._load()

    def get_first(self) -> Feed:
        """Return the first sample, for ModelOpt, and stay where it is."""
        return {self._name: np.load(self._files[0])}


class Report:
    """Times the work from here on."""

    def __init__(self, *packages: str) -> None:
        self._versions = {name: metadata.version(name) for name in packages}
        self._started = time.perf_counter()

    def write(self, path: Path, **more: object) -> None:
        """Write it; `more` goes in as it is."""
        found = {
            "work_seconds": round(time.perf_counter() - self._started, 3),
            # Of the whole process, all its threads: less disturbed by what else runs.
            "cpu_seconds": round(time.process_time(), 3),
            "peak_bytes": peak_bytes(),
            "versions": self._versions,
            **more,
        }
        path.write_text(json.dumps(found), encoding="utf-8")


def peak_bytes() -> int:
    """Return the largest resident memory that this process ever had (Linux: VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM: this benchmark needs Linux")
