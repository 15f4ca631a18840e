"""What an engine computes in: what was asked, what runs, what was planned, and from which ranges.

Without a lowering, which is an engine that was compiled from the network as it is, only what runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from roadworthy.backends.proof import DTYPES, runs_in
from roadworthy.core.certificate import Certificate
from roadworthy.core.evidence import read_lowering
from roadworthy.core.lowered import Biases, Exempt, LoweringAccount, Score
from roadworthy.report import charts
from roadworthy.report import format as fmt
from roadworthy.report.calibration import calibration_part
from roadworthy.report.markup import EMPTY, Html, code, el, foreign, join, text
from roadworthy.report.parts import (
    Column,
    caution,
    facts,
    folded,
    outcome,
    section,
    several,
    short,
    table,
)

PROVEN = frozenset({"layers", "macs", "findings", "notes"})
"""What this section says of `Engine.proof`."""
_UNKNOWN = "unknown"
_CLASSES = {"fp8": "narrow", "int8": "narrow", "fp16": "half", "bf16": "half", _UNKNOWN: "unknown"}


def precision_section(certificate: Certificate) -> Html:
    """Return the section; nothing where neither the engine nor a plan tells anything."""
    proof = certificate.engine.get("proof")
    ran = _ran(proof if isinstance(proof, Mapping) else {})
    asked = ("Asked for", foreign(certificate.precision.upper()))
    if certificate.lowering is None:
        return section("Precision", facts([asked, *ran])) if ran else EMPTY
    account = read_lowering(certificate.lowering, "the certificate")
    pairs = [asked, *ran, ("Plan", _plan(account)), ("Exceptions", _exceptions(account))]
    if account.bias_correction is not None:
        corrected = _biases(account.bias_correction, _is_discrete(certificate))
        pairs.append(("Biases", text(corrected)))
    seen = calibration_part(account, certificate.samples)
    return section("Precision", facts(pairs), _methods(account, certificate), seen)


# -- what runs


def _ran(proof: Mapping[str, Any]) -> list[tuple[str, Html]]:
    line = runs_in(proof)
    pairs = [("Runs in", join([text(line), _bar(proof.get("macs"))]))] if line else []
    findings, notes = _lines(proof.get("findings")), _lines(proof.get("notes"))
    if findings:
        pairs.append(("Less than planned", several([caution(one) for one in findings])))
    if notes:
        pairs.append(("Notes", several([foreign(one) for one in notes])))
    return pairs


def _lines(anything: Any) -> list[str]:
    return list(map(str, anything)) if isinstance(anything, list | tuple) else []


def _bar(macs: Any) -> Html:
    """Draw the shares of multiply-accumulates by dtype, where there is more than one."""
    found = macs if isinstance(macs, Mapping) else {}
    shares = [
        (dtype, _CLASSES.get(dtype, "full"), float(found[dtype]))
        for dtype in (*DTYPES, _UNKNOWN)
        if isinstance(found.get(dtype), int | float) and 0 < found[dtype] < math.inf
    ]
    if len(shares) < 2:
        return EMPTY
    drawn = charts.share_chart(shares, "multiply-accumulates")
    legend = [el("span", charts.key(f"share {kind}"), text(dtype)) for dtype, kind, _ in shares]
    caption = text("Shares of all multiply-accumulates (MACs).")
    return el("figure", el("div", *legend, class_="legend"), drawn, el("figcaption", caption))


# -- what was planned


def _plan(account: LoweringAccount) -> Html:
    asked = account.precision
    ordered = sorted(account.nodes.items(), key=lambda item: (item[0] != asked, -item[1]))
    total = sum(account.nodes.values())
    if not total:
        return text("No node computes.")
    told = [
        f"{fmt.count(n)} {_planned(n) * (not i)}in {dtype.upper()}"
        for i, (dtype, n) in enumerate(ordered)
    ]
    said = f"Of {fmt.counted(total, 'node that computes', 'nodes that compute')}, {_listed(told)}, "
    if not account.dialect:
        return text(said + "written into the graph as types.")
    return join([text(said + "by the rules for "), foreign(account.dialect), text(".")])


def _planned(count: int) -> str:
    return "was planned " if count == 1 else "were planned "


def _listed(items: Sequence[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def _exceptions(account: LoweringAccount) -> Html:
    groups: dict[tuple[str, str], list[Exempt]] = {}
    for one in account.exceptions:
        groups.setdefault((one.dtype, one.why), []).append(one)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return join([_group(*key, nodes) for key, nodes in ordered]) or text("none")


def _group(dtype: str, why: str, nodes: Sequence[Exempt]) -> Html:
    title = f"{fmt.counted(len(nodes), 'node')} in {dtype.upper()}: {why or 'no reason is given'}"
    names = [join([code(one.node), text(" ("), foreign(one.op_type), text(")")]) for one in nodes]
    return folded(title, el("p", join(names, ", ")))


def _biases(trial: Biases, discrete: bool) -> str:
    before, after = _level(trial.without_db, discrete), _level(trial.with_db, discrete)
    whose = fmt.counted(trial.nodes, "node")
    if trial.kept:
        return f"corrected for the mean error of {whose}: {after} instead of {before}"
    return f"left as they are: corrected for the mean error of {whose} it was {after}, not {before}"


def _is_discrete(certificate: Certificate) -> bool:
    """Tell whether the network's score is a share of equal elements."""
    outputs = {output.name for case in certificate.verdict.cases for output in case.outputs}
    return bool(outputs) and outputs <= _discrete(certificate)


