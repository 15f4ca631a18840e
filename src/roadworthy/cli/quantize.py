"""`roadworthy quantize`: an INT8 ONNX file, with the reason for every scale and exception."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roadworthy.cli import options
from roadworthy.cli.output import Outcome, Reporter

if TYPE_CHECKING:
    from roadworthy.precision.quantize import Quantization


def quantize(
    model: Annotated[str, typer.Argument(help="model.onnx, in FP32")],
    out: Annotated[Path, typer.Option(help="The file to write; its plan goes beside it.")],
    samples: options.SamplesPath = None,
    preprocess: options.PreprocessFile = None,
    inputs: options.Inputs = None,
    target: options.OneTarget = None,
    method: options.Method = "auto",
    emit: Annotated[
        str, typer.Option(help="onnx, or trt-cache: a calibration cache for TensorRT 8.")
    ] = "onnx",
    keep: options.Keep = None,
    threads: options.Threads = None,
    json: options.Json = False,
) -> int:
    """Quantise an ONNX file to INT8, with Q/DQ where its target's runtime wants them.

    Nothing is proven yet: `roadworthy verify FILE --reference MODEL` judges the file, `roadworthy
    deploy --precision int8` does both. Memory doesn't grow with the number of samples.
    """
    from roadworthy.cli.progress import ProgressDisplay
    from roadworthy.pipeline.quantizing import run_quantize

    reporter = Reporter("quantize", json)
    with ProgressDisplay(silent=json) as progress:
        outcome = run_quantize(
            model,
            samples,
            out,
            target=target,
            method=method,
            emit=emit,
            inputs=inputs or [],
            preprocess=preprocess,
            keep=keep,
            threads=threads,
            progress=progress,
        )
    if not json:
        _tell(reporter, outcome.made)
        from rich.markup import escape

        reporter.say(f"written {escape(', '.join(str(file) for file in outcome.files))}")
    return reporter.finish(Outcome(outcome.to_json()))


def _tell(reporter: Reporter, made: Quantization) -> None:
    from rich.markup import escape

    from roadworthy.cli.summary import tell_lowering

    tell_lowering(reporter, made.account())
    for item in made.plan.exceptions[:12]:
        reporter.tell(
            f"        [dim]{escape(item.node)} ({escape(item.op_type)}): {item.dtype}, "
            f"{escape(item.reason)}[/]",
            hang=10,
        )
    more = len(made.plan.exceptions) - 12
    if more > 0:
        reporter.tell(f"        [dim]… and {more} more: see the plan[/]")
