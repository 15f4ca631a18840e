"""Choose between verified engines, and put those that verified into the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

from roadworthy.bundle.content import BundleContent, ContentCase, ContentItem
from roadworthy.bundle.writer import check_replaceable, write_bundle
from roadworthy.core.errors import UsageError
from roadworthy.core.samples import Sample
from roadworthy.core.target import Target
from roadworthy.graph.serial import to_files
from roadworthy.pipeline.account import Evidence
from roadworthy.pipeline.deployment import TargetResult
from roadworthy.verify.answers import AnsweredCase, Progress
from roadworthy.vision.preprocess import Preprocess

# A bundle keeps enough to verify again anywhere: so many samples of each case, and of those only
# while they stay below so many bytes.
_KEPT_SAMPLES = 8
_KEPT_BYTES = 64 << 20
_KEPT_RAW_BYTES = 4 << 20


def check_destination(out: Path | None) -> None:
    """Refuse at once what can't be written in the end.

    Raises:
        UsageError: no such folder, one that takes no files, or something at `out` that isn't a
            bundle.
    """
    if out is None:
        return
    folder = out.absolute().parent
    if not folder.is_dir():
        raise UsageError(
            f"the folder {folder} doesn't exist", where=f"--out {out}", remedy="create it first"
        )
    check_replaceable(out)
    try:
        # Tried, because permissions don't tell: a read-only disk, a quota, root.
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(
            f"the folder {folder} can't be written to: {error.strerror}",
            where=f"--out {out}",
            remedy="choose another folder",
        ) from error


def choose(results: Sequence[TargetResult], objective: str) -> tuple[Target | None, str]:
    """Return the verified target that the objective prefers, and why the others lost."""
    good = [result for result in results if result.ok]
    if not good:
        return None, "no target verified"
    best = min(good, key=lambda result: _cost(result, objective))
    reasons = [
        f"{result.target}: {_why_not(result, objective)}"
        for result in results
        if result is not best
    ]
    said = f"{best.target}: {_value(best, objective)}"
    return best.target, "; ".join((said, *reasons))


def fastest(results: Sequence[TargetResult], objective: str) -> TargetResult:
    """Return the best of one target's precisions, which says why the others lost.

    Where none may ship it is the first one, the most exact.
    """
    good = [result for result in results if result.ok]
    best = min(good, key=lambda result: _cost(result, objective)) if good else results[0]
    others = [
        f"{result.precision}: {_why_not(result, objective)}"
        for result in results
        if result is not best
    ]
    return replace(best, others=tuple(others))


def _cost(result: TargetResult, objective: str) -> float:
    certificate = result.certificate
    if objective == "size":
        return float(sum(map(len, result.engine.files.values()))) if result.engine else float("inf")
    if certificate is None or certificate.latency is None:
        return float("inf")
    if objective == "throughput":
        return -certificate.latency.throughput
    return certificate.latency.p50_ms


def _value(result: TargetResult, objective: str) -> str:
    cost = _cost(result, objective)
    if cost in (float("inf"), float("-inf")):
        return "verified, not timed"
    if objective == "size":
        return f"{cost / 1e6:.3g} MB"
    if objective == "throughput":
        return f"{-cost:.4g} samples/s"
    return f"{cost:.4g} ms (median)"


def _why_not(result: TargetResult, objective: str) -> str:
    return result.error.what if result.error is not None else _value(result, objective)


def ship(
    out: Path | None,
    chosen: Target | None,
    results: Sequence[TargetResult],
    evidence: Evidence,
    contract: Preprocess | None,
    progress: Progress,
) -> Path | None:
    """Write the bundle with every engine that verified; None when there is nothing to write."""
    engines = [
        (result.engine, result.certificate)
        for result in results
        if result.ok and result.engine is not None and result.certificate is not None
    ]
    if out is None or chosen is None or not engines:
        return None
    progress("write the bundle", 0.0)
    trusted = evidence.prepared.trusted
    content = BundleContent(
        signature=evidence.prepared.signature,
        model=to_files(evidence.model, "model.onnx"),
        preprocess=None if contract is None else contract.to_json(),
        engines=engines,
        cases=[_kept(judged) for judged in trusted.cases if judged.name != "largest"],
        default_engine=chosen.slug,
    )
    write_bundle(out, content)
    return out


def _kept(judged: AnsweredCase) -> ContentCase:
    """Return the part of a case that the bundle keeps; at least one sample."""
    case = judged.case
    files = {} if case.derived else {item.name: item for item in case.samples.items}
    items: list[ContentItem] = []
    size = 0
    for name, feed, answers in judged.pairs():
        size += sum(array.nbytes for array in (*feed.values(), *answers.values()))
        if items and (len(items) >= _KEPT_SAMPLES or size > _KEPT_BYTES):
            break
        raw, suffix = _raw(files.get(name))
        items.append(ContentItem(name, feed, answers, raw, suffix))
    return ContentCase(case.name, case.derived, case.sizes, items)


def _raw(sample: Sample | None) -> tuple[bytes | None, str]:
    """Return the image file behind a sample, so that its contract can be verified again."""
    file = sample.file if sample is not None else None
    if file is None or file.suffix.lower() in (".npy", ".npz"):
        return None, ""
    if file.stat().st_size > _KEPT_RAW_BYTES:
        return None, ""
    return file.read_bytes(), file.suffix.lower()
