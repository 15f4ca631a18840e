"""Choose between engines that may ship: by timing them side by side, not by times apart.

1. `--objective size`, or nothing is timed: the smallest, or the first.
2. Otherwise a later one takes the place of an earlier one only where it is shown to be faster: the
   95 % interval of their paired ratio is above 1. So of two that can't be told apart the more exact
   precision stays, or the target that was named first.
3. Targets on different hosts can't be paired: their ratio would compare the machines' moments. They
   are chosen by what each took there, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from roadworthy.core.certificate import Comparison
from roadworthy.core.errors import RoadworthyError
from roadworthy.core.target import Target
from roadworthy.pipeline.deployment import TargetResult

Race = Callable[[TargetResult, TargetResult, float], Comparison]
"""Times the first beside the second, for this share of the time that there is for a choice."""


def choose(
    results: Sequence[TargetResult], objective: str, race: Race | None = None
) -> tuple[tuple[TargetResult, ...], Target | None, str]:
    """Choose the verified target that the objective prefers.

    Returns:
        The results, where the best one's certificate has the comparisons; the best one's target,
        None where none verified; why the others lost.
    """
    if not any(result.ok for result in results):
        return tuple(results), None, "no target verified"
    choice = _chosen(results, objective, race)
    best = choice.best
    why = "; ".join(
        f"{result.target}: {choice.why_not(result)}" for result in results if result is not best
    )
    said = f"{best.target}: {_value(best, objective)}"
    updated = tuple(choice.certified() if result is best else result for result in results)
    return updated, best.target, f"{said}; {why}" if why else said


def fastest(
    results: Sequence[TargetResult], objective: str, race: Race | None = None
) -> TargetResult:
    """Return the best of one target's precisions, which says why the others lost.

    Where none may ship it is the first one, the most exact.
    """
    choice = _chosen(results, objective, race)
    others = [
        f"{result.precision}: {choice.why_not(result)}"
        for result in results
        if result is not choice.best
    ]
    return replace(choice.certified(), others=tuple(others))


@dataclass
class _Choice:
    """Who is best so far, and what was said of those that met another."""

    best: TargetResult
    objective: str
    comparisons: list[Comparison] = field(default_factory=list)
    lost: list[tuple[TargetResult, str]] = field(default_factory=list)

    def meet(self, other: TargetResult, race: Race, share: float) -> None:
        """Let another take the place of the best, where it is shown to be faster (2, 3)."""
        if _host(self.best.target) != _host(other.target):
            wins = _cost(other, self.objective) < _cost(self.best, self.objective)
            why = "timed apart, on different hosts"
        else:
            try:
                both = race(other, self.best, share)
            except RoadworthyError as error:
                beside = f"{self.best.precision} on {self.best.target}"
                wins, why = False, f"couldn't be timed beside {beside}: {error.what}"
            else:
                self.comparisons.append(both)
                wins, why = both.ratio_low > 1, both.in_words()
        self.lost.append((self.best if wins else other, why))
        self.best = other if wins else self.best

    def why_not(self, result: TargetResult) -> str:
        """Say why a result isn't the best."""
        if result.error is not None:
            return result.error.what
        met = [why for other, why in self.lost if other is result]
        return "; ".join((_value(result, self.objective), *met))

    def certified(self) -> TargetResult:
        """Return the best with the comparisons in its certificate."""
        certificate = self.best.certificate
        if certificate is None or not self.comparisons:
            return self.best
        known = (*certificate.choice, *self.comparisons)
        return replace(self.best, certificate=replace(certificate, choice=known))


def _chosen(results: Sequence[TargetResult], objective: str, race: Race | None) -> _Choice:
    good = [result for result in results if result.ok]
    if not good or objective == "size" or race is None:
        first = min(good, key=lambda result: _cost(result, objective)) if good else results[0]
        return _Choice(first, objective)
    choice = _Choice(good[0], objective)
    for other in good[1:]:
        choice.meet(other, race, 1 / (len(good) - 1))
    return choice


def _host(target: Target) -> str | None:
    return target.where if target.is_elsewhere else None


def _cost(result: TargetResult, objective: str) -> float:
    certificate = result.certificate
    if objective == "size":
        return float(sum(map(len, result.engine.files.values()))) if result.engine else float("inf")
    if certificate is None or certificate.latency is None:
        return float("inf")
    if objective == "throughput":
        return -certificate.latency.throughput
    return certificate.latency.p50_ms


def _value(result: TargetResult, objective: str) -> str:
    cost = _cost(result, objective)
    if cost in (float("inf"), float("-inf")):
        return "verified, not timed"
    if objective == "size":
        return f"{cost / 1e6:.3g} MB"
    if objective == "throughput":
        return f"{-cost:.4g} samples/s"
    return f"{cost:.4g} ms (median)"
