"""`roadworthy bench A [B]…`: time bundles and models, fairly, beside one another."""

from __future__ import annotations

from typing import Annotated

import typer

from roadworthy.cli import options
from roadworthy.cli.output import Outcome, Reporter


def bench(
    subjects: Annotated[
        list[str], typer.Argument(help="Bundles, .onnx files, plans, or module.py:factory")
    ],
    weights: options.Weights = None,
    samples: options.SamplesPath = None,
    preprocess: options.PreprocessFile = None,
    inputs: options.Inputs = None,
    target: options.OneTarget = None,
    threads: options.Threads = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="Of timed work for each pair.")
    ] = 10.0,
    trust: options.Trust = False,
    json: options.Json = False,
) -> int:
    """Time bundles, models, plans and networks beside one another, on one real input.

    The first is compared with each of the others in turn. Two subjects are timed in alternating
    blocks, each at rest while the other runs, so that a noisy machine disturbs both alike; the
    ratio comes with a 95 % interval.
    """
    from roadworthy.cli.progress import ProgressDisplay
    from roadworthy.cli.summary import tell_comparison, tell_latency
    from roadworthy.pipeline.bench import run_bench

    reporter = Reporter("bench", json)
    with ProgressDisplay(silent=json) as progress:
        result = run_bench(
            subjects,
            samples=samples,
            weights=weights,
            preprocess=preprocess,
            inputs=inputs or [],
            target=target,
            threads=threads,
            seconds=seconds,
            trust=trust,
            progress=progress,
        )
    if not json:
        if result.latency is not None:
            tell_latency(reporter, result.latency)
        for comparison in result.comparisons:
            tell_comparison(reporter, comparison)
    return reporter.finish(Outcome(result.to_json()))
