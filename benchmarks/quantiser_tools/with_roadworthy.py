"""Roadworthy: one pass over the samples, then the method on what was seen."""

from __future__ import annotations

import common
import onnx_ir as ir

from roadworthy.core.cpus import cpu_features
from roadworthy.core.progress import silent
from roadworthy.core.samples import load_samples
from roadworthy.graph.signature import signature_of
from roadworthy.precision.dialect import dialect_for
from roadworthy.precision.placement import place
from roadworthy.precision.quantize import judges_for, named, observe, quantize, split


def main() -> None:
    """Quantise as `roadworthy quantize` does."""
    asked = common.arguments(("auto", "minmax", "percentile", "mse", "entropy"))
    report = common.Report("roadworthy", "onnxruntime")
    model = named(ir.load(asked.model))
    common.sample_files(asked.samples, asked.count)
    samples = load_samples(asked.samples, None, asked.input)[: asked.count]
    dialect = dialect_for(asked.dialect, cpu_features())
    placements = [place(model, dialect)]
    parts = split(samples, judges_for(model, placements, samples, asked.method))
    calibration = observe(
        model,
        placements,
        parts.seen,
        method=asked.method,
        threads=asked.threads,
        progress=silent,
    )
    made = quantize(
        model,
        signature_of(model),
        dialect,
        calibration,
        parts,
        method=asked.method,
        threads=asked.threads,
        progress=silent,
    )
    ir.save(made.model, asked.out)
    report.write(
        asked.report,
        chosen=made.plan.account["method"],
        scores={score.method: round(score.sqnr_db, 2) for score in made.scores},
        calibration_seconds=round(calibration.seconds, 3),
        tensors=len(calibration.tensors),
    )


if __name__ == "__main__":
    main()
