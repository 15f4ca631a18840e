"""From a network and real samples to an INT8 network for one dialect, with the reasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roadworthy.core.errors import InputError
from roadworthy.core.progress import Progress
from roadworthy.core.samples import Sample, Samples
from roadworthy.core.signature import Answers, Signature
from roadworthy.precision.bias import any_to_correct, corrections, enough
from roadworthy.precision.calibrate import Calibration, calibrate, spread, unfit
from roadworthy.precision.dialect import Dialect
from roadworthy.precision.lower import lower
from roadworthy.precision.methods import METHODS
from roadworthy.precision.placement import Placement, place
from roadworthy.precision.plan import PrecisionPlan
from roadworthy.precision.scales import drowned, make_plan
from roadworthy.precision.scoring import Score, literal_answers, score
from roadworthy.precision.unfinished import begun

if TYPE_CHECKING:
    import onnx_ir as ir

AUTO = "auto"
# The one method that needs no histograms.
_PLAINEST = "minmax"
# Held back from calibration to compare the methods on: every eighth sample, at most so many, so
# that they come from all over the data.
_HELD_BACK_EVERY = 8
_MOST_HELD_BACK = 8
_FEW_SAMPLES = 16
BY_POSITION = (
    "by position: in another order other samples are held back, and others correct biases; the "
    "ranges of those that calibrate are the same in any order"
)
# Methods that score so near to each other on a few samples are alike.
_ALIKE_DB = 0.5
_ALIKE_SHARE = 0.005


@dataclass(frozen=True, slots=True)
class MethodScore:
    """A `scoring.Score` with the method whose it is, on samples that it hadn't seen."""

    method: str
    sqnr_db: float
    outputs: Mapping[str, float]
    is_share: bool = False


@dataclass(frozen=True, slots=True)
class BiasTrial:
    """Whether correcting biases paid, on the samples that methods are compared on.

    Attributes:
        nodes: how many have a bias that could be corrected.
        without_db: the score without corrections, see `Score.sqnr_db`.
        with_db: with them.
        kept: they are in the plan.
        is_share: the scores are shares of equal elements.
    """

    nodes: int
    without_db: float
    with_db: float
    kept: bool
    is_share: bool = False


@dataclass(frozen=True)
class Quantization:
    """An INT8 network.

    Attributes:
        model: the graph with Q/DQ in it.
        plan: which node and tensor runs in which dtype, and why.
        scores: of the methods, best first; none where the method was given.
        held_back: how many samples didn't calibrate, and the scores come from; where there are too
            few to hold any back, how many the scores come from.
        biases: whether correcting biases paid; None where there are none to correct.
        notes: what a reader must know about the comparison.
    """

    model: ir.Model
    plan: PrecisionPlan
    scores: tuple[MethodScore, ...]
    held_back: int
    biases: BiasTrial | None = None
    notes: tuple[str, ...] = ()

    def account(self) -> dict[str, Any]:
        """Return what a certificate says: nodes by dtype, exceptions with reasons, the methods."""
        return {
            **self.plan.summary(),
            "calibration": dict(self.plan.account),
            "scores": [
                {
                    "method": item.method,
                    "sqnr_db": item.sqnr_db,
                    "is_share": item.is_share,
                    "outputs": dict(item.outputs),
                }
                for item in self.scores
            ],
            "held_back": self.held_back,
            "split": BY_POSITION,
            "bias_correction": None if self.biases is None else asdict(self.biases),
            "notes": list(self.notes),
        }


def named(model: ir.Model) -> ir.Model:
    """Return a copy whose nodes all have names of their own: plans speak of nodes by name."""
    from onnx_ir.passes.common import NameFixPass

    copy = model.clone()
    NameFixPass()(copy)
    return copy


def observe(
    model: ir.Model,
    placements: Iterable[Placement],
    samples: Samples,
    *,
    method: str = AUTO,
    also: Iterable[str] = (),
    threads: int | None = None,
    keep: Path | None = None,
    progress: Progress,
) -> Calibration:
    """Calibrate once for several placements, for a method or all; arguments as of `calibrate`.

    `also` names tensors that are to be observed besides.
    """
    return calibrate(
        model,
        samples,
        _observed(placements, also),
        histograms=method != _PLAINEST,
        threads=threads,
        keep=keep,
        progress=progress,
    )


