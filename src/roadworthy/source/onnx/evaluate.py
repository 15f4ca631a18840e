"""The child process that runs ONNX's reference evaluator.

For each folder, a line of JSON on its standard input, it reads model.onnx and feed.npz there,
writes answers.npz and says "done". Its parent kills it at the deadline, so nothing here needs to be
quick; but it starts once for all feeds, because to import takes longer than most evaluations.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from roadworthy.core.signature import Array
from roadworthy.source.onnx.loops import Loop, Scan
from roadworthy.source.onnx.padding import Conv, MaxPool


def main() -> None:
    """Answer until the input ends, which it does with the parent."""
    # Whatever else prints would be taken for a reply.
    replies, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        _evaluate(Path(json.loads(line)))
        print("done", file=replies, flush=True)


def _evaluate(folder: Path) -> None:
    """Run once. Nothing is kept: the model is large in FP64, and may be the last one asked for."""
    model = onnx.load(folder / "model.onnx")
    evaluator = ReferenceEvaluator(model, new_ops=[Loop, Scan, Conv, MaxPool])
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
    main()
