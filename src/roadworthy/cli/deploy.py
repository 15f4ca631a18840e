"""`roadworthy deploy`: a trained network becomes a verified bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roadworthy.cli import options
from roadworthy.cli.output import Outcome, Reporter

if TYPE_CHECKING:
    from roadworthy.pipeline.deployment import Deployment


def deploy(
    source: Annotated[
        str, typer.Argument(help="model.onnx, module.py:factory, package.module:factory, model.pt2")
    ],
    weights: options.Weights = None,
    inputs: options.Inputs = None,
    outputs: options.Outputs = None,
    samples: options.SamplesPath = None,
    preprocess: options.PreprocessFile = None,
    target: options.Targets = None,
    precision: Annotated[
        str,
        typer.Option(
            help="auto, fp32, tf32, fp16, bf16 or int8: what the target has. auto is the fastest "
            "that keeps the budget, fp32 without one."
        ),
    ] = "auto",
    calibration: Annotated[
        str | None, typer.Option(help="Samples to calibrate INT8 with. Default: the samples.")
    ] = None,
    method: options.Method = "auto",
    keep: options.Keep = None,
    strict_precision: Annotated[
        bool,
        typer.Option(
            "--strict-precision",
            help="Fail if less runs in it than was planned, or if the engine doesn't tell what 1 % "
            "of all MACs or more, planned in it, run in.",
        ),
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option(help="A backend's own: tensorrt.level=2. Repeatable."),
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Largest error allowed: mvre=0.01")] = None,
    objective: Annotated[str, typer.Option(help="latency, throughput or size")] = "latency",
    out: Annotated[
        Path | None, typer.Option(help="The bundle: a zip if named *.rw, else a folder.")
    ] = None,
    threads: options.Threads = None,
    measure_seconds: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="S",
            help="Seconds of timing for each engine, and again for a choice between several; "
            "0 leaves it out.",
        ),
    ] = 10.0,
    trust: options.Trust = False,
    json: options.Json = False,
) -> int:
    """Take a trained network to a fast engine, and prove that it still gives the right answers.

    Nothing is written unless the very engine that ships has agreed with the source framework on
    your samples, and at the smallest, largest and odd sizes that you allow.
    """
    from roadworthy.cli.progress import ProgressDisplay
    from roadworthy.pipeline.deploy import deploy as run
    from roadworthy.pipeline.request import make_request

    reporter = Reporter("deploy", json)
    request = make_request(
        source,
        samples,
        weights=weights,
        inputs=inputs or [],
        outputs=outputs or [],
        preprocess=preprocess,
        targets=target or [],
        precision=precision,
        options=option or [],
        budget=budget,
        objective=objective,
        out=out,
        threads=threads,
        trust=trust,
        measure_seconds=measure_seconds,
        method=method,
        calibration=calibration,
        keep=keep,
        strict_precision=strict_precision,
    )
    with ProgressDisplay(silent=json) as progress:
        deployment = run(request, progress)
    if not json:
        _tell(reporter, deployment)
    return reporter.finish(Outcome(deployment.to_json(), deployment.error, deployment.exit_code))


def _tell(reporter: Reporter, deployment: Deployment) -> None:
    import shlex

    from rich.markup import escape

    from roadworthy.cli.summary import summary

    for result in deployment.results:
        if result.certificate is not None:
            summary(reporter, result.certificate)
        elif result.error is not None and result.error is not deployment.error:
            # The one that the exit code stands for is told at the end.
            said = f"[bold red]NOT built[/]  {escape(str(result.target))}, {result.precision}"
            reporter.tell(f"{said}: {escape(result.error.what)}")
        for other in result.others:
            reporter.say(f"[dim]instead[/] {escape(other)}")
    if len(deployment.results) > 1:
        reporter.say(f"chosen  {escape(deployment.why)}")
    if deployment.bundle is not None:
        path = str(deployment.bundle)
        reporter.say(f"bundle  [bold]{escape(path)}[/]")
        reporter.say(f"        roadworthy report {escape(shlex.quote(path))} --out report.html")
    elif deployment.exit_code == 0:
        reporter.say("no bundle was written: none was asked for (--out unet.rw)")
