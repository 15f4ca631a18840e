"""Verify again: a bundle on this machine, or a model against what the user trusts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from roadworthy.backends import registry
from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.bundle.reader import Bundle, CaseData, read_bundle
from roadworthy.core.errors import EXIT_OK, RoadworthyError, UsageError
from roadworthy.core.inputspec import parse_inputs
from roadworthy.core.jsonable import number
from roadworthy.core.reference import Reference
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Answers, Feed, Signature
from roadworthy.core.target import Target
from roadworthy.core.verdict import SelfCheck, Tolerance, Verdict
from roadworthy.graph.depth import arithmetic_depth
from roadworthy.pipeline.account import shape_labels
from roadworthy.pipeline.gather import check_contract, gather_samples
from roadworthy.pipeline.request import DEFAULT_TARGET
from roadworthy.source.given import GIVEN, given_reference
from roadworthy.source.onnx.source import OnnxSource
from roadworthy.source.opening import open_source
from roadworthy.verify.answers import Progress, silent, trusted_answers
from roadworthy.verify.cases import plan_cases
from roadworthy.verify.engine import tolerances, verify_engine, wrong_answers
from roadworthy.verify.metrics import compare_pair
from roadworthy.vision.preprocess import Preprocess


@dataclass(frozen=True)
class Judged:
    """One engine's verdict here."""

    target: str
    verdict: Verdict
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True when everything passed."""
        return self.verdict.passed


@dataclass(frozen=True)
class VerifyOutcome:
    """How a verification ended."""

    judged: tuple[Judged, ...]
    reference: str

    @property
    def error(self) -> RoadworthyError | None:
        """The first failed engine's error."""
        for item in self.judged:
            if not item.passed:
                return wrong_answers(item.verdict, item.target)
        return None

    @property
    def exit_code(self) -> int:
        """0 when every engine verified, else 3."""
        return EXIT_OK if self.error is None else self.error.exit_code

    def to_json(self) -> Mapping[str, Any]:
        """Return the `result` of the command line's JSON document."""
        return {
            "passed": self.error is None,
            "reference": self.reference,
            "targets": [
                {
                    "target": item.target,
                    "passed": item.passed,
                    "labels": item.labels,
                    "notes": item.notes,
                    "verdict": item.verdict,
                }
                for item in self.judged
            ],
        }


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


def verify_bundle(path: Path, target: str | None, progress: Progress) -> VerifyOutcome:
    """Run a bundle's engines here, on its own samples, against its own answers and tolerances.

    Where it keeps image files, its preprocessing is repeated from their bytes too.

    Args:
        path: the bundle.
        target: one engine only; None verifies all of them.
        progress: told what is being done.

    Raises:
        BundleError: it is damaged.
        UnavailableError: a runtime or device isn't here.
    """
    bundle = read_bundle(path)
    records = [bundle.record(target)] if target else list(bundle.manifest.engines)
    cases = [
        _KeptCase(record.name, record.derived, record.sizes, items)
        for record, items in bundle.cases()
    ]
    contract = _check_contract(bundle, [item for case in cases for item in case.items])
    judged = []
    for record in records:
        name = str(record.target)
        certificate = bundle.certificate(name)
        engine = bundle.engine(name)
        verdict = verify_engine(engine, cases, _limits(certificate), progress)
        verdict = replace(verdict, self_checks=(*verdict.self_checks, *contract))
        judged.append(Judged(name, verdict, tuple(certificate["labels"]), _differences(engine)))
    return VerifyOutcome(tuple(judged), "the bundle's stored answers")


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
    if bundle.preprocess is None:
        return ()
    contract = Preprocess.from_json(bundle.preprocess, f"{bundle.path}: preprocess.json")
    ranks = {spec.name: len(spec.shape) for spec in bundle.signature.inputs if spec.shape}
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


def _differences(engine: Engine) -> tuple[str, ...]:
    """Say where this machine isn't what the engine was verified on; it is judged here anew."""
    here = registry.find(engine.target.backend).fingerprint(engine.target)
    return tuple(
        f"verified with {key} {value}, here is {here[key]}"
        for key, value in engine.fingerprint.items()
        if key in here and here[key] != value
    )


def verify_model(
    model: str,
    samples: Any,
    *,
    reference: str | None = None,
    weights: Path | None = None,
    preprocess: Path | None = None,
    inputs: Sequence[str] = (),
    target: str | None = None,
    threads: int | None = None,
    trust: bool = False,
    progress: Progress = silent,
) -> VerifyOutcome:
    """Judge an ONNX model on a target.

    Args:
        model: `model.onnx`.
        samples: as for `deploy`.
        reference: an `.npz` of trusted answers, or another SOURCE whose network is trusted; None
            asks independent oracles.
        weights: of the reference, where that is a factory.
        preprocess: contract for images.
        inputs: `--inputs` specifications.
        target: where; None is the embedded default.
        threads: of one inference.
        trust: allow files to run code.
        progress: told what is being done.

    Raises:
        InputError: unreadable files, samples that don't fit.
        UnavailableError: the target isn't here, or refuses the model.
    """
    specs = parse_inputs(inputs)
    if weights is not None and (reference is None or reference.endswith(".npz")):
        raise UsageError(
            "there is no network to put these weights into",
            where=f"--weights {weights}",
            remedy="name its code too: --reference module.py:factory",
        )
    where = Target.parse(target or DEFAULT_TARGET)
    backend = registry.find(where.backend)
    source = open_source(model)
    if not isinstance(source, OnnxSource):
        raise UsageError(
            "verify judges what was made from a network: a bundle or an .onnx",
            where=model,
            remedy="roadworthy deploy takes the network itself",
        )
    found, contract = gather_samples(samples, source, specs, preprocess)
    signature = source.declared(specs)
    check_contract(
        contract, {i.name for i in signature.inputs}, {o.name for o in signature.outputs}
    )
    found.check(signature)
    judge = _reference(source, signature, found, reference, weights, trust, progress)
    cases = plan_cases(signature, found)
    with trusted_answers(judge, cases[:1] if judge.kind == GIVEN else cases, progress) as trusted:
        options = CompileOptions(threads=threads)
        engine = backend.compile(source.model, signature, where, options)
        limits = tolerances(trusted, arithmetic_depth(source.model))
        verdict = verify_engine(engine, trusted.cases, limits, progress)
        verdict = replace(verdict, seconds={**trusted.seconds, **verdict.seconds})
        notes = (*judge.notes, *trusted.notes)
    labels = (*shape_labels(found, signature), *judge.labels)
    return VerifyOutcome((Judged(str(where), verdict, labels, notes),), judge.judge.name)


def _reference(
    source: OnnxSource,
    signature: Signature,
    samples: Samples,
    reference: str | None,
    weights: Path | None,
    trust: bool,
    progress: Progress,
) -> Reference:
    """Return who judges: given answers, another network, or the model's own oracles."""
    if reference is None:
        return source.reference(signature, samples, progress)
    if reference.endswith(".npz"):
        return given_reference(Path(reference), samples, signature)
    other = open_source(reference, weights, trust=trust)
    return other.reference(signature, samples, progress)
