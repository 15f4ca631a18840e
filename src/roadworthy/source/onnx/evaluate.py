"""The child process that runs ONNX's reference evaluator: `python -m … FOLDER`.

Reads model.onnx and feed.npz from the folder, writes answers.npz. Its parent kills it at the
deadline, so nothing here needs to be quick.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from roadworthy.core.signature import Array


def main(folder: Path) -> None:
    """Run once."""
    model = onnx.load(folder / "model.onnx")
    evaluator = ReferenceEvaluator(model)
    with np.errstate(all="ignore"):
        answers = evaluator.run(None, read_arrays(folder / "feed.npz"))
    named = zip(evaluator.output_names, map(np.asarray, answers), strict=True)
    write_arrays(folder / "answers.npz", dict(named))


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays of any ONNX dtype without pickling: each one's key is `dtype:name`.

    Raises:
        ValueError: text that ends with a NUL, which NumPy's text can't hold.
    """
    plain = {}
    for name, array in arrays.items():
        if array.dtype.kind in "OT":
            text = array.astype(np.str_)
            if (text.astype(object) != array).any():
                raise ValueError(f"{name!r} holds text that NumPy can't write")
            plain[f"str:{name}"] = text
        elif hasattr(ml_dtypes, array.dtype.name):
            plain[f"{array.dtype.name}:{name}"] = array.view(f"u{array.dtype.itemsize}")
        else:
            plain[f"{array.dtype.name}:{name}"] = array
    np.savez(path, **plain)  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, Array]:
    """Read what `write_arrays` wrote; text comes back as objects."""
    arrays: dict[str, Array] = {}
    with np.load(path, allow_pickle=False) as file:
        for key in file.files:
            dtype, _, name = key.partition(":")
            array = file[key]
            if dtype == "str":
                arrays[name] = array.astype(object)
            elif hasattr(ml_dtypes, dtype):
                arrays[name] = array.view(getattr(ml_dtypes, dtype))
            else:
                arrays[name] = array
    return arrays


if __name__ == "__main__":
    main(Path(sys.argv[1]))
