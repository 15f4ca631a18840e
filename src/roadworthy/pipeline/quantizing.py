"""`roadworthy quantize`: an INT8 ONNX file for one target's runtime, without an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roadworthy.core.certificate import PassRecord
from roadworthy.core.errors import InputError, UsageError
from roadworthy.core.files import check_file, replacing_file, write_text
from roadworthy.core.inputspec import parse_inputs
from roadworthy.core.jsonable import dumps
from roadworthy.core.progress import Progress, silent
from roadworthy.core.samples import Samples
from roadworthy.core.target import Target
from roadworthy.graph.depth import arithmetic_depth
from roadworthy.graph.serial import digest, to_files
from roadworthy.graph.signature import signature_of
from roadworthy.passes.catalogue import standard_passes
from roadworthy.passes.guard import run_guarded
from roadworthy.pipeline.dialects import dialect_of
from roadworthy.pipeline.gather import fitting, gather_samples
from roadworthy.pipeline.keeping import check_keep
from roadworthy.pipeline.lowering import nothing_to_quantise
from roadworthy.pipeline.request import CALIBRATIONS, DEFAULT_TARGET
from roadworthy.precision.calibrate import Calibration, unfit
from roadworthy.precision.placement import place
from roadworthy.precision.quantize import Quantization, judges_for, named, observe, quantize, split
from roadworthy.precision.trtcache import cached_tensors, calibration_cache
from roadworthy.source.opening import open_onnx
from roadworthy.verify.tolerance import tolerance_for

if TYPE_CHECKING:
    import onnx_ir as ir

_PROBES = 2
EMITS = ("onnx", "trt-cache")


@dataclass(frozen=True)
class QuantizeOutcome:
    """What was written, and how it was made.

    Attributes:
        made: the network, its plan, the methods' scores.
        files: what was written.
        digest: of the written network, or of the cache.
        passes: what was done to the network before; none for a cache.
    """

    made: Quantization
    files: tuple[Path, ...]
    digest: str
    passes: tuple[PassRecord, ...]

    def to_json(self) -> Mapping[str, Any]:
        """Return the `result` of the command line's JSON document."""
        return {
            "files": [str(file) for file in self.files],
            "digest": self.digest,
            "passes": [asdict(item) for item in self.passes],
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
        UsageError: random samples, an unknown method or form, or an `out` that would overwrite
            what is read.
    """
    if emit not in EMITS:
        raise UsageError(
            f"{emit!r} can't be written", where="--emit", remedy=f"choose one of {', '.join(EMITS)}"
        )
    # All that can be refused is refused before the work.
    if method not in CALIBRATIONS:
        raise UsageError(
            f"{method!r} isn't a calibration method",
            where="--method",
            remedy=f"choose one of: {', '.join(CALIBRATIONS)}",
        )
    _check_out(out, (model, samples, preprocess, keep))
    check_keep(keep, out, (model, samples, preprocess))
    specs = parse_inputs(inputs)
    where = Target.parse(target or ("tensorrt" if emit == "trt-cache" else DEFAULT_TARGET))
    dialect = dialect_of(where)
    if emit == "trt-cache" and where.backend != "tensorrt":
        raise UsageError(
            f"a calibration cache is TensorRT's, not one of {where.backend}",
            where="--emit trt-cache",
            remedy="add --target tensorrt, or leave --target out",
        )
    if emit == "onnx" and out.suffix.lower() != ".onnx":
        raise UsageError(
            f"an ONNX file isn't named {out.name!r}: no command would open it",
            where="--out",
            remedy="name it int8.onnx",
        )
    source = open_onnx(
        model,
        "quantize takes an .onnx file",
        "roadworthy deploy --precision int8 takes the network itself",
    )
    found, contract = gather_samples(samples, source, specs, preprocess)
    signature = fitting(found, source, specs, contract)
    # A cache speaks of the tensors of the very file that TensorRT will read.
    simplified, passes = (
        (source.model, ()) if emit == "trt-cache" else _simplified(source.model, found, progress)
    )
    graph = named(simplified)
    placement = place(graph, dialect)
    if not placement.activations:
        raise InputError(
            nothing_to_quantise(placement, where.backend),
            where=model,
            remedy="leave it in FP32: there is nothing to gain",
        )
    # A cache holds scales alone.
    correct = emit == "onnx"
    parts = split(found, judges_for(graph, [placement], found, method, correct=correct))
    calibration = observe(
        graph,
        [placement],
        parts.seen,
        method=method,
        # One pass shows what the plan wants and what a cache holds beyond it.
        also=cached_tensors(graph) if emit == "trt-cache" else (),
        threads=threads,
        keep=keep,
        progress=progress,
    )
    made = quantize(
        graph,
        signature,
        dialect,
        calibration,
        parts,
        method=method,
        correct=correct,
        threads=threads,
        progress=progress,
    )
    made = replace(made, notes=(*made.notes, *filter(None, [dialect.note])))
    progress("write", 0.0)
    return _write(out, emit, made, calibration, passes)


def _simplified(
    model: ir.Model, samples: Samples, progress: Progress
) -> tuple[ir.Model, tuple[PassRecord, ...]]:
    """Run the passes that `deploy` runs before INT8: they make a Conv of Conv and normalisation.

    Guarded on some of the samples. Where none is fit for that, calibration will say so.
    """
    feeds = ((item.name, feed) for item, feed in zip(samples.items, samples, strict=True))
    probes = list(islice((pair for pair in feeds if unfit(pair[1]) is None), _PROBES))
    if not probes:
        return model, ()
    depth = arithmetic_depth(model)
    limits = {
        spec.name: tolerance_for(spec.dtype, None, depth, "fp32")
        for spec in signature_of(model).outputs
    }
    return run_guarded(model, standard_passes(), probes, limits, progress)


def _check_out(out: Path, read: Sequence[Any]) -> None:
    """Refuse at once what can't be written in the end.

    Raises:
        UsageError: it would overwrite what is read, or has no folder to go to.
    """
    for path in (out, _plan_of(out)):
        if path.resolve() in {Path(item).resolve() for item in read if _is_path(item)}:
            raise UsageError(
                f"this would overwrite {path}, which is read here",
                where=f"--out {out}",
                remedy="name another file",
            )
        check_file(path)


def _is_path(item: Any) -> bool:
    return isinstance(item, str | Path)


def _plan_of(out: Path) -> Path:
    return out.with_suffix(".plan.json")


def _write(
    out: Path,
    emit: str,
    made: Quantization,
    calibration: Calibration,
    passes: tuple[PassRecord, ...],
) -> QuantizeOutcome:
    if emit == "trt-cache":
        text = calibration_cache(made.plan, calibration)
        write_text(out, text)
        return QuantizeOutcome(made, (out,), digest({out.name: text.encode()}), passes)
    files = to_files(made.model, out.name)
    plan = _plan_of(out)
    # External data first: a model must never name a file that isn't there yet.
    for name, content in reversed(files.items()):
        with replacing_file(out.parent / name) as partial:
            partial.write_bytes(content)
    write_text(plan, dumps(made.plan.to_json()) + "\n")
    written = (*(out.parent / name for name in files), plan)
    return QuantizeOutcome(made, written, digest(files), passes)
