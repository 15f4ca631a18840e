"""`roadworthy verify`: judge a bundle again, or a model against its reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roadworthy.cli import options
from roadworthy.cli.output import Outcome, Reporter

if TYPE_CHECKING:
    from roadworthy.pipeline.verify import Judged, NotJudged, VerifyOutcome


def verify(
    subject: Annotated[str, typer.Argument(help="A bundle, model.onnx, or old.plan")],
    reference: Annotated[
        str | None,
        typer.Option(help="Trusted answers F.npz, or a model: module.py:factory, model.onnx"),
    ] = None,
    weights: options.Weights = None,
    samples: options.SamplesPath = None,
    preprocess: options.PreprocessFile = None,
    inputs: options.Inputs = None,
    target: options.OneTarget = None,
    precision: Annotated[
        str | None, typer.Option(help="What a plan was built in, where it doesn't tell: fp16.")
    ] = None,
    threads: options.Threads = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="Build a bundle's engines anew for this machine, and judge those."
        ),
    ] = False,
    trust: options.Trust = False,
    json: options.Json = False,
) -> int:
    """Judge a bundle again on this machine, or a model against what you trust.

    A bundle brings its samples and answers along. It is never changed.
    """
    from roadworthy.bundle.reader import is_bundle
    from roadworthy.cli.progress import ProgressDisplay
    from roadworthy.core.errors import UsageError
    from roadworthy.pipeline.verify import verify_model
    from roadworthy.pipeline.verify_bundle import verify_bundle

    reporter = Reporter("verify", json)
    path = Path(subject)
    with ProgressDisplay(silent=json) as progress:
        if is_bundle(path):
            given = (reference, weights, samples, preprocess, inputs, precision, threads)
            if any(item is not None and item != [] for item in given):
                raise UsageError(
                    "a bundle brings its own samples, answers, preprocess and options",
                    where="--reference, --weights, --samples, --preprocess, --inputs, --precision, "
                    "--threads",
                    remedy="leave them out; or extract the model and verify that",
                )
            outcome = verify_bundle(path, target, progress, rebuild)
        else:
            if rebuild:
                raise UsageError(
                    "only a bundle's engines are rebuilt: other models are compiled anyway",
                    where="--rebuild",
                    remedy="leave it out",
                )
            outcome = verify_model(
                subject,
                samples,
                reference=reference,
                weights=weights,
                preprocess=preprocess,
                inputs=inputs or [],
                target=target,
                precision=precision,
                threads=threads,
                trust=trust,
                progress=progress,
            )
    if not json:
        _tell(reporter, outcome)
    return reporter.finish(Outcome(outcome.to_json(), outcome.error, outcome.exit_code))


def _tell(reporter: Reporter, outcome: VerifyOutcome) -> None:
    from roadworthy.pipeline.verify import Judged

    for item in outcome.results:
        if isinstance(item, Judged):
            _tell_judged(reporter, item, outcome.reference)
        else:
            # The one that the exit code stands for is told at the end.
            _tell_missing(reporter, item, at_the_end=item.error is outcome.error)


def _tell_judged(reporter: Reporter, judged: Judged, reference: str) -> None:
    from rich.markup import escape

    from roadworthy.cli.summary import tell_verdict

    state = "[bold green]verified[/]" if judged.passed else "[bold red]NOT verified[/]"
    marks = "".join(f"  [yellow]({escape(label)})[/]" for label in judged.labels)
    here = "" if "@ssh=" in judged.target else ", here"
    reporter.say(f"{state}  {escape(judged.target)}{here}{marks}")
    reporter.say(f"judge   {escape(reference)}")
    tell_verdict(reporter, judged.verdict)
    for note in judged.notes:
        reporter.say(f"[yellow]note[/]    {escape(note)}")


def _tell_missing(reporter: Reporter, missing: NotJudged, at_the_end: bool) -> None:
    from rich.markup import escape

    said = f"[bold red]NOT judged[/]  {escape(missing.target)}"
    if at_the_end:
        reporter.say(said)
        return
    reporter.tell(f"{said}: {escape(missing.error.what)}")
    if missing.error.remedy:
        reporter.tell(f"[dim]remedy[/]  {escape(missing.error.remedy)}")
