"""Verify a model against what the user trusts; `verify_bundle.py` has the bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from roadworthy.backends import registry
from roadworthy.backends.base import CompileOptions
from roadworthy.core.errors import EXIT_OK, RoadworthyError, UsageError, worst_exit_code
from roadworthy.core.inputspec import parse_inputs
from roadworthy.core.npz import read_npz
from roadworthy.core.progress import Progress, silent
from roadworthy.core.reference import Reference
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Signature
from roadworthy.core.target import Target
from roadworthy.core.verdict import Verdict
from roadworthy.graph.depth import arithmetic_depth
from roadworthy.graph.quantised import is_quantised
from roadworthy.pipeline.account import shape_labels
from roadworthy.pipeline.adopted import judge_plan
from roadworthy.pipeline.dialects import has_dialect
from roadworthy.pipeline.gather import fitting, gather_samples, require_samples
from roadworthy.pipeline.lowering import quantised_limits
from roadworthy.pipeline.request import DEFAULT_TARGET
from roadworthy.pipeline.subjects import open_runnable, plan_target
from roadworthy.source.given import GIVEN, given_reference
from roadworthy.source.onnx.source import OnnxSource
from roadworthy.source.opening import is_plan, open_onnx, open_source
from roadworthy.source.prepared import Source
from roadworthy.verify.answers import trusted_answers
from roadworthy.verify.cases import plan_cases
from roadworthy.verify.engine import tolerances, verify_engine, wrong_answers


@dataclass(frozen=True)
class Judged:
    """One engine's verdict here; `rebuilt` says why it was built anew, None where it wasn't."""

    target: str
    verdict: Verdict
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rebuilt: str | None = None

    @property
    def passed(self) -> bool:
        """True when everything passed."""
        return self.verdict.passed

    @property
    def error(self) -> RoadworthyError | None:
        """What failed; None when everything passed."""
        return None if self.passed else wrong_answers(self.verdict, self.target)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            **_ended(self.target, self.error),
            "labels": self.labels,
            "notes": self.notes,
            "rebuilt": self.rebuilt,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class NotJudged:
    """One engine that isn't to be had here, and why."""

    target: str
    error: RoadworthyError

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, that of `Judged` without a verdict."""
        ended = _ended(self.target, self.error)
        return {**ended, "labels": [], "notes": [], "rebuilt": None, "verdict": None}


def _ended(target: str, error: RoadworthyError | None) -> dict[str, Any]:
    return {
        "target": target,
        "passed": error is None,
        "exit_code": EXIT_OK if error is None else error.exit_code,
        "error": None if error is None else error.to_json(),
    }


@dataclass(frozen=True)
class VerifyOutcome:
    """How a verification ended, engine by engine."""

    results: tuple[Judged | NotJudged, ...]
    reference: str

    @property
    def judged(self) -> tuple[Judged, ...]:
        """The engines that could be judged."""
        return tuple(item for item in self.results if isinstance(item, Judged))

    @property
    def error(self) -> RoadworthyError | None:
        """The error that the exit code stands for."""
        for item in self.results:
            if item.error is not None and item.error.exit_code == self.exit_code:
                return item.error
        return None

    @property
    def exit_code(self) -> int:
        """0 when every engine verified; 3 for wrong answers, else what the others' errors mean."""
        return worst_exit_code([r.error.exit_code for r in self.results if r.error is not None])

    def to_json(self) -> Mapping[str, Any]:
        """Return the `result` of the command line's JSON document."""
        return {
            "passed": self.error is None,
            "reference": self.reference,
            "targets": [item.to_json() for item in self.results],
        }


def verify_model(
    model: str,
    samples: Any,
    *,
    reference: str | None = None,
    weights: Path | None = None,
    preprocess: Path | None = None,
    inputs: Sequence[str] = (),
    target: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    trust: bool = False,
    progress: Progress = silent,
) -> VerifyOutcome:
    """Judge an ONNX model on a target, or a plan that somebody built.

    Args:
        model: `model.onnx`, or `old.plan`.
        samples: as for `deploy`.
        reference: an `.npz` of trusted answers, or another SOURCE whose network is trusted; None
            asks independent oracles. A plan has none: it needs a reference.
        weights: of the reference, where that is a factory.
        preprocess: contract for images.
        inputs: `--inputs` specifications.
        target: where; None is the embedded default, or TensorRT for a plan.
        precision: what a plan was built in, where it doesn't tell that itself.
        threads: of one inference.
        trust: allow files to run code.
        progress: told what is being done.

    Raises:
        UsageError: options that don't go together, a plan without a reference.
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
    if is_plan(model):
        plan_target(model, target)
        require_samples(samples)
        trusted_by = _judge_of_plan(model, reference, weights, trust)
        plan = open_runnable(model, target=target, specs=specs).engine()
        said = judge_plan(plan, samples, specs, trusted_by, preprocess, precision, progress)
        judged = Judged(str(plan.target), said.verdict, said.labels, said.notes)
        return VerifyOutcome((judged,), said.judge)
    if precision is not None:
        raise UsageError(
            "a precision is stated of plans only; an .onnx is compiled in FP32",
            where=f"--precision {precision}",
            remedy="leave it out; or deploy the network in that precision",
        )
    where = Target.parse(target or DEFAULT_TARGET)
    backend = registry.find(where.backend)
    source = open_onnx(
        model,
        "verify judges what was made from a network: a bundle, an .onnx or a .plan",
        "roadworthy deploy takes the network itself",
    )
    found, contract = gather_samples(samples, source, specs, preprocess)
    signature = fitting(found, source, specs, contract)
    judge = _reference(source, signature, found, reference, weights, trust, progress)
    cases = plan_cases(signature, found)
    with trusted_answers(judge, cases[:1] if judge.kind == GIVEN else cases, progress) as trusted:
        quantised = is_quantised(source.model)
        # A backend without INT8 of its own may still compute the graph as it is written.
        stated = "int8" if quantised and has_dialect(where) else "fp32"
        options = CompileOptions(precision=stated, threads=threads)
        engine = backend.compile(source.model, signature, where, options)
        limits = tolerances(trusted, arithmetic_depth(source.model))
        if quantised and reference is not None:
            limits = quantised_limits(source.model, signature, trusted, limits, progress, model)
        elif quantised:
            # Its own oracles compute the Q/DQ literally; a runtime rounds at other places.
            limits = tolerances(trusted, arithmetic_depth(source.model), "int8")
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


def _judge_of_plan(
    plan: str, reference: str | None, weights: Path | None, trust: bool
) -> Source | Path:
    """Return who judges a plan. Opened before the plan: what is wrong here needs no TensorRT."""
    if reference is None:
        raise UsageError(
            "a plan holds no network that could be asked for the right answers",
            where=plan,
            remedy="say what is right: --reference answers.npz, model.onnx or module.py:factory",
        )
    if reference.endswith(".npz"):
        read_npz(Path(reference))
        return Path(reference)
    return open_source(reference, weights, trust=trust)
