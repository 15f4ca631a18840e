"""Judge an engine: every case against the trusted answers, then the self-checks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from roadworthy.backends.base import Engine
from roadworthy.backends.session import Session
from roadworthy.core.errors import DiedError, RoadworthyError, UsageError, WrongAnswersError
from roadworthy.core.progress import Progress, silent
from roadworthy.core.signature import dtype_name
from roadworthy.core.verdict import CaseVerdict, Tolerance, Verdict
from roadworthy.verify.answers import JudgedCase, TrustedAnswers
from roadworthy.verify.judge import OutputJudge, judge_answers
from roadworthy.verify.selfcheck import self_checks
from roadworthy.verify.tolerance import tolerance_for

_SELF_CHECK_FEEDS = 4


def tolerances(
    trusted: TrustedAnswers, depth: int, precision: str = "fp32"
) -> dict[str, Tolerance]:
    """Return the tolerance of every output.

    Args:
        trusted: the reference's answers with their noise.
        depth: see `graph.depth.arithmetic_depth`.
        precision: what the engine was built in.
    """
    _, _, answers = next(trusted.cases[0].pairs())
    found = {
        name: tolerance_for(dtype_name(array.dtype), trusted.noise.get(name), depth, precision)
        for name, array in answers.items()
    }
    noisy = {name: replace(found[name], parts=False) for name in trusted.noisy_parts}
    return {**found, **noisy}


def ignored(_text: str) -> None:
    """Take a note and do nothing."""


def verify_engine(
    engine: Engine,
    cases: Sequence[JudgedCase],
    limits: Mapping[str, Tolerance],
    progress: Progress = silent,
    note: Callable[[str], None] = ignored,
) -> Verdict:
    """Judge the very engine that ships at every case; failures are in the verdict, not raised.

    Args:
        engine: is opened here.
        cases: at least one, the samples first: the self-checks take their inputs from it.
        limits: the tolerance of every output that is judged.
        progress: told what is being done.
        note: told what the engine says of itself: where this machine differs, what didn't go as
            intended.

    Raises:
        DiedError: its worker died, so that there is nothing to judge; says at which sample.
    """
    judged = judge_cases(engine, cases, limits, progress, note)
    started = time.perf_counter()
    progress("self-checks", 0.0)
    feeds = [feed for _, feed, _ in islice(cases[0].pairs(), _SELF_CHECK_FEEDS)]
    checks = self_checks(engine, feeds, limits)
    seconds = {**judged.seconds, "self_checks": time.perf_counter() - started}
    return Verdict(judged.cases, checks, seconds)


def judge_cases(
    engine: Engine,
    cases: Sequence[JudgedCase],
    limits: Mapping[str, Tolerance],
    progress: Progress = silent,
    note: Callable[[str], None] = ignored,
) -> Verdict:
    """Judge an engine at every case, without the self-checks; arguments as of `verify_engine`.

    Raises:
        UsageError: an output has no tolerance, so that it would pass unseen.
    """
    unjudged = [spec.name for spec in engine.signature.outputs if spec.name not in limits]
    if unjudged:
        raise UsageError(
            f"there are no trusted answers for the outputs {unjudged}",
            where=str(engine.target),
            remedy="give answers for every output of the network",
        )
    seconds = {"engine": 0.0, "compare": 0.0}
    with engine.open() as session:
        verdicts = tuple(_judge_case(session, case, limits, seconds, progress) for case in cases)
        for text in session.notes:
            note(text)
    return Verdict(verdicts, (), seconds)


def _judge_case(
    session: Session,
    case: JudgedCase,
    limits: Mapping[str, Tolerance],
    seconds: dict[str, float],
    progress: Progress,
) -> CaseVerdict:
    judges = {name: OutputJudge(name, limit) for name, limit in limits.items()}
    failures: list[str] = []
    count = 0
    for name, feed, expected in case.pairs():
        progress(f"verify: {case.name}", count / len(case))
        started = time.perf_counter()
        try:
            answers = session.run(feed)
        except DiedError as error:
            # No verdict: whoever is dead has given no wrong answer, and gives no other one either.
            at = f"case {case.name}, sample {name}"
            where = f"{error.where}; {at}" if error.where else at
            raise DiedError(error.what, where=where, remedy=error.remedy) from error
        except RoadworthyError as error:
            failures.append(f"sample {name}: the engine gave no answer: {error.what}")
            continue
        ran = time.perf_counter()
        judge_answers(judges, name, expected, answers)
        seconds["engine"] += ran - started
        seconds["compare"] += time.perf_counter() - ran
        count += 1
    outputs = tuple(judge.verdict() for judge in judges.values()) if count else ()
    return CaseVerdict(
        case.name, case.derived, dict(case.sizes), count, outputs, tuple(failures[:8])
    )


def require_pass(verdict: Verdict, where: str) -> None:
    """Raise `WrongAnswersError` with the failures unless everything passed."""
    if not verdict.passed:
        raise wrong_answers(verdict, where)


def wrong_answers(verdict: Verdict, where: str) -> RoadworthyError:
    """Return the error that tells the first failures of a verdict."""
    failures = verdict.failures
    more = f" (and {len(failures) - 3} more)" if len(failures) > 3 else ""
    return WrongAnswersError(
        "verification failed: " + "; ".join(failures[:3]) + more,
        where=where,
        remedy="the engine is not shipped; the certificate lists every failure",
    )
