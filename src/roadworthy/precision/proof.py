"""Is what was planned what runs? An engine's own account of itself, held against the plan.

A finding is a node that provably computes in another dtype than planned: there is no tolerance.
What an engine doesn't tell is a note, never a proof: `--strict-precision` wants to be shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from roadworthy.backends.base import Engine
from roadworthy.backends.proof import DTYPES, percent
from roadworthy.core.errors import CompileError, WrongAnswersError
from roadworthy.core.target import Target
from roadworthy.graph.costs import Costs, costs
from roadworthy.precision.dialect import COMPUTE, THROUGH
from roadworthy.precision.plan import Decision, PrecisionPlan

if TYPE_CHECKING:
    import onnx_ir as ir

UNKNOWN = "unknown"
# Asked for these, FP32 alone is less than was asked for. TF32 is leave, not an order.
_REDUCED = ("fp8", "int8", "fp16", "bf16")
_MOST_NAMES = 5
# Nodes of which nothing is told are let pass by `--strict-precision` below this share of all MACs.
UNPROVEN_SHARE = 0.01


@dataclass(frozen=True)
class PrecisionFindings:
    """What an engine computes in, and where that isn't what was planned.

    Attributes:
        layers: how many executed layers compute in each dtype.
        macs: the share of all multiply-accumulates in each dtype; "unknown" for nodes that the
            engine doesn't tell of. Empty where the network multiplies no matrices.
        findings: less than was planned, as sentences; fail with `--strict-precision`.
        notes: what else a reader should know: what isn't told, what runs in less than planned.
        unproven: which of the notes fail with `--strict-precision`: planned, and not told.
    """

    layers: Mapping[str, int]
    macs: Mapping[str, float]
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def check_precision(
    plan: PrecisionPlan | None, asked: str, proof: Mapping[str, Any], work: Costs
) -> PrecisionFindings:
    """Hold an engine's account against the plan.

    Args:
        plan: what was planned; None where the runtime chose by itself.
        asked: the precision that was asked for.
        proof: `Engine.proof`.
        work: of the network that was compiled, see `graph.costs`.
    """
    runs: Mapping[str, str] = proof.get("nodes", {})
    layers = dict(proof.get("layers", {}))
    told = _Told(runs, work)
    shares = told.shares()
    findings: list[str] = []
    notes: list[str] = []
    silent: list[str] = []
    if plan is not None:
        findings += told.strays(plan, asked)
        silent = told.silent(plan)
        notes += [*told.lesser(plan), *silent]
    if asked in _REDUCED and not _any_in(asked, plan, layers, shares):
        most = _counted(layers)
        said = f"{asked} was asked for, but no layer that is told of computes in it"
        findings.insert(0, f"{said}: {most}" if most else f"{said}: the engine tells of none")
    if shares.get(UNKNOWN):
        notes.append(
            f"the engine doesn't tell what {percent(shares[UNKNOWN])} of all MACs run in: "
            + _names([node for node, count in work.macs.items() if count and node not in runs])
        )
    if work.unknown:
        notes.append(
            "not in the MACs: " + _names([f"{node} ({why})" for node, why in work.unknown.items()])
        )
    unproven = silent if plan is not None and told.hides_much(plan) else []
    return PrecisionFindings(layers, shares, tuple(findings), tuple(notes), tuple(unproven))


def prove_precision(
    engine: Engine, model: ir.Model, plan: PrecisionPlan | None, sizes: Mapping[str, int]
) -> tuple[Engine, PrecisionFindings]:
    """Return an engine whose proof has "macs", "findings" and "notes", and the same apart.

    Args:
        engine: compiled from `model`.
        model: what was compiled, with its Q/DQ or casts.
        plan: see `check_precision`.
        sizes: of the symbolic axes: at which the shares are counted.
    """
    found = check_precision(plan, engine.options.precision, engine.proof, costs(model, sizes))
    added = {
        "macs": {dtype: round(share, 4) for dtype, share in found.macs.items()},
        "findings": list(found.findings),
        "notes": list(found.notes),
    }
    return replace(engine, proof={**engine.proof, **added}), found


def runs_none_of(plan: PrecisionPlan | None, engine: Engine) -> CompileError | None:
    """Return why an engine is refused that runs none of the INT8 that was planned; else None.

    Only where it tells of every node that multiplies: silence is no proof. What hands values on
    computes nothing, so it counts for nothing.

    Args:
        plan: what was planned; None where the runtime chose by itself.
        engine: with its "macs", see `prove_precision`.
    """
    planned = [one for one in plan.decisions if one.dtype == "int8"] if plan is not None else []
    runs, layers = engine.proof.get("nodes", {}), engine.proof.get("layers", {})
    multiply = [one.node for one in planned if one.op_type in COMPUTE]
    runs_some = any(
        runs.get(one.node) == "int8" for one in planned if one.op_type not in THROUGH
    ) or engine.proof.get("macs", {}).get("int8")
    if not multiply or runs_some or any(node not in runs for node in multiply):
        return None
    apart = " but what only hands values on" if layers.get("int8") else ""
    return CompileError(
        f"int8 was asked for, but no layer of the engine runs in it{apart}: {_counted(layers)}",
        where=f"{engine.target}: --precision int8",
        remedy="use another precision, or another target",
    )


def less_than_planned(found: PrecisionFindings, target: Target) -> WrongAnswersError | None:
    """Return why `--strict-precision` refuses an engine, None where it doesn't."""
    said = []
    if found.findings:
        said.append("less of the precision runs than was planned: " + "; ".join(found.findings))
    if found.unproven:
        said.append("not all that was planned is proven to run: " + "; ".join(found.unproven))
    if not said:
        return None
    return WrongAnswersError(
        "; ".join(said),
        where=str(target),
        remedy="leave out --strict-precision to ship it as it is, or ask for another precision",
    )


