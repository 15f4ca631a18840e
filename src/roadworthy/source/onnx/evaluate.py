"""The child process that runs ONNX's reference evaluator: `python -m … FOLDER`.

Reads model.onnx and feed.npz from the folder, writes answers.npz. Its parent kills it at the
deadline, so nothing here needs to be quick.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator


def main(folder: Path) -> None:
    """Run once."""
    model = onnx.load(folder / "model.onnx")
    with np.load(folder / "feed.npz", allow_pickle=False) as file:
        feed = {name.removeprefix("input:"): file[name] for name in file.files}
    evaluator = ReferenceEvaluator(model)
    with np.errstate(all="ignore"):
        answers = evaluator.run(None, feed)
    named = {
        f"output:{name}": np.asarray(answer)
        for name, answer in zip(evaluator.output_names, answers, strict=True)
    }
    np.savez(folder / "answers.npz", **named)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