def check_kept(
    model: ir.Model,
    placements: Iterable[Placement],
    samples: Samples,
    *,
    method: str = AUTO,
    keep: Path,
) -> None:
    """Refuse before other work what `observe` would refuse to continue; arguments as there.

    Raises:
        InputError: `keep` is of another network, other samples or other tensors.
    """
    begun(model, samples, _observed(placements), histograms=method != _PLAINEST, keep=keep)


def _observed(placements: Iterable[Placement], also: Iterable[str] = ()) -> list[str]:
    """Return the tensors that a calibration is to observe."""
    # Not only where scales come from: with an island in between a tensor has one of its own.
    return sorted({*also, *(name for placement in placements for name in placement.activations)})


@dataclass(frozen=True)
class Split:
    """Samples to calibrate with, and others to compare plans on.

    Attributes:
        seen: what ranges and corrections come from.
        held_back: what they are compared on; the same ones where there are too few, or where
            nothing is to be compared.
        notes: what a reader must know about the comparison.
        wild: the outliers among all, by name, in words: they are seen, and judge nothing.
        data_set: digest of all.
    """

    seen: Samples
    held_back: Samples
    notes: tuple[str, ...] = ()
    wild: Mapping[str, str] = field(default_factory=dict)
    data_set: str = ""


def judges_for(
    model: ir.Model,
    placements: Iterable[Placement],
    samples: Samples,
    method: str,
    *,
    correct: bool = True,
) -> int:
    """Return how many samples are of use held back, for `split`.

    Methods are compared on them. Where one is given, they only tell whether correcting biases pays:
    as many as biases are corrected with; and there may be none to correct.
    """
    if method == AUTO:
        return _MOST_HELD_BACK
    tried = correct and any(any_to_correct(model, placement) for placement in placements)
    return enough(samples[0]) if tried else 0


