"""What was judged against what, and how every output did in every case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from roadworthy.core.certificate import Certificate, ReferenceAccount
from roadworthy.core.verdict import CaseVerdict, Metrics, OutputVerdict, SelfCheck, Tolerance
from roadworthy.report import charts
from roadworthy.report import format as fmt
from roadworthy.report.markup import EMPTY, Html, el, foreign, join, text
from roadworthy.report.parts import (
    Column,
    facts,
    outcome,
    paragraph,
    section,
    several,
    table,
    value,
)
from roadworthy.report.verdict import METRICS, error_of, share_of_tolerance

_CASES = {
    "samples": "the samples as given",
    "smallest": "the smallest sizes allowed",
    "largest": "the largest sizes allowed",
    "odd": "sizes that no sample has, as odd as allowed",
    "crossed": "every other axis at its smallest, the ones between at their largest",
    "crossed-back": "the same, the other way round",
    "batch": "different samples in one batch",
}


def reference_section(reference: ReferenceAccount) -> Html:
    """Return who judged, how noisy the judge is, how the oracles agreed, and the notes."""
    noise = [
        join([foreign(name), text(f": {_noise(level)}")]) for name, level in reference.noise.items()
    ]
    pairs = [
        ("Reference", foreign(reference.kind)),
        ("Judge", foreign(reference.judge)),
        ("FP64, to know the noise", _or_none(reference.fine)),
        ("Noise of the judge", several(noise, "not measured")),
        *_agreement(reference.account or {}),
        ("Notes", several([foreign(note) for note in reference.notes])),
    ]
    return section("Judged against", facts(pairs))


def _noise(level: float | None) -> str:
    return "not known, FP64 couldn't be had" if level is None else fmt.number(level)


def _or_none(name: str | None) -> Html:
    return text("not to be had") if name is None else foreign(name)


def _agreement(account: Mapping[str, object]) -> Iterable[tuple[str, Html]]:
    """Say how oracles agreed in a sentence each; any other fact as it stands."""
    for key, found in account.items():
        if key == "agreement" and isinstance(found, Mapping):
            lines = [_agreed(str(name), seen) for name, seen in found.items()]
            yield "Oracles that agree", several(lines)
        else:
            yield fmt.words(key), value(found, key)


def _agreed(name: str, seen: object) -> Html:
    match seen:
        case {"feeds": int(feeds), "worst_difference": int() | float() as worst, **more}:
            said = f": differs by {fmt.number(worst)} at most, on {fmt.counted(feeds, 'input')}"
            rest = value(more) if more else EMPTY
            return join([foreign(name), text(said), rest])
    return join([foreign(name), text(": "), value(seen)])


def answers_section(certificate: Certificate) -> Html:
    """Return a chart and a table for every output, over all cases."""
    names = dict.fromkeys(
        output.name for case in certificate.verdict.cases for output in case.outputs
    )
    if not names:
        return section("Answers", paragraph("The engine gave no answer that could be judged."))
    return section(
        "Answers",
        *(_output(name, certificate) for name in names),
    )


def _output(name: str, certificate: Certificate) -> Html:
    judged = [
        (case, output)
        for case in certificate.verdict.cases
        for output in case.outputs
        if output.name == name
    ]
    noise = certificate.reference.noise.get(name)
    limits = dict.fromkeys(output.tolerance for _, output in judged)
    return join(
        [
            el("h4", text("Output "), foreign(name)),
            join([_tolerance(limit) for limit in limits]),
            _chart(judged, noise, METRICS[next(iter(limits)).metric]),
            table(_COLUMNS, [_row(case, name) for case in certificate.verdict.cases]),
        ]
    )


def _tolerance(limit: Tolerance) -> Html:
    shown = f"{METRICS[limit.metric]} up to {fmt.number(limit.limit)}"
    return el(
        "p",
        text("Tolerance: "),
        el("strong", text(shown)),
        text(". Origin: "),
        foreign(limit.origin),
    )


def _chart(judged: list[tuple[CaseVerdict, OutputVerdict]], noise: float | None, what: str) -> Html:
    bars = [
        charts.ErrorBar(case.case, error_of(output), output.tolerance.limit, noise, output.passed)
        for case, output in judged
    ]
    drawn = charts.error_chart(bars, what)
    if not drawn:
        return EMPTY
    signs = [("error", f"measured {what}"), ("limit", "tolerance")]
    if noise:
        signs.append(("noise", f"noise floor of the reference, {fmt.number(noise)}"))
    legend = [el("span", charts.key(kind), text(said)) for kind, said in signs]
    caption = text("Logarithmic scale. The tinted part is beyond the tolerance.")
    return el("figure", el("div", *legend, class_="legend"), drawn, el("figcaption", caption))


_COLUMNS = (
    Column("Case"),
    Column("Result"),
    Column("Relative L2", True),
    Column("Of tolerance", True),
    Column("MVRE", True),
    Column("Max abs", True),
    Column("Cosine", True),
    Column("SQNR", True),
    Column("Bit-equal"),
    Column("Worst sample"),
)


def _row(case: CaseVerdict, name: str) -> list[Html]:
    output = next((one for one in case.outputs if one.name == name), None)
    if output is None:
        missing = [text(fmt.NONE)] * (len(_COLUMNS) - 2)
        return [foreign(case.case), outcome(False, bad="NO ANSWER"), *missing]
    seen = output.metrics
    return [
        foreign(case.case),
        outcome(output.passed),
        text(fmt.number(seen.relative_l2)),
        text(fmt.of_limit(share_of_tolerance(output))),
        text(fmt.number(seen.mvre)),
        text(fmt.number(seen.max_abs)),
        text(fmt.cosine(seen.cosine)),
        text(fmt.decibel(seen.sqnr_db)),
        text(_bit_equal(seen)),
        foreign(seen.worst_sample),
    ]


def _bit_equal(seen: Metrics) -> str:
    differ = fmt.percent(seen.mismatch_share).replace(" ", "\u00a0")
    return "yes" if seen.bit_equal else f"no,\u00a0{differ}\u00a0differ"


def cases_section(cases: tuple[CaseVerdict, ...]) -> Html:
    """Return at which sizes, with which inputs, and how each case ended."""
    columns = (
        Column("Case"),
        Column("Sizes"),
        Column("Inputs"),
        Column("Judged", True),
        Column("Result"),
    )
    rows = [
        [
            join([foreign(case.case), _meaning(case.case)]),
            foreign(fmt.axes(case.sizes)),
            text("derived: cropped, tiled or mixed" if case.derived else "as given"),
            text(fmt.counted(case.samples, "sample")),
            outcome(case.passed),
        ]
        for case in cases
    ]
    return section("Cases", table(columns, rows) if rows else paragraph("No case was judged."))


def _meaning(name: str) -> Html:
    known = _CASES.get(name)
    return EMPTY if known is None else el("div", text(known), class_="soft")


def self_checks_section(checks: tuple[SelfCheck, ...]) -> Html:
    """Return the checks that need no reference."""
    columns = (Column("Check"), Column("Result"), Column("What was seen"))
    rows = [
        [foreign(check.name), outcome(check.passed, "held"), foreign(check.detail)]
        for check in checks
    ]
    shown = table(columns, rows) if rows else paragraph("No self-check was made.")
    return section("Self-checks", shown)
