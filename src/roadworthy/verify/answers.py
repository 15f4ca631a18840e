"""The reference's answers for every case, computed once, kept on disk, with their noise floor."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from roadworthy.core.closing import Closing
from roadworthy.core.errors import (
    InputError,
    OraclesDisagreeError,
    RoadworthyError,
    UsageError,
)
from roadworthy.core.progress import Progress, silent
from roadworthy.core.reference import Oracle, Reference
from roadworthy.core.signature import Answers, Array, Feed, dtype_name
from roadworthy.verify.cases import Case
from roadworthy.verify.metrics import compare_pair
from roadworthy.verify.stored import Store, Stored
from roadworthy.verify.tolerance import PARTS_NOISE, is_floating

# FP64 is run on this many feeds per case at most, evenly spread, and not on cases whose inputs
# are this many times the samples' size: the noise floor doesn't need them and they cost most.
FINE_FEEDS = 16
FINE_SIZE_FACTOR = 8

# How far two answers to one input may be apart: sums in another order, in FP32.
_REPEATED = 1e-6
# What an output had at most, over all cases.
_EMPTY, _ONLY_NAN, _NUMBERS = 0, 1, 2


class JudgedCase(Protocol):
    """One setting of the symbolic axes, with inputs and the answers that are trusted for them."""

    @property
    def name(self) -> str:
        """See `core.verdict.CaseVerdict.case`."""
        ...

    @property
    def derived(self) -> bool:
        """True when the inputs were made from the samples."""
        ...

    @property
    def sizes(self) -> Mapping[str, int]:
        """The symbolic axes' sizes."""
        ...

    def __len__(self) -> int: ...

    def pairs(self) -> Iterator[tuple[str, Feed, Answers]]:
        """Yield (sample name, feed, trusted answers), one at a time."""
        ...


@dataclass(frozen=True)
class AnsweredCase:
    """A planned case with the reference's answers, in the order of its feeds."""

    case: Case
    _answers: tuple[dict[str, Stored], ...]

    @property
    def name(self) -> str:
        """See `JudgedCase`."""
        return self.case.name

    @property
    def derived(self) -> bool:
        """See `JudgedCase`."""
        return self.case.derived

    @property
    def sizes(self) -> Mapping[str, int]:
        """See `JudgedCase`."""
        return self.case.sizes

    def __len__(self) -> int:
        return len(self._answers)

    def elements(self) -> Iterator[tuple[str, int]]:
        """Yield (output, number of elements) of every answer; none of them is loaded."""
        for stored in self._answers:
            for output, item in stored.items():
                yield output, math.prod(item.shape)

    def pairs(self) -> Iterator[tuple[str, Feed, Answers]]:
        """Yield (sample name, feed, reference answers), one at a time."""
        for (name, feed), stored in zip(self.case.feeds(), self._answers, strict=True):
            yield name, feed, {output: item.load() for output, item in stored.items()}


@dataclass
class TrustedAnswers(Closing):
    """What engines are judged by. Use in a `with` block: the answers live in a scratch folder.

    Attributes:
        cases: every case that the reference could compute, the samples first.
        noise: per output the worst FP32-against-FP64 difference seen (relative L2, or the share of
            differing elements); None where FP64 couldn't be had.
        noisy_parts: outputs with a part on a smaller scale that FP32 itself knows too badly to
            judge it in a reduced precision.
        notes: what was left out and why.
        seconds: time spent in the judge and in FP64, reported apart from the comparison.
    """

    cases: tuple[AnsweredCase, ...] = ()
    noise: dict[str, float | None] = field(default_factory=dict)
    noisy_parts: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    _fine_failures: dict[str, int] = field(default_factory=dict, repr=False)
    _seen: dict[str, int] = field(default_factory=dict, repr=False)
    _store: Store = field(default_factory=Store, repr=False)

    def fewest_elements(self) -> dict[str, int]:
        """Return, per output, how many elements its smallest answer has that has any."""
        found: dict[str, int] = {}
        for name, count in (pair for case in self.cases for pair in case.elements()):
            if count:
                found[name] = min(count, found.get(name, count))
        return found

    def close(self) -> None:
        """Delete the answers. May be called twice."""
        self._store.close()


