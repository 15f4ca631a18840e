"""The whole road on the GPU host, through the command line, with the example's real samples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from networks import EXAMPLE

from h200.bench import Bench

SIZES = "image[batch=1..4,1,h=128..384,w=128..384]"


def samples(folder: Path) -> list[str]:
    """Return `--samples …`: the example's pictures, or an `.npz` each where Pillow is missing."""
    pictures = EXAMPLE / "scenes"
    try:
        import PIL  # noqa: F401
    except ImportError:
        return ["--samples", str(_arrays(pictures, folder))]
    return ["--samples", str(pictures)]


def _arrays(pictures: Path, folder: Path) -> Path:
    """Write each picture as its preprocess makes it (grey, CHW, in [0, 1]), read by torchvision."""
    import numpy as np
    from torchvision.io import ImageReadMode, read_image

    (folder / "arrays").mkdir()
    for path in sorted(pictures.glob("*.png")):
        grey = read_image(str(path), ImageReadMode.GRAY).numpy().astype(np.float32) / 255
        np.savez(folder / "arrays" / f"{path.stem}.npz", image=grey[None])
    return folder / "arrays"


def road(bench: Bench) -> dict[str, Any]:
    """Deploy at dynamic sizes for the target and ONNX Runtime, then verify and bench the bundle."""
    seconds = "1" if bench.dry else "5"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = str(folder / "unet.rw")
        calls = {
            "deploy": deploying(bench, folder, seconds),
            "verify": ["verify", bundle],
            "bench": ["bench", bundle, "--seconds", seconds],
            "doctor": ["doctor"],
        }
        found = {verb: command(bench, arguments, folder) for verb, arguments in calls.items()}
    codes = {verb: call["exit_code"] for verb, call in found.items()}
    # 4: ONNX Runtime hasn't this precision; the bundle keeps the targets that verified.
    wrong = {verb: code for verb, code in codes.items() if code not in (0, 4)}
    return {"calls": found, **({"error": f"exit codes {wrong}"} if wrong else {})}


def built(bench: Bench) -> None:
    """Deploy without measuring, so that the engine is found in the build cache."""
    with tempfile.TemporaryDirectory() as name:
        command(bench, deploying(bench, Path(name), "0"), Path(name))


def deploying(bench: Bench, folder: Path, seconds: str) -> list[str]:
    """Return the arguments of the deployment, to `unet.rw` in a folder."""
    precision = "fp32" if bench.dry else "fp16"
    targets = dict.fromkeys([str(bench.target), "onnxruntime"])
    chosen = [part for target in targets for part in ("--target", target)]
    weights = ["--weights", str(EXAMPLE / "unet.safetensors")]
    sizes = "image[batch=1..2,1,h=128..256:64,w=128..256:64]" if bench.dry else SIZES
    return [
        *("deploy", f"{EXAMPLE / 'model.py'}:unet", *weights, *samples(folder)),
        *("--inputs", sizes, *chosen, "--precision", precision, "--out", str(folder / "unet.rw")),
        *("--measure-seconds", seconds),
    ]


def command(bench: Bench, arguments: list[str], folder: Path) -> dict[str, Any]:
    """Run one command; return its text, its JSON if it was asked for, and its exit code."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "roadworthy", *arguments],
        capture_output=True,
        text=True,
        timeout=max(10.0, bench.record.left),
        check=False,
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1"},
    )
    bench.record.say(f"  roadworthy {arguments[0]}: exit {done.returncode}")
    text = _without_paths(bench, done.stdout + done.stderr, folder)
    print(text[-3000:], flush=True)
    shown = _without_paths(bench, json.dumps(arguments), folder)
    return {
        "arguments": json.loads(shown),
        "exit_code": done.returncode,
        "seconds": round(time.monotonic() - began, 1),
        "text": text[-12000:],
    }


def _without_paths(bench: Bench, text: str, folder: Path) -> str:
    """Return a text in which nothing is of this machine alone."""
    python = (bench.target.where or "").removeprefix("python=")
    text = text.replace(python, "PYTHON_THAT_HAS_TENSORRT") if python else text
    return text.replace(str(folder), "OUT").replace(str(EXAMPLE), "unet")
