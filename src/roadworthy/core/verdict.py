"""Pass or fail, the numbers, the tolerance, and where the tolerance comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

Metric = Literal["relative_l2", "mismatch_share"]
METRIC_NAMES = {"relative_l2": "relative L2", "mismatch_share": "share that differs"}
"""What people call the metrics that outputs are judged by."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The limit that an output is judged by.

    `metric` is "relative_l2" for floating outputs and "mismatch_share" (share of elements that
    differ) for the others. `origin` says where the number comes from, in one sentence. `parts`:
    what is on a much smaller scale than the rest of the output is judged by itself, too.
    """

    metric: Metric
    limit: float
    origin: str
    parts: bool = True


@dataclass(frozen=True, slots=True)
class Metrics:
    """How far one output is from its reference; all over finite reference values, in float64.

    Attributes:
        mvre: mean(|y - r| / max(|r|, f)), f = 1e-3 · RMS(r), the worst sample's.
        max_abs: largest |y - r|.
        relative_l2: ‖y - r‖ / ‖r‖, the worst sample's.
        cosine: cosine of the angle between y and r, the worst sample's.
        sqnr_db: 20·log10(‖r‖ / ‖y - r‖), the worst sample's, inf when equal.
        mismatch_share: share of elements that differ at all, the worst sample's.
        bit_equal: every sample is equal to the last bit.
        worst_sample: the name of the sample with the largest relative L2 (or mismatch share).
    """

    mvre: float
    max_abs: float
    relative_l2: float
    cosine: float
    sqnr_db: float
    mismatch_share: float
    bit_equal: bool
    worst_sample: str


@dataclass(frozen=True, slots=True)
class OutputVerdict:
    """The judgement of one output over all samples of one case; `failures` is empty on a pass."""

    name: str
    metrics: Metrics
    tolerance: Tolerance
    failures: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True when nothing failed."""
        return not self.failures


@dataclass(frozen=True, slots=True)
class CaseVerdict:
    """The judgement at one setting of the symbolic axes.

    `case` is "samples" or one that `verify.cases` derives; `derived` says that the inputs
    were cropped, tiled or mixed from the samples; `sizes` are the symbolic axes' sizes; `failures`
    are those that concern no single output (the engine raised, an output is missing).
    """

    case: str
    derived: bool
    sizes: dict[str, int]
    samples: int
    outputs: tuple[OutputVerdict, ...]
    failures: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True when nothing failed and something was judged."""
        return not self.failures and bool(self.outputs) and all(o.passed for o in self.outputs)


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """One check that needs no reference: its name, whether it held, and what was seen."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """All that was judged of one engine. It passes only if every part of it does."""

    cases: tuple[CaseVerdict, ...]
    self_checks: tuple[SelfCheck, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """True when at least one case was judged, and every case and self-check passed."""
        return (
            bool(self.cases)
            and all(case.passed for case in self.cases)
            and all(check.passed for check in self.self_checks)
        )

    @property
    def failures(self) -> tuple[str, ...]:
        """Every failure as one line: case, output, what is wrong."""
        lines: list[str] = []
        for case in self.cases:
            lines += [f"case {case.case}: {failure}" for failure in case.failures]
            for output in case.outputs:
                lines += [f"case {case.case}, output {output.name!r}: {f}" for f in output.failures]
        lines += [f"{check.name}: {check.detail}" for check in self.self_checks if not check.passed]
        return tuple(lines)

    def worst_of(self, metric: str) -> dict[str, float]:
        """Return, per output, the largest value of one metric over all cases."""
        found: dict[str, float] = {}
        for case in self.cases:
            for output in case.outputs:
                value = float(getattr(output.metrics, metric))
                known = found.get(output.name)
                if known is None or value > known or math.isnan(value):
                    found[output.name] = value
        return found

    def worst(self) -> dict[str, OutputVerdict]:
        """Return, per output, its verdict in the case with the largest error against its limit."""
        found: dict[str, OutputVerdict] = {}
        for case in self.cases:
            for output in case.outputs:
                known = found.get(output.name)
                if known is None or _excess(output) > _excess(known):
                    found[output.name] = output
        return found


def _excess(output: OutputVerdict) -> float:
    """Error over limit; a failed output ranks above every passed one."""
    value: float = getattr(output.metrics, output.tolerance.metric)
    ratio = value / output.tolerance.limit if output.tolerance.limit > 0 else value
    if math.isnan(ratio):
        return math.inf
    return ratio + (1e9 if output.failures else 0.0)