def trusted_answers(
    reference: Reference, cases: Sequence[Case], progress: Progress = silent
) -> TrustedAnswers:
    """Run the reference over every case.

    Raises:
        InputError: the reference fails on the samples, an output is NaN in every case, or the
            first sample is answered otherwise after all the others.
        OraclesDisagreeError: independent implementations contradict each other at some size.
        UsageError: the reference fails at a size that `--inputs` allows.
    """
    trusted = TrustedAnswers()
    try:
        judged = [_judge_case(trusted, reference, case, progress) for case in cases]
        trusted.cases = tuple(case for case in judged if case is not None)
        _require_numbers(trusted, reference.judge.name)
        _require_no_memory(trusted.cases, reference.judge)
    except BaseException:
        trusted.close()
        raise
    trusted.notes += [
        f"output {name!r} has a part of much smaller values than the rest that isn't judged by "
        "itself: FP32's own noise is too large there"
        for name in sorted(trusted.noisy_parts)
    ]
    trusted.notes += [
        f"FP64 couldn't be had for {count} feeds: {reason}"
        for reason, count in trusted._fine_failures.items()
    ]
    return trusted


def _require_numbers(trusted: TrustedAnswers, judge: str) -> None:
    """Refuse an output that is always NaN, and note one that is always empty.

    Any engine that gives NaN there, or nothing, would agree.
    """
    empty = [name for name, kind in trusted._seen.items() if kind == _EMPTY]
    trusted.notes += [
        f"output {name!r} was empty in every case: its shape was judged, and no value of it"
        for name in empty
    ]
    never = [name for name, kind in trusted._seen.items() if kind == _ONLY_NAN]
    if never:
        raise InputError(
            f"the network's own output {never[0]!r} is NaN throughout, on every "
            "sample: nothing can be proven by it",
            where=judge,
            remedy="look for NaN in the weights and in the samples, and for a mask that hides all",
        )


def _require_no_memory(cases: Sequence[AnsweredCase], judge: Oracle) -> None:
    """Run the first sample again, now that the network has seen all the others.

    One that keeps something of them answers otherwise; an engine can't, and which of the network's
    answers would be the right one? Run twice in a row it may well have repeated itself.
    """
    name, feed, before = next(cases[0].pairs())
    after = judge.run(feed)
    for output, array in before.items():
        if not _is_the_same(array, after[output]):
            raise InputError(
                f"output {output!r} of sample {name} is another one after the other samples: the "
                "network keeps something of what it has seen, or draws random numbers",
                where=judge.name,
                remedy="take the memory or randomness out of forward() in eval mode, or make it an "
                "input and an output",
            )


def _is_the_same(one: Array, two: Array) -> bool:
    """Tell whether two answers to one input differ by rounding at most."""
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    if np.array_equal(one, two, equal_nan=one.dtype.kind in "fc"):
        return True
    if not is_floating(dtype_name(one.dtype)):
        return False
    found = compare_pair(one, two)
    return found.relative_l2 <= _REPEATED and not found.nonfinite


def _see(trusted: TrustedAnswers, answers: Answers) -> None:
    """Remember of every output the most that it had: nothing, only NaN, or numbers."""
    for name, array in answers.items():
        kind = _EMPTY if array.size == 0 else _NUMBERS
        if array.size and is_floating(dtype_name(array.dtype)):
            kind = _ONLY_NAN if np.isnan(array).all() else _NUMBERS
        trusted._seen[name] = max(kind, trusted._seen.get(name, _EMPTY))


def _judge_case(
    trusted: TrustedAnswers, reference: Reference, case: Case, progress: Progress
) -> AnsweredCase | None:
    stored: list[dict[str, Stored]] = []
    fine_feeds = _fine_indices(case, trusted)
    for index, (name, feed) in enumerate(case.feeds()):
        progress(f"reference: {case.name}", index / len(case))
        started = time.perf_counter()
        answers = _run_judge(trusted, reference.judge, case, name, feed)
        if answers is None:
            return None
        _spend(trusted, "reference", started)
        _see(trusted, answers)
        stored.append(trusted._store.put(answers))
        if reference.fine is not None and index in fine_feeds:
            started = time.perf_counter()
            finer = _finer(trusted, reference.fine, feed, answers)
            if finer is not None:
                _require_agreement(reference, case, name, answers, finer)
                _note_noise(trusted, answers, finer)
            _spend(trusted, "fp64", started)
        else:
            for output in answers:
                trusted.noise.setdefault(output, None)
    return AnsweredCase(case, tuple(stored))


