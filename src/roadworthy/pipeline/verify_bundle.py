"""Verify a bundle again on this machine: its own engines, or engines built anew from its ONNX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from roadworthy.backends.base import Engine
from roadworthy.bundle.reader import Bundle, CaseData, read_bundle
from roadworthy.core.jsonable import number
from roadworthy.core.signature import Answers, Feed
from roadworthy.core.verdict import SelfCheck, Tolerance
from roadworthy.pipeline.rebuild import differences_here, naming_rebuild, rebuild
from roadworthy.pipeline.verify import Judged, VerifyOutcome
from roadworthy.verify.answers import Progress
from roadworthy.verify.engine import require_pass, verify_engine
from roadworthy.verify.metrics import compare_pair
from roadworthy.vision.preprocess import Preprocess


@dataclass(frozen=True)
class _KeptCase:
    """A case as the bundle keeps it; see `verify.answers.JudgedCase`."""

    name: str
    derived: bool
    sizes: Mapping[str, int]
    items: Sequence[CaseData]

    def __len__(self) -> int:
        return len(self.items)

    def pairs(self) -> Iterator[tuple[str, Feed, Answers]]:
        for item in self.items:
            yield item.sample, item.feed, item.answers


def verify_bundle(
    path: Path, target: str | None, progress: Progress, anew: bool = False
) -> VerifyOutcome:
    """Run a bundle's engines here, on its own samples, against its own answers and tolerances.

    Where it keeps image files, its preprocessing is repeated from their bytes too.

    Args:
        path: the bundle.
        target: one engine only; None verifies all of them.
        progress: told what is being done.
        anew: judge engines that are built here from the bundle's ONNX, instead of its own. The
            bundle stays as it is.

    Raises:
        BundleError: it is damaged.
        UnavailableError: a runtime or device isn't here, or isn't what an engine was built for.
    """
    bundle = read_bundle(path)
    records = [bundle.record(target)] if target else list(bundle.manifest.engines)
    cases = _cases(bundle)
    contract = _check_contract(bundle, [item for case in cases for item in case.items])
    judged = []
    for record in records:
        name = str(record.target)
        made = _rebuilt if anew else _as_it_is
        _, found = made(bundle, name, cases, progress)
        checks = (*found.verdict.self_checks, *contract)
        judged.append(replace(found, verdict=replace(found.verdict, self_checks=checks)))
    return VerifyOutcome(tuple(judged), "the bundle's stored answers")


def rebuilt_engine(bundle: Bundle, target: str | None, progress: Progress) -> tuple[Engine, str]:
    """Return an engine built here from the bundle's ONNX, and why, once its answers are right.

    Args:
        bundle: an open bundle; stays as it is.
        target: one of its engines; None is the default one.
        progress: told what is being done.

    Raises:
        WrongAnswersError: it doesn't give the bundle's stored answers within their tolerances.
        UnavailableError: the target isn't here, or refuses the model.
    """
    name = str(bundle.record(target).target)
    engine, found = _rebuilt(bundle, name, _cases(bundle), progress)
    require_pass(found.verdict, name)
    return engine, found.rebuilt or ""


def _as_it_is(
    bundle: Bundle, name: str, cases: Sequence[_KeptCase], progress: Progress
) -> tuple[Engine, Judged]:
    certificate, engine = bundle.certificate(name), bundle.engine(name)
    with naming_rebuild(engine):
        verdict = verify_engine(engine, cases, _limits(certificate), progress)
    labels = tuple(certificate["labels"])
    return engine, Judged(name, verdict, labels, differences_here(engine))


def _rebuilt(
    bundle: Bundle, name: str, cases: Sequence[_KeptCase], progress: Progress
) -> tuple[Engine, Judged]:
    certificate = bundle.certificate(name)
    engine, why = rebuild(bundle, name, progress)
    verdict = verify_engine(engine, cases, _limits(certificate), progress)
    return engine, Judged(name, verdict, tuple(certificate["labels"]), (why,), why)


def _cases(bundle: Bundle) -> list[_KeptCase]:
    return [
        _KeptCase(record.name, record.derived, record.sizes, items)
        for record, items in bundle.cases()
    ]


def _limits(certificate: Mapping[str, Any]) -> dict[str, Tolerance]:
    """Return the tolerances that the bundle was verified with; they are never widened."""
    limits = {}
    for case in certificate["verdict"]["cases"]:
        for output in case["outputs"]:
            tolerance = output["tolerance"]
            limits[str(output["name"])] = Tolerance(
                tolerance["metric"], number(tolerance["limit"]), str(tolerance["origin"])
            )
    return limits


def _check_contract(bundle: Bundle, items: Sequence[CaseData]) -> tuple[SelfCheck, ...]:
    """Repeat the preprocessing from raw bytes: the feeds must come out to the last bit."""
    contract = Preprocess.of(bundle)
    if contract is None:
        return ()
    ranks = bundle.signature.ranks
    count = 0
    for item in items:
        if item.raw is None:
            continue
        count += 1
        made = contract.apply_bytes(item.raw, item.sample, ranks)
        for name, expected in item.feed.items():
            got = made[name]
            if got.shape != expected.shape or not compare_pair(expected, got).bit_equal:
                detail = f"sample {item.sample}: input {name!r} comes out otherwise here"
                return (SelfCheck("preprocess", False, detail),)
    if not count:
        return ()
    return (SelfCheck("preprocess", True, f"{count} image files, from raw bytes: bit-equal"),)
