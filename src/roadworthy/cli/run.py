"""`roadworthy run`: run samples through anything that can run, and save the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from roadworthy.cli import options
from roadworthy.cli.output import Outcome, Reporter


def run(
    subject: Annotated[
        str, typer.Argument(help="A bundle, model.onnx, old.plan, module.py:factory, model.pt2")
    ],
    out: Annotated[Path, typer.Option(help="The answers: an .npz, as --reference takes it.")],
    samples: options.SamplesPath = None,
    weights: options.Weights = None,
    preprocess: options.PreprocessFile = None,
    inputs: options.Inputs = None,
    outputs: options.Outputs = None,
    target: options.OneTarget = None,
    threads: options.Threads = None,
    trust: options.Trust = False,
    json: options.Json = False,
) -> int:
    """Run every sample once and save the answers; nothing is judged or timed.

    What a network answers in its own framework (module.py:factory) judges engines elsewhere:
    roadworthy verify old.plan --reference answers.npz --samples PATH
    """
    from rich.markup import escape

    from roadworthy.cli.progress import ProgressDisplay
    from roadworthy.pipeline.request import split_names
    from roadworthy.pipeline.run import run_samples

    reporter = Reporter("run", json)
    with ProgressDisplay(silent=json) as progress:
        result = run_samples(
            subject,
            samples,
            out,
            weights=weights,
            preprocess=preprocess,
            inputs=inputs or [],
            outputs=split_names(outputs or []),
            target=target,
            threads=threads,
            trust=trust,
            progress=progress,
        )
    marks = "".join(f"  [yellow]({escape(label)})[/]" for label in result.labels)
    count = "1 sample" if result.samples == 1 else f"{result.samples} samples"
    reporter.say(f"ran     {escape(result.ran)}, {count}{marks}")
    for name, (dtype, shape) in result.outputs.items():
        reporter.say(f"output  {escape(name)}: {dtype} {escape(str(list(shape)))}")
    for note in result.notes:
        reporter.say(f"[yellow]note[/]    {escape(note)}")
    reporter.say(f"answers [bold]{escape(str(result.out))}[/]")
    return reporter.finish(Outcome(result.to_json()))