class _Told:
    """What an engine tells of its nodes, and what they cost."""

    def __init__(self, runs: Mapping[str, str], work: Costs) -> None:
        self._runs = runs
        self._work = work

    def shares(self) -> dict[str, float]:
        """Return the share of all known multiply-accumulates by dtype."""
        total = self._work.total
        sums: Counter[str] = Counter()
        for node, count in self._work.macs.items():
            sums[self._runs.get(node, UNKNOWN)] += count
        return {dtype: sums[dtype] / total for dtype in (*DTYPES, UNKNOWN) if sums[dtype]}

    def strays(self, plan: PrecisionPlan, asked: str) -> list[str]:
        """Nodes that provably run in something else than planned.

        1. Those planned in what was asked for.
        2. Those planned in another reduced dtype, where they run in a wider one: FP16 beside INT8.
        """
        planned: dict[str, list[str]] = {}
        found: dict[tuple[str, str], list[str]] = {}
        for one in plan.decisions:
            planned.setdefault(one.dtype, []).append(one.node)
            runs = self._runs.get(one.node, one.dtype)
            wider = one.dtype in _REDUCED and _width(one.dtype) < _width(runs) < _width("other")
            if runs != one.dtype and (one.dtype == asked or wider):
                found.setdefault((one.dtype, runs), []).append(one.node)
        # What was asked for comes first.
        return [
            f"{len(nodes)} of {len(planned[dtype])} nodes planned in {dtype} run in {runs}: "
            + _names(nodes)
            + self._weight(nodes)
            for (dtype, runs), nodes in sorted(found.items(), key=lambda item: item[0][0] != asked)
        ]

    def lesser(self, plan: PrecisionPlan) -> list[str]:
        """Nodes that run in less than planned; their answers were judged, so it is no finding."""
        found: dict[tuple[str, str], list[str]] = {}
        for one in plan.decisions:
            runs = self._runs.get(one.node, one.dtype)
            if _width(runs) < _width(one.dtype):
                found.setdefault((one.dtype, runs), []).append(one.node)
        return [
            f"{_run_in(len(nodes), planned)} {runs}: {_names(nodes)}"
            for (planned, runs), nodes in found.items()
        ]

    def silent(self, plan: PrecisionPlan) -> list[str]:
        """Nodes of the plan that the engine doesn't name, fused or rewritten as they are."""
        planned = Counter(one.dtype for one in plan.decisions)
        found: dict[str, list[str]] = {}
        for one in self._hidden(plan):
            found.setdefault(one.dtype, []).append(one.node)
        return [
            f"the engine doesn't name {len(nodes)} of {planned[dtype]} nodes planned in "
            f"{dtype}, so nothing is proven of them: {_names(nodes)}{self._weight(nodes)}"
            for dtype, nodes in found.items()
        ]

    def hides_much(self, plan: PrecisionPlan) -> bool:
        """Tell whether so much of the plan isn't told of that nothing can be called proven."""
        hidden = [one.node for one in self._hidden(plan)]
        # What isn't known to be little may be much.
        return self._share(hidden) >= UNPROVEN_SHARE or any(
            node in self._work.unknown for node in hidden
        )

    def _hidden(self, plan: PrecisionPlan) -> list[Decision]:
        """Return what was planned in a reduced dtype, has work to do, and isn't told of."""
        # An activation that was fused away computes nothing by itself: not worth a word.
        return [
            one
            for one in plan.decisions
            if one.dtype in _REDUCED
            and one.node not in self._runs
            and (self._work.macs.get(one.node) or one.node in self._work.unknown)
        ]

    def _weight(self, nodes: Iterable[str]) -> str:
        return f", {percent(self._share(nodes))} of all MACs"

    def _share(self, nodes: Iterable[str]) -> float:
        total = self._work.total
        return sum(self._work.macs.get(node, 0) for node in nodes) / total if total else 0.0


def _any_in(
    asked: str,
    plan: PrecisionPlan | None,
    layers: Mapping[str, int],
    shares: Mapping[str, float],
) -> bool:
    """Tell whether something runs in what was asked for, or nothing was to."""
    if plan is not None and all(one.dtype != asked for one in plan.decisions):
        return True
    return bool(layers.get(asked) or shares.get(asked))


def _width(dtype: str) -> int:
    return DTYPES.index(dtype) if dtype in DTYPES else len(DTYPES)


def _counted(layers: Mapping[str, int]) -> str:
    return ", ".join(f"{count} in {dtype}" for dtype, count in layers.items())


def _names(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _run_in(count: int, planned: str) -> str:
    many = count != 1
    return f"{count} node{'s' * many} planned in {planned} run{'s' * (not many)} in"
