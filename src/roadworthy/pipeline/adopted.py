"""How a plan that somebody else built is judged: at which shapes, and by which tolerances.

Nobody told us what it was built in, so the tolerance follows what its layers tell. Where they tell
nothing it is judged as FP32, the strictest, unless the user states the precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from roadworthy.backends.base import Engine
from roadworthy.backends.tensorrt.plan import layer_count, precision_told, within_a_profile
from roadworthy.core.errors import UnavailableError, UsageError
from roadworthy.core.inputspec import InputSpec
from roadworthy.core.progress import Progress, silent
from roadworthy.core.signature import Signature, TensorSpec, dtype_name
from roadworthy.core.verdict import Tolerance, Verdict
from roadworthy.graph.depth import arithmetic_depth
from roadworthy.pipeline.account import shape_labels
from roadworthy.pipeline.gather import fitting, gather_samples
from roadworthy.pipeline.subjects import KnownInputs
from roadworthy.source.given import given_reference
from roadworthy.source.onnx.source import OnnxSource
from roadworthy.source.prepared import Source
from roadworthy.verify.answers import TrustedAnswers, trusted_answers
from roadworthy.verify.cases import Case, plan_cases
from roadworthy.verify.engine import tolerances, verify_engine
from roadworthy.verify.tolerance import UNIT_ROUNDOFF


def judged_precision(engine: Engine, stated: str | None) -> tuple[str, str]:
    """Return the precision that a plan is judged as, and why.

    Args:
        engine: the adopted plan.
        stated: what the user says that it was built in; None takes what the plan tells.

    Raises:
        UsageError: the plan tells another precision itself, or `stated` is none.
        UnavailableError: a precision whose error isn't known.
    """
    told = precision_told(engine.proof)
    known = ("fp32", *UNIT_ROUNDOFF)
    if stated is not None and stated not in known:
        raise UsageError(
            f"{stated!r} isn't a precision that a plan can be judged as",
            where="--precision",
            remedy=f"choose one of: {', '.join(known)}",
        )
    if stated is not None and told.sure and stated != told.precision:
        raise UsageError(
            f"{stated} was stated, but {told.why}",
            where="--precision",
            remedy="leave it out: the plan tells its precision itself",
        )
    if stated is not None:
        return stated, f"{stated} was stated with --precision"
    if told.precision not in known:
        raise UnavailableError(
            f"{told.why}, and no error is known that answers in it may have",
            where=str(engine.target),
            remedy="deploy the network itself: it is judged by --budget mvre=LIMIT",
        )
    return told.precision, told.why if told.sure else f"{told.why}: judged as {told.precision}"


def plan_limits(
    engine: Engine, trusted: TrustedAnswers, depth: int | None, precision: str, why: str
) -> dict[str, Tolerance]:
    """Return the tolerance of every output of a plan, each with the whole of its origin.

    Args:
        engine: the adopted plan.
        trusted: the reference's answers with their noise.
        depth: arithmetic depth of the reference's graph; None where there is no graph: then the
            number of the plan's layers stands for it.
        precision: see `judged_precision`.
        why: likewise.
    """
    origin = why
    if depth is None:
        depth = layer_count(engine.proof)
        origin += "; its layers were counted for the depth"
    found = tolerances(trusted, depth, precision)
    return {
        name: replace(tolerance, origin=f"{tolerance.origin}; {origin}")
        for name, tolerance in found.items()
    }


def unsure_note(engine: Engine, stated: str | None) -> tuple[str, ...]:
    """Return what a reader must know where the plan doesn't tell its precision."""
    told = precision_told(engine.proof)
    if told.sure or stated is not None:
        return ()
    return (
        f"{told.why}, so it was judged as fp32; if it was built with less, say which: "
        "--precision tf32, fp16 or bf16",
    )


def with_int64(signature: Signature, dtypes: Mapping[str, str]) -> Signature:
    """Return a plan's signature with int64 where the reference has it and the plan has int32.

    TensorRT before 10 has no int64 and builds int32 in its place; its runtime here converts, and
    refuses what doesn't fit.

    Args:
        signature: the plan's.
        dtypes: of the reference's inputs and outputs by name, as far as they are known.
    """

    def retyped(spec: TensorSpec) -> TensorSpec:
        narrow = spec.dtype == "int32" and dtypes.get(spec.name) == "int64"
        return replace(spec, dtype="int64") if narrow else spec

    return Signature(tuple(map(retyped, signature.inputs)), tuple(map(retyped, signature.outputs)))


def planned_for(
    proof: Mapping[str, Any], cases: Sequence[Case]
) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """Return the cases that one of the plan's profiles takes, and a note for each other one.

    The samples themselves are never left out: that they don't fit is a failure.
    """
    kept, notes = [], []
    for case in cases:
        if not case.derived or within_a_profile(proof, case.signature.shapes(case.sizes)):
            kept.append(case)
        else:
            notes.append(f"case {case.name} was not judged: no profile of the plan takes its sizes")
    return tuple(kept), tuple(notes)


@dataclass(frozen=True)
class PlanJudgement:
    """How a plan was judged: the verdict, and what its reader must know."""

    verdict: Verdict
    judge: str
    labels: tuple[str, ...]
    notes: tuple[str, ...]


def judge_plan(
    engine: Engine,
    samples: Any,
    specs: Sequence[InputSpec],
    trusted: Source | Path,
    preprocess: Path | None = None,
    precision: str | None = None,
    progress: Progress = silent,
) -> PlanJudgement:
    """Judge a plan against another network, or against given answers.

    Args:
        engine: the adopted plan, its signature narrowed to `specs`.
        samples: as for `deploy`.
        specs: `--inputs` specifications.
        trusted: the network whose answers are right, or an `.npz` of answers.
        preprocess: contract for images.
        precision: see `judged_precision`.
        progress: told what is being done.

    Raises:
        InputError: samples or answers that don't fit.
        RoadworthyError: as of `judged_precision`, the reference and the engine.
    """
    judged_as, why = judged_precision(engine, precision)
    depth = None
    if isinstance(trusted, OnnxSource):
        depth = arithmetic_depth(trusted.model)
        dtypes = {spec.name: spec.dtype for spec in trusted.signature}
        engine = replace(engine, signature=with_int64(engine.signature, dtypes))
    signature = engine.signature
    known = KnownInputs(signature)
    found, contract = gather_samples(samples, known, specs, preprocess)
    fitting(found, known, specs, contract)
    cases, unplanned = planned_for(engine.proof, plan_cases(signature, found))
    if isinstance(trusted, Path):
        reference = given_reference(trusted, found, signature)
        cases, unplanned = cases[:1], ()
    else:
        reference = trusted.reference(signature, found, progress)
    with trusted_answers(reference, cases, progress) as answers:
        _, _, first = next(answers.cases[0].pairs())
        dtypes = {name: dtype_name(array.dtype) for name, array in first.items()}
        engine = replace(engine, signature=with_int64(signature, dtypes))
        limits = plan_limits(engine, answers, depth, judged_as, why)
        verdict = verify_engine(engine, answers.cases, limits, progress)
        verdict = replace(verdict, seconds={**answers.seconds, **verdict.seconds})
        notes = (*unsure_note(engine, precision), *unplanned, *reference.notes, *answers.notes)
    labels = (*shape_labels(found, signature), *reference.labels)
    return PlanJudgement(verdict, reference.judge.name, labels, notes)
