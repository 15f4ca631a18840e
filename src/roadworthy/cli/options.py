"""Options that several commands share, so that they read and behave alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# No word of a help text may be longer than a narrow terminal's column for it.
TARGET = "backend[:device][==version]"

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Weights = Annotated[
    Path | None, typer.Option(help="Weights for a factory: .safetensors, or a .pth state dict.")
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(help="Names and shapes: 'image[n=1..8,3,h=64..512:32,w]'. Repeatable."),
]
Outputs = Annotated[list[str] | None, typer.Option(help="Names of the outputs: a,b.")]
SamplesPath = Annotated[
    str | None,
    typer.Option(help="Real inputs: .npz, folder of .npy, folder of images; or 'random'."),
]
PreprocessFile = Annotated[
    Path | None,
    typer.Option(help="How images become inputs. Default: preprocess.json beside them."),
]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", help=f"{TARGET}. Repeatable. Default: onnxruntime."),
]
OneTarget = Annotated[
    str | None,
    typer.Option("--target", help=f"{TARGET}. Default: a bundle's own, else onnxruntime."),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Threads of one inference. Default: what may be used."),
]
Trust = Annotated[bool, typer.Option("--trust", help="Let the files run code that they bring.")]
Keep = Annotated[
    Path | None, typer.Option(help="A file for an unfinished calibration, to continue it.")
]
Method = Annotated[
    str,
    typer.Option(help="INT8 ranges: auto (the best of all), minmax, percentile, mse or entropy."),
]