# -- which method chose the ranges


def _methods(account: LoweringAccount, certificate: Certificate) -> Html:
    """Return how the methods compared; nothing where the method was given or there is none."""
    if not account.scores:
        return EMPTY
    names = list(dict.fromkeys(name for score in account.scores for name in score.outputs))
    discrete = _discrete(certificate)
    single = len(names) == 1
    columns = [
        Column("Method"),
        Column(f"Output {names[0]}" if single else "Worst output", True),
        *([] if single else [Column("Every output")]),
        Column("Choice"),
    ]
    rows = [_method(score, account, discrete, single) for score in account.scores]
    compared = _compared(account, any(name in discrete for name in names))
    return join([el("h4", text("Methods compared")), compared, table(columns, rows)])


def _compared(account: LoweringAccount, any_discrete: bool) -> Html:
    unseen = " that the calibration hadn't seen" * account.is_apart
    said = (
        "Signal to quantisation noise of the plan computed literally"
        f"{', or the share of equal elements' * any_discrete}: more is better. On "
        f"{fmt.counted(account.held_back, 'sample')}{unseen}. The simplest method that is about "
        "as good as the best was chosen."
    )
    notes = [el("p", caution(note)) for note in account.notes]
    return join([el("p", text(said), class_="soft"), *notes])


def _discrete(certificate: Certificate) -> set[str]:
    """Return the outputs that are judged by equal elements, whose scores aren't decibels."""
    return {
        output.name
        for case in certificate.verdict.cases
        for output in case.outputs
        if output.tolerance.metric == "mismatch_share"
    }


def _method(score: Score, account: LoweringAccount, discrete: set[str], single: bool) -> list[Html]:
    chosen = score.method == account.calibration.method
    all_discrete = bool(score.outputs) and set(score.outputs) <= discrete
    lines = [
        join([foreign(name), text(f": {_level(level, name in discrete)}")])
        for name, level in score.outputs.items()
    ]
    return [
        foreign(score.method),
        text(_level(score.sqnr_db, all_discrete)),
        *([] if single else [short(lines, "output")]),
        outcome(True, "chosen") if chosen else text(fmt.NONE),
    ]


def _level(value: float, discrete: bool) -> str:
    return f"{fmt.percent(value)} equal" if discrete else fmt.decibel(value)