def split(samples: Samples, most: int = _MOST_HELD_BACK) -> Split:
    """Hold some samples back, from all over the data: none that is an outlier among all.

    Which ones is by their position, so their order matters here, as it does to which ones biases
    are corrected with. It doesn't to the ranges of those that are seen.

    Args:
        samples: all that were given.
        most: how many to hold back at most, see `judges_for`.
    """
    outliers = samples.outliers()
    wild = {samples.items[index].name: reason for index, reason in outliers.items()}
    whole = samples.digest

    def judges(index: int) -> bool:
        # With a NaN every method is as bad; calibration leaves such a sample out, and names it.
        return index not in outliers and unfit(samples[index]) is None

    if most == 0:
        return Split(samples, samples, (), wild, whole)
    if len(samples) < 4:
        note = f"{len(samples)} samples: the methods were compared on what they were calibrated on"
        usable = [item for index, item in enumerate(samples.items) if judges(index)]
        # Where none is usable, calibration says so, sample by sample.
        return Split(samples, _of(samples, usable or samples.items), (note,), wild, whole)
    # Of few samples every fourth: one alone would be no judge.
    step = _HELD_BACK_EVERY if len(samples) >= _FEW_SAMPLES else _HELD_BACK_EVERY // 2
    step = max(step, -(-len(samples) // most))
    held = set(spread(range(step // 2, len(samples)), step, judges))
    if not held:
        # None is usable: calibration says so, sample by sample.
        return Split(samples, samples, (), wild, whole)
    return Split(
        _of(samples, [item for i, item in enumerate(samples.items) if i not in held]),
        _of(samples, [item for i, item in enumerate(samples.items) if i in held]),
        (),
        wild,
        whole,
    )


def _of(samples: Samples, items: Sequence[Sample]) -> Samples:
    return Samples(samples.source, samples.kind, items)


def quantize(
    model: ir.Model,
    signature: Signature,
    dialect: Dialect,
    calibration: Calibration,
    parts: Split,
    *,
    method: str = AUTO,
    islands: Mapping[str, str] | None = None,
    correct: bool = True,
    threads: int | None = None,
    progress: Progress,
) -> Quantization:
    """Quantise a network for a dialect.

    The method that does best on the samples held back chooses the ranges. Then the biases are
    corrected (`precision.bias`), and that is kept if it does better still.

    Args:
        model: FP32, with named nodes; left as it is.
        signature: its inputs and outputs.
        dialect: whose rules.
        calibration: of this network, see `observe`.
        parts: the samples that it saw, and those that were held back.
        method: "auto" keeps the best of all.
        islands: nodes that must stay in float, with the reason.
        correct: False leaves the biases as they are.
        threads: of one inference.
        progress: told what is being done.

    Raises:
        UsageError: an unknown method.
        InputError: all that would be quantised is zero, or not finite, on every sample.
    """
    calibration = replace(calibration, wild=parts.wild, data_set=parts.data_set)
    placing = _Placer(model, dialect, calibration, islands or {})
    apart = parts.held_back is not parts.seen
    unseen = parts.held_back
    if not apart and method != AUTO:
        unseen = unseen[: enough(unseen[0])]
    judge = _Judge(model, signature, dialect, unseen)
    scores: list[MethodScore] = []
    for index, name in enumerate(METHODS if method == AUTO else ()):
        progress(f"quantise: {name}", index / len(METHODS))
        found = judge.of(placing.plan(name))
        scores.append(MethodScore(name, found.sqnr_db, found.outputs, found.is_share))
    chosen = _best(scores) if scores else None
    name = chosen.method if chosen else method
    progress(f"quantise: {name}", 1.0)
    plan = placing.plan(name)
    fixes = corrections(model, plan, parts.seen, threads, progress) if correct else ()
    trial = None
    if fixes:
        before, better = chosen or judge.of(plan), replace(plan, corrections=fixes)
        after = judge.of(better)
        kept = after.sqnr_db > before.sqnr_db
        trial = BiasTrial(len(fixes), before.sqnr_db, after.sqnr_db, kept, after.is_share)
        plan = better if kept else plan
    ranked = tuple(sorted(scores, key=lambda score: -score.sqnr_db))
    lowered = lower(model, plan, dialect)
    held_back = len(unseen) if apart or scores or trial else 0
    return Quantization(lowered, plan, ranked, held_back, trial, parts.notes)


class _Placer:
    """Places by what the calibration saw, and plans with one method or another."""

    def __init__(
        self,
        model: ir.Model,
        dialect: Dialect,
        calibration: Calibration,
        islands: Mapping[str, str],
    ) -> None:
        self._model, self._dialect, self._calibration = model, dialect, calibration
        self._islands = islands
        self._placement = self._place(islands)

    def plan(self, method: str) -> PrecisionPlan:
        islands, placement = dict(self._islands), self._placement
        while found := drowned(self._model, placement, self._calibration, method):
            islands |= found
            placement = self._place(islands)
        return make_plan(self._model, placement, self._calibration, method)

    def _place(self, islands: Mapping[str, str]) -> Placement:
        found = place(self._model, self._dialect, islands, self._calibration.rangeless)
        if self._calibration.rangeless and not found.activations:
            tensor = min(self._calibration.rangeless)
            why, remedy = self._calibration.why_rangeless(tensor)
            raise InputError(
                f"nothing in this network would run in INT8: what would be quantised is {why}, "
                f"as tensor {tensor!r}",
                where="--samples",
                remedy=remedy,
            )
        return found


class _Judge:
    """Scores plans for one network by its exact answers, which are computed once."""

    def __init__(
        self, model: ir.Model, signature: Signature, dialect: Dialect, samples: Samples
    ) -> None:
        self._model, self._signature, self._dialect = model, signature, dialect
        self._samples = samples
        self._exact: list[Answers] | None = None

    def of(self, plan: PrecisionPlan) -> Score:
        if self._exact is None:
            self._exact = list(literal_answers(self._model, self._signature, self._samples))
        lowered = lower(self._model, plan, self._dialect)
        return score(self._exact, literal_answers(lowered, self._signature, self._samples))


def _best(scores: Sequence[MethodScore]) -> MethodScore:
    """Return the first method, the simplest, that is about as good as the best one."""
    best = max(score.sqnr_db for score in scores)
    alike = _ALIKE_SHARE if scores[0].is_share else _ALIKE_DB
    # Infinite ones are equal, and differ by no number.
    return next(score for score in scores if score.sqnr_db == best or score.sqnr_db >= best - alike)
