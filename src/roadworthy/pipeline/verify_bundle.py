"""Verify a bundle again on this machine: its own engines, or engines built anew from its ONNX."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from roadworthy.backends.base import Engine
from roadworthy.bundle.reader import Bundle, CaseData, read_bundle
from roadworthy.core.certificate import Certificate
from roadworthy.core.errors import BundleError, InputError, RoadworthyError
from roadworthy.core.progress import Progress
from roadworthy.core.signature import Answers, Feed
from roadworthy.core.verdict import SelfCheck, Tolerance
from roadworthy.pipeline.rebuild import differences_here, rebuild
from roadworthy.pipeline.remedies import naming_remedy
from roadworthy.pipeline.verify import Judged, NotJudged, VerifyOutcome
from roadworthy.verify.engine import require_pass, verify_engine
from roadworthy.verify.metrics import compare_pair
from roadworthy.verify.tolerance import ceiling
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
        target: one engine only, and where it runs; None verifies all of them, where each was
            deployed.
        progress: told what is being done.
        anew: judge engines that are built here from the bundle's ONNX, instead of its own. The
            bundle stays as it is.

    Raises:
        BundleError: it is damaged.
        UnavailableError: the runtime or device of the engine that was named isn't here, or isn't
            what it was built for. Where none was named, the outcome says it, and the others go on.
    """
    bundle = read_bundle(path)
    cases = _cases(bundle)
    contract = _check_contract(bundle, [item for case in cases for item in case.items])

    def judge(name: str) -> Judged:
        made = _rebuilt if anew else _as_it_is
        _, found = made(bundle, name, target, cases, progress)
        checks = (*found.verdict.self_checks, *contract)
        return replace(found, verdict=replace(found.verdict, self_checks=checks))

    results: list[Judged | NotJudged]
    if target is not None:
        results = [judge(target)]
    else:
        results = [_tried(str(record.target), judge) for record in bundle.manifest.engines]
    return VerifyOutcome(tuple(results), "the bundle's stored answers")


def _tried(name: str, judge: Callable[[str], Judged]) -> Judged | NotJudged:
    """Judge one of several engines. Its failure is its own: the others go on."""
    try:
        return judge(name)
    except InputError:
        raise  # it is the bundle's, and concerns them all
    except RoadworthyError as error:
        return NotJudged(name, error)


def rebuilt_engine(bundle: Bundle, target: str | None, progress: Progress) -> tuple[Engine, str]:
    """Return an engine built here from the bundle's ONNX, and why, once its answers are right.

    Args:
        bundle: an open bundle; stays as it is.
        target: one of its engines, and where it shall run; None is the default one, at its own
            place.
        progress: told what is being done.

    Raises:
        WrongAnswersError: it doesn't give the bundle's stored answers within their tolerances.
        UnavailableError: the target isn't here, or refuses the model.
    """
    engine, found = _rebuilt(bundle, target, target, _cases(bundle), progress)
    require_pass(found.verdict, found.target)
    return engine, found.rebuilt or ""


def _as_it_is(
    bundle: Bundle,
    name: str | None,
    asked: str | None,
    cases: Sequence[_KeptCase],
    progress: Progress,
) -> tuple[Engine, Judged]:
    """Judge an engine; `asked` is the target that the user named, None where he named none."""
    evidence, engine = bundle.evidence(name), bundle.engine(name)
    with naming_remedy(bundle, engine, asked):
        verdict = verify_engine(engine, cases, _limits(evidence), progress)
    notes = (*_moved(evidence, engine), *differences_here(engine))
    return engine, Judged(str(engine.target), verdict, evidence.labels, notes)


def _rebuilt(
    bundle: Bundle,
    name: str | None,
    asked: str | None,
    cases: Sequence[_KeptCase],
    progress: Progress,
) -> tuple[Engine, Judged]:
    evidence = bundle.evidence(name)
    with naming_remedy(bundle, bundle.engine(name), asked, anew=True):
        engine, why = rebuild(bundle, name, progress)
    verdict = verify_engine(engine, cases, _limits(evidence), progress)
    notes = (*_moved(evidence, engine), why)
    return engine, Judged(str(engine.target), verdict, evidence.labels, notes, why)


def _moved(evidence: Certificate, engine: Engine) -> tuple[str, ...]:
    """Say where an engine was deployed for, if it runs at another place now."""
    deployed = evidence.target
    return () if deployed == str(engine.target) else (f"deployed for {deployed}",)


def _cases(bundle: Bundle) -> list[_KeptCase]:
    return [
        _KeptCase(record.name, record.derived, record.sizes, items)
        for record, items in bundle.cases()
    ]


def _limits(evidence: Certificate) -> dict[str, Tolerance]:
    """Return the tolerances that the bundle was verified with; they are never widened.

    Raises:
        BundleError: one is above all that its precision is ever allowed.
    """
    limits = {}
    for case in evidence.verdict.cases:
        for output in case.outputs:
            tolerance = limits[output.name] = output.tolerance
            most = ceiling(evidence.precision, tolerance.metric)
            if not tolerance.limit <= most:
                raise BundleError(
                    f"the certificate allows output {output.name!r} {tolerance.limit:.2g}, more "
                    f"than any {evidence.precision} engine is ({most})",
                    where=evidence.target,
                    remedy="the bundle was changed; deploy again",
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