def _run_judge(
    trusted: TrustedAnswers, judge: Oracle, case: Case, name: str, feed: Feed
) -> Answers | None:
    """Run the judge; None when it refuses an uncertain case, which is then left out and said."""
    try:
        answers = judge.run(feed)
    except RoadworthyError as error:
        if not case.certain:
            trusted.notes.append(
                f"sizes {case.sizes} were not judged: the network itself refuses them "
                f"({error.what}); state the allowed range with --inputs"
            )
            return None
        if case.derived:
            raise UsageError(
                f"the network itself fails at sizes that are allowed: {case.sizes}: {error.what}",
                where=f"{judge.name}, case {case.name}",
                remedy="narrow the ranges in --inputs, or give them a step",
            ) from error
        raise InputError(
            f"the reference can't be computed for sample {name}: {error.what}",
            where=judge.name,
            remedy=error.remedy or "check the samples against what the network takes",
        ) from error
    if not answers:
        raise UsageError("the network has no outputs", where=judge.name)
    return answers


def _fine_indices(case: Case, trusted: TrustedAnswers) -> frozenset[int]:
    """Return the feeds of a case to run in FP64 too."""
    base = case.samples[0]
    usual = sum(int(np.prod(array.shape)) for array in base.values())
    if case.derived and case.elements > FINE_SIZE_FACTOR * max(usual, 1):
        trusted.notes.append(f"case {case.name} was not run in FP64: too large for what it adds")
        return frozenset()
    count = min(FINE_FEEDS, len(case))
    if count < len(case):
        trusted.notes.append(f"FP64 was run on {count} of the {len(case)} feeds of {case.name}")
    return frozenset(index * len(case) // count for index in range(count))


def _finer(trusted: TrustedAnswers, fine: Oracle, feed: Feed, answers: Answers) -> Answers | None:
    """Return what FP64 answers; None, and noted, where it can't."""
    try:
        return fine.run(feed)
    except RoadworthyError as error:
        seen = trusted._fine_failures.get(error.what, 0)
        trusted._fine_failures[error.what] = seen + 1
        for output in answers:
            trusted.noise.setdefault(output, None)
        return None


def _require_agreement(
    reference: Reference, case: Case, name: str, answers: Answers, finer: Answers
) -> None:
    """Refuse what two independent implementations compute differently at some size only."""
    if reference.contradiction is None or reference.fine is None:
        return
    for output in answers.keys() & finer.keys():
        one, two = answers[output], finer[output]
        floating = is_floating(dtype_name(one.dtype))
        apart = _difference(two, one) if floating or one.shape != two.shape else 0.0
        if not apart <= reference.contradiction:
            how = f"by {apart:.3g}" if one.shape == two.shape else "in shape"
            raise OraclesDisagreeError(
                f"two trusted implementations contradict each other on output {output!r}: "
                f"{reference.judge.name} and {reference.fine.name} differ {how}",
                where=f"case {case.name}, {name}, sizes {dict(case.sizes)}",
                remedy="give trusted answers: --reference FILE.npz, or the source framework; or "
                "narrow the ranges in --inputs",
            )


def _note_noise(trusted: TrustedAnswers, answers: Answers, finer: Answers) -> None:
    for output, array in answers.items():
        if output not in finer:
            trusted.noise.setdefault(output, None)
            continue
        known = trusted.noise.get(output)
        noise, of_parts = _differences(finer[output], array)
        trusted.noise[output] = max(known or 0.0, noise)
        if of_parts > PARTS_NOISE:
            trusted.noisy_parts.add(output)


def _difference(fine: Array, array: Array) -> float:
    """Return the noise of one FP32 output: relative L2, or the share of differing elements."""
    return _differences(fine, array)[0]


def _differences(fine: Array, array: Array) -> tuple[float, float]:
    """Return the noise of one FP32 output, and that of its parts on smaller scales."""
    if fine.shape != array.shape:
        return math.inf, math.inf
    if not is_floating(dtype_name(array.dtype)):
        return compare_pair(fine.astype(array.dtype), array).mismatch_share, 0.0
    wide = np.complex128 if array.dtype.kind == "c" else np.float64
    found = compare_pair(fine.astype(wide), array.astype(wide))
    return found.relative_l2, found.parts_l2


def _spend(trusted: TrustedAnswers, what: str, started: float) -> None:
    trusted.seconds[what] = trusted.seconds.get(what, 0.0) + time.perf_counter() - started
