"""Collect the comparisons of one output over all samples of a case, then pass or fail it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from roadworthy.core.signature import Answers, Array, dtype_name
from roadworthy.core.verdict import METRIC_NAMES, Metrics, OutputVerdict, Tolerance
from roadworthy.verify.metrics import EQUAL, PairMetrics, compare_pair
from roadworthy.verify.tolerance import PARTS_CEILING


@dataclass
class OutputJudge:
    """Judges one output. Feed it every sample with `add`, then ask for the `verdict`."""

    name: str
    tolerance: Tolerance
    _pairs: list[tuple[str, PairMetrics]] = field(default_factory=list)
    _failures: list[str] = field(default_factory=list)

    def add(self, sample: str, reference: Array, answer: Array | None) -> None:
        """Compare one sample's answer with its reference; anything missing is a failure."""
        if answer is None:
            self._failures.append(f"sample {sample}: the engine gave no such output")
            return
        if answer.shape != reference.shape:
            self._failures.append(
                f"sample {sample}: shape {list(answer.shape)} instead of {list(reference.shape)}"
            )
            return
        if dtype_name(answer.dtype) != dtype_name(reference.dtype):
            self._failures.append(
                f"sample {sample}: dtype {answer.dtype} instead of {reference.dtype}"
            )
            return
        pair = compare_pair(reference, answer)
        self._pairs.append((sample, pair))
        failures = [*_absolute_failures(pair), *_parts_failures(pair, self.tolerance)]
        self._failures += [f"sample {sample}: {text}" for text in failures]

    def verdict(self) -> OutputVerdict:
        """Return the judgement over everything added; nothing added is a failure."""
        failures = list(self._failures)
        if not self._pairs and not failures:
            failures.append("nothing was compared")
        metrics = self._worst()
        value: float = getattr(metrics, self.tolerance.metric)
        # `not ≤` so that a NaN fails.
        if not value <= self.tolerance.limit:
            name = METRIC_NAMES[self.tolerance.metric]
            failures.append(
                f"{name} {value:.3g} is above the tolerance {self.tolerance.limit:.3g} "
                f"({self.tolerance.origin}), worst at sample {metrics.worst_sample}"
            )
        return OutputVerdict(self.name, metrics, self.tolerance, tuple(failures))

    def _worst(self) -> Metrics:
        pairs = self._pairs or [("none", EQUAL)]
        judged = [getattr(pair, self.tolerance.metric) for _, pair in pairs]
        worst_sample, _ = pairs[judged.index(_worst_of(judged))]
        values = [pair for _, pair in pairs]
        return Metrics(
            mvre=_worst_of([pair.mvre for pair in values]),
            max_abs=_worst_of([pair.max_abs for pair in values]),
            relative_l2=_worst_of([pair.relative_l2 for pair in values]),
            cosine=-_worst_of([-pair.cosine for pair in values]),
            sqnr_db=-_worst_of([-pair.sqnr_db for pair in values]),
            mismatch_share=_worst_of([pair.mismatch_share for pair in values]),
            bit_equal=all(pair.bit_equal for pair in values),
            worst_sample=worst_sample,
        )


def _worst_of(values: list[float]) -> float:
    """Return the largest, or the first NaN: `max` keeps or loses a NaN by its place."""
    return next((value for value in values if math.isnan(value)), max(values))


def _absolute_failures(pair: PairMetrics) -> list[str]:
    """What no tolerance excuses: answers that are zero, constant or non-finite on their own."""
    found = []
    if pair.nonfinite:
        found.append(f"{pair.nonfinite} values are NaN or infinite unlike the reference's")
    if pair.all_zero:
        found.append("all zeros, the reference isn't")
    elif pair.constant:
        found.append("constant, the reference isn't")
    return found


def _parts_failures(pair: PairMetrics, tolerance: Tolerance) -> list[str]:
    """What is lost on a smaller scale than the rest of the output, whose error hides it."""
    # `not ≤` so that a NaN fails.
    if not tolerance.parts or pair.parts_l2 <= PARTS_CEILING:
        return []
    return [
        f"a part of much smaller values than the rest has relative L2 {pair.parts_l2:.3g}: more "
        f"than {PARTS_CEILING} isn't the same network any more"
    ]


def judge_answers(
    judges: dict[str, OutputJudge], sample: str, reference: Answers, answers: Answers
) -> None:
    """Add one sample to every output's judge."""
    for name, expected in reference.items():
        judges[name].add(sample, expected, answers.get(name))
