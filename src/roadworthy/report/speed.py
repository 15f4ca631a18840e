"""How fast the engine is, beside what, how that was measured, and where time went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from roadworthy.core.certificate import Certificate, Comparison, Latency
from roadworthy.report import charts
from roadworthy.report import format as fmt
from roadworthy.report.markup import EMPTY, Html, el, foreign, join, text
from roadworthy.report.parts import Column, bullets, caution, paragraph, section, table

_COLUMNS = (
    Column("Timed"),
    Column("p50", True),
    Column("p90", True),
    Column("p99", True),
    Column("Mean", True),
    Column("Samples per second", True),
    Column("Runs", True),
    Column("Batch", True),
    Column("Threads", True),
    Column("Warm-up runs", True),
    Column("Steady"),
)

_SPENT = {
    "reference": "reference: the trusted answers",
    "fp64": "FP64, for the noise floor",
    "engine": "engine: the runs that were judged",
    "compare": "comparing its answers",
    "self_checks": "self-checks",
}


def latency_section(certificate: Certificate) -> Html:
    """Return latency, the ratio to the baseline with its interval, and how both were measured."""
    both = certificate.comparison
    timed = [] if both is None else [both.subject, both.baseline]
    if certificate.latency is not None and certificate.latency not in timed:
        timed.insert(0, certificate.latency)
    if not timed:
        return section("Latency", paragraph("The engine was not timed."))
    return section(
        "Latency",
        _ratio(both) if both is not None else EMPTY,
        table(_COLUMNS, map(_row, timed)),
        _without_p99(timed),
        *(_unsteady(one) for one in timed if not one.steady),
        _how(both),
        _choice(certificate.choice),
    )


def _row(one: Latency) -> list[Html]:
    return [
        foreign(one.subject),
        text(fmt.milliseconds(one.p50_ms)),
        text(fmt.milliseconds(one.p90_ms)),
        text(fmt.NONE if one.p99_ms is None else fmt.milliseconds(one.p99_ms)),
        text(fmt.milliseconds(one.mean_ms)),
        text(fmt.number(one.throughput)),
        text(fmt.count(one.runs)),
        text(fmt.count(one.batch)),
        text("that host's own" if one.threads is None else fmt.count(one.threads)),
        text(fmt.count(one.warmup_runs)),
        text("yes" if one.steady else "NO"),
    ]


def _without_p99(timed: list[Latency]) -> Html:
    if all(one.p99_ms is not None for one in timed):
        return EMPTY
    return paragraph("p99 is given from 1,000 runs on: below, it rests on a handful.", "soft")


def _unsteady(one: Latency) -> Html:
    said = f"{one.subject}: times never became steady during warm-up; read them with care."
    return el("p", caution(said))


def _ratio(both: Comparison) -> Html:
    interval = f"{fmt.ratio(both.ratio_low)} to {fmt.ratio(both.ratio_high)}"
    said = el(
        "p",
        foreign(both.subject.subject),
        text(" against "),
        foreign(both.baseline.subject),
        text(": "),
        el("strong", text(fmt.ratio(both.ratio))),
        text(f", 95 % interval {interval}. {_meaning(both)}"),
    )
    caption = text("Baseline time over this engine's time; right of 1.0 this engine is faster.")
    drawn = charts.ratio_chart(both.ratio, both.ratio_low, both.ratio_high)
    figure = el("figure", drawn, el("figcaption", caption)) if drawn else EMPTY
    return join([said, figure])


def _meaning(both: Comparison) -> str:
    if both.ratio_low > 1:
        return "The engine is faster."
    if both.ratio_high < 1:
        return "The engine is slower."
    return "The interval holds 1.0: no difference could be shown."


def _how(both: Comparison | None) -> Html:
    if both is None:
        return paragraph(
            "Single runs one after another, on a monotonic clock, after a warm-up that was "
            "thrown away. Nothing was timed beside it.",
            "soft",
        )
    said = (
        "Both were timed in one session, in alternating blocks, each idle while the other was "
        f"timed, with the same number of threads. The ratio is the median over "
        f"{fmt.counted(both.pairs, 'pair')} of blocks, its interval a bootstrap over the pairs. "
        "Input sizes: "
    )
    return el("p", text(said), foreign(fmt.axes(both.sizes)), text("."), class_="soft")


def _choice(choice: Sequence[Comparison]) -> Html:
    """Return what the engine was chosen by, where several could have shipped."""
    if not choice:
        return EMPTY
    said = (
        "Several engines could have shipped. They were timed anew, side by side in alternating "
        "blocks; a later one took the place of an earlier one only where it was shown to be faster:"
    )
    return join([paragraph(said), bullets([foreign(both.in_words()) for both in choice])])


def spent_section(seconds: Mapping[str, float]) -> Html:
    """Return where the time of the verification went."""
    if not seconds:
        return section("Where time went", paragraph("It was not recorded."))
    spent = [(_SPENT.get(name, fmt.words(name)), value) for name, value in seconds.items()]
    drawn = charts.seconds_chart(spent)
    lines = table((Column("Step"), Column("Seconds", True)), _durations(spent))
    return section("Where time went", el("figure", drawn) if drawn else lines, _share(seconds))


def _durations(spent: Iterable[tuple[str, float]]) -> Iterable[list[Html]]:
    return ([foreign(name), text(fmt.seconds(value))] for name, value in spent)


def _share(seconds: Mapping[str, float]) -> Html:
    engine, compare = seconds.get("engine", 0.0), seconds.get("compare", 0.0)
    if engine <= 0:
        return EMPTY
    said = f"Comparing took {fmt.percent(compare / engine)} of the inference that it judged."
    return paragraph(said, "soft")
