"""Answers on disk, so that a thousand samples' don't fill the memory."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from roadworthy.core.signature import Answers, Array


@dataclass(frozen=True)
class Stored:
    """Where one array's bytes are, and what they mean. Text is kept in memory."""

    path: Path | None
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    text: Array | None = None

    def load(self) -> Array:
        """Read the array: its dtype, shape and bits."""
        if self.text is not None:
            return self.text
        assert self.path is not None
        raw: Array = np.load(self.path)
        return raw.view(self.dtype).reshape(self.shape)


class Store:
    """A temporary folder of arrays, which goes with `close`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="roadworthy-answers-")
        self._count = 0

    def put(self, answers: Answers) -> dict[str, Stored]:
        """Write answers, any dtype and shape; text stays in memory."""
        return {name: self._put(array) for name, array in answers.items()}

    def _put(self, array: Array) -> Stored:
        if array.dtype.kind in "OUST":
            return Stored(None, array.dtype, array.shape, array)
        path = Path(self._folder.name, f"{self._count}.npy")
        self._count += 1
        # A view as bytes, because .npy has no bfloat16 and no float8.
        np.save(path, np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8))
        return Stored(path, array.dtype, array.shape)

    def close(self) -> None:
        """Remove what was written."""
        self._folder.cleanup()
