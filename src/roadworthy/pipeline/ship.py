"""Put the engines that verified into the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from roadworthy.bundle.content import BundleContent, ContentCase, ContentItem
from roadworthy.bundle.writer import check_replaceable, write_bundle
from roadworthy.core.errors import UsageError
from roadworthy.core.progress import Progress
from roadworthy.core.samples import Sample
from roadworthy.core.target import Target
from roadworthy.graph.serial import to_files
from roadworthy.pipeline.account import Evidence
from roadworthy.pipeline.deployment import TargetResult
from roadworthy.verify.answers import AnsweredCase
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
