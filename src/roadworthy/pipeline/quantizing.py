"""`roadworthy quantize`: an INT8 ONNX file for one target's runtime, without an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadworthy.core.errors import InputError, UsageError
from roadworthy.core.files import replacing_file, write_text
from roadworthy.core.inputspec import parse_inputs
from roadworthy.core.jsonable import dumps
from roadworthy.core.target import Target
from roadworthy.graph.serial import digest, to_files
from roadworthy.pipeline.gather import gather_samples
from roadworthy.pipeline.lowering import dialect_of
from roadworthy.pipeline.request import DEFAULT_TARGET
from roadworthy.precision.calibrate import Calibration
from roadworthy.precision.placement import place
from roadworthy.precision.quantize import Quantization, named, observe, quantize, split
from roadworthy.precision.trtcache import calibration_cache
from roadworthy.source.onnx.source import OnnxSource
from roadworthy.source.opening import open_source
from roadworthy.verify.answers import Progress, silent

EMITS = ("onnx", "trt-cache")


@dataclass(frozen=True)
class QuantizeOutcome:
    """What was written, and how it was made.

    Attributes:
        made: the network, its plan, the methods' scores.
        files: what was written.
        digest: of the written network.
    """

    made: Quantization
    files: tuple[Path, ...]
    digest: str

    def to_json(self) -> Mapping[str, Any]:
        """Return the `result` of the command line's JSON document."""
        return {
            "files": [str(file) for file in self.files],
            "digest": self.digest,
            **self.made.account(),
        }


def run_quantize(
    model: str,
    samples: Any,
    out: Path,
    *,
    target: str | None = None,
    method: str = "auto",
    emit: str = "onnx",
    inputs: Sequence[str] = (),
    preprocess: Path | None = None,
    keep: Path | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> QuantizeOutcome:
    """Quantise an ONNX file for a target, and write it with its plan beside it.

    Args:
        model: `model.onnx`, in FP32.
        samples: real ones, as for `deploy`.
        out: the file to write; the plan goes to the same name with `.plan.json`.
        target: whose rules; None is the embedded default.
        method: see `precision.methods`; "auto" compares them and keeps the best.
        emit: "onnx", or "trt-cache" for a calibration cache of TensorRT 8 instead.
        inputs: `--inputs` specifications.
        preprocess: contract for images.
        keep: a file for an unfinished calibration.
        threads: of one inference.
        progress: told what is being done.

    Raises:
        InputError: unreadable files, samples that don't fit, a network that has nothing to
            quantise.
        UsageError: random samples, an unknown method or form.
    """
    if emit not in EMITS:
        raise UsageError(
            f"{emit!r} can't be written", where="--emit", remedy=f"choose one of {', '.join(EMITS)}"
        )
    specs = parse_inputs(inputs)
    where = Target.parse(target or ("tensorrt" if emit == "trt-cache" else DEFAULT_TARGET))
    dialect = dialect_of(where)
    source = open_source(model)
    if not isinstance(source, OnnxSource):
        raise UsageError(
            "quantize takes an .onnx file",
            where=model,
            remedy="roadworthy deploy --precision int8 takes the network itself",
        )
    found, _ = gather_samples(samples, source, specs, preprocess)
    signature = source.declared(specs)
    found.check(signature)
    graph = named(source.model)
    placement = place(graph, dialect)
    if not placement.activations:
        raise InputError(
            f"nothing in this network would run in INT8 on {where.backend}: "
            + _reasons(placement.decisions),
            where=model,
        )
    seen, unseen, notes = split(found)
    calibration = observe(
        graph, [placement], seen, method=method, threads=threads, keep=keep, progress=progress
    )
    made = quantize(
        graph,
        signature,
        dialect,
        calibration,
        unseen,
        method=method,
        notes=notes,
        progress=progress,
    )
    progress("write", 0.0)
    written = _write(out, emit, made, calibration)
    return QuantizeOutcome(made, written, digest(to_files(made.model, out.name)))


def _write(out: Path, emit: str, made: Quantization, calibration: Calibration) -> tuple[Path, ...]:
    plan = out.with_suffix(".plan.json")
    if emit == "trt-cache":
        write_text(out, calibration_cache(made.plan, calibration))
        return (out,)
    files = to_files(made.model, out.name)
    # External data first: a model must never name a file that isn't there yet.
    for name, content in reversed(files.items()):
        with replacing_file(out.parent / name) as partial:
            partial.write_bytes(content)
    write_text(plan, dumps(made.plan.to_json()) + "\n")
    return (*(out.parent / name for name in files), plan)


def _reasons(decisions: Sequence[Any]) -> str:
    told = list(dict.fromkeys(item.reason for item in decisions if item.reason))
    return "; ".join(told[:3]) or "it has no Conv, Gemm or MatMul"
