"""What a calibration saw: which samples, what is wrong with them, and the range of every tensor."""

from __future__ import annotations

from collections.abc import Sequence

from roadworthy.core.account import SamplesAccount
from roadworthy.core.lowered import LoweringAccount, Ranges
from roadworthy.report import charts
from roadworthy.report import format as fmt
from roadworthy.report.markup import EMPTY, Html, code, el, foreign, join, text
from roadworthy.report.parts import (
    Column,
    bullets,
    caution,
    facts,
    folded,
    outcome,
    several,
    short,
    table,
)
from roadworthy.report.profile_chart import Span, bend, profile_chart

# A share of clipped values to look at: the percentile method cuts off a tenth of it on purpose.
_MUCH = 1e-3
# So many tensors are named.
_WORST = 5
_WIDEST = 3
# Of many warnings.
_FIRST = 2
# A table of more rows is folded.
_MOST_ROWS = 8
# What `Calibration.findings` says of one.
_OUTLIER = ": an outlier, "


def calibration_part(account: LoweringAccount, judged: SamplesAccount) -> Html:
    """Return the part of "Precision" that tells where its ranges come from.

    Args:
        account: how the network came to its precision.
        judged: the samples that the answers are judged on.
    """
    seen = account.calibration
    return join(
        [
            el("h4", text("Calibration" if account.dialect else "Ranges")),
            el("p", *_told(account, judged)),
            facts(_warnings(account)),
            _ranges(seen),
            facts(_origin(account, judged)),
        ]
    )


# -- what calibrated


def _told(account: LoweringAccount, judged: SamplesAccount) -> list[Html]:
    seen = account.calibration
    count, tensors = fmt.counted(seen.count, "sample"), fmt.counted(seen.tensors, "tensor")
    if seen.data_set == judged.digest:
        count = f"{fmt.count(seen.count)} of the {fmt.counted(judged.count, 'sample')}"
        count += " that judge the answers"
    were = "was" if seen.count == 1 else "were"
    if not account.dialect:
        said = f"{count} {were} run, and what {tensors} held tells what "
        return [text(said), foreign(account.precision.upper()), text(" can hold.")]
    told = [text(f"{count} {were} run to calibrate; "), el("b", foreign(seen.method))]
    told.append(text(f" chose the ranges of {tensors} from what they held."))
    if _held_back(account):
        more = (
            "1 more was" if account.held_back == 1 else f"{fmt.count(account.held_back)} more were"
        )
        told.append(text(f" {more} held back to {_purpose(account)}."))
    return told


def _held_back(account: LoweringAccount) -> int:
    """Return how many samples didn't calibrate, to judge."""
    return account.held_back if account.is_apart else 0


def _purpose(account: LoweringAccount) -> str:
    """Return what the samples that were held back are for."""
    purposes = ["compare the methods"] * bool(account.scores)
    purposes += ["tell whether correcting biases pays"] * (account.bias_correction is not None)
    return " and to ".join(purposes) or "judge the plan"


def _origin(account: LoweringAccount, judged: SamplesAccount) -> list[tuple[str, Html]]:
    """Return where the samples come from; certificates of before don't tell."""
    seen = account.calibration
    pairs = []
    if seen.data_set == judged.digest:
        pairs.append(("Samples from", foreign(judged.source)))
    elif seen.source:
        pairs.append(("Samples from", foreign(seen.source)))
    if seen.data_set:
        pairs.append(("Digest of all given", code(seen.data_set)))
    if seen.samples and seen.samples != seen.data_set:
        pairs.append(("Digest of those run", code(seen.samples)))
    if account.split and _held_back(account):
        pairs.append(("Held back", foreign(account.split)))
    return [*pairs, ("Took", text(fmt.seconds(seen.seconds)))]


# -- what a reader should look at


def _warnings(account: LoweringAccount) -> list[tuple[str, Html]]:
    seen = account.calibration
    left_out = {f"sample {name}: left out: {reason}" for name, reason in seen.skipped.items()}
    findings = [one for one in seen.findings if one not in left_out]
    # The comparison of the methods has them, where there is one.
    notes = () if account.scores else account.notes
    pairs = [
        ("Left out", _left_out(seen)),
        ("Findings", _findings(findings, account)),
        ("Notes", _cautions(notes)),
        ("Dead channels", _dead(seen)),
    ]
    found = [(label, value) for label, value in pairs if value]
    if not found and max(seen.saturation.values(), default=0.0) < _MUCH:
        found.append(("Findings", outcome(True, "nothing suspicious")))
    # Types in the graph have no range that something could lie beyond.
    return [*found, *([("Clipped", _clipped(seen))] if account.dialect else [])]


def _left_out(seen: Ranges) -> Html:
    return _cautions([f"{name}: {reason}" for name, reason in seen.skipped.items()])


def _findings(findings: Sequence[str], account: LoweringAccount) -> Html:
    if not findings:
        return EMPTY
    shown = _cautions(findings)
    if not any(_OUTLIER in one for one in findings):
        return shown
    done = "An outlier counts for the ranges."
    if _held_back(account):
        done = "An outlier counts for the ranges, and is never held back."
    return join([shown, el("div", text(done), class_="soft")])


def _cautions(lines: Sequence[str]) -> Html:
    """Return warnings, the first of many in sight and the rest folded; nothing for none."""
    if len(lines) <= _WORST:
        return several(list(map(caution, lines)), "")
    rest = folded(f"{fmt.count(len(lines) - _FIRST)} more", bullets(map(caution, lines[_FIRST:])))
    return join([bullets(map(caution, lines[:_FIRST])), rest])


def _dead(seen: Ranges) -> Html:
    worst = sorted(seen.dead_channels.items(), key=lambda item: -item[1])
    if not worst:
        return EMPTY
    lines = [join([text(f"{fmt.counted(n, 'channel')} of "), code(name)]) for name, n in worst]
    total = fmt.counted(sum(seen.dead_channels.values()), "channel")
    never = caution(f"{total} of {fmt.counted(len(worst), 'tensor')} never changed")
    return join([never, short(lines, "tensor") if len(lines) > _WORST else bullets(lines)])


def _clipped(seen: Ranges) -> Html:
    worst = sorted(seen.saturation.items(), key=lambda item: -item[1])
    if not worst:
        return text("none")
    more = f", the worst {_WORST} are" if len(worst) > _WORST else ""
    said = f"Values of {fmt.counted(len(worst), 'tensor')} lie beyond the range{more}:"
    return join([text(said), bullets(_share(*item) for item in worst[:_WORST])])


def _share(name: str, share: float) -> Html:
    """Return how much of a tensor is clipped; a very small share by the million."""
    said = fmt.percent(share) if share >= 1e-4 else f"{fmt.number(share * 1e6)} in a million"
    amount = caution(said) if share >= _MUCH else text(said)
    return join([amount, text(" of "), code(name)])


# -- the ranges


def _ranges(seen: Ranges) -> Html:
    """Return them as a picture and a table; certificates of before hold none."""
    spans = [
        Span(name, low, high, seen.saturation.get(name, 0.0) >= _MUCH)
        for name, (low, high) in seen.ranges.items()
    ]
    if not spans:
        return EMPTY
    rows = _table(spans, seen)
    if len(spans) > _MOST_ROWS:
        rows = folded(f"All {fmt.count(len(spans))} ranges", el("div", rows))
    drawn = profile_chart(spans)
    if not drawn:
        return rows
    return join([el("figure", _legend(spans), drawn, el("figcaption", *_caption(spans))), rows])


def _legend(spans: Sequence[Span]) -> Html:
    if not any(span.marked for span in spans):
        return EMPTY
    signs = (("range", "range"), ("range marked", f"{fmt.percent(_MUCH)} or more are clipped"))
    return el(
        "div",
        *(el("span", charts.key(kind), text(said)) for kind, said in signs),
        class_="legend",
    )


def _caption(spans: Sequence[Span]) -> list[Html]:
    widest = sorted(spans, key=lambda span: -span.width)[:_WIDEST]
    named = [join([code(span.name), text(f" ({span})")]) for span in widest]
    told = [
        text("What each tensor held, from left to right in the order of the network. Widest: "),
        join(named, ", "),
        text("."),
    ]
    knee = bend(spans)
    if knee is not None:
        told.append(
            text(f" The axis is logarithmic from about {fmt.number(float(f'{knee:.1g}'))} on.")
        )
    return told


def _table(spans: Sequence[Span], seen: Ranges) -> Html:
    columns = [Column("Tensor"), Column("Range", True)]
    columns += [Column("Clipped", True)] * bool(seen.saturation)
    columns += [Column("Dead channels", True)] * bool(seen.dead_channels)
    return table(columns, (_row(span, seen) for span in spans), "compact")


def _row(span: Span, seen: Ranges) -> list[Html]:
    share, dead = seen.saturation.get(span.name), seen.dead_channels.get(span.name)
    cells = [code(span.name), text(str(span))]
    if seen.saturation:
        cells.append(EMPTY if share is None else text(fmt.percent(share)))
    if seen.dead_channels:
        cells.append(EMPTY if dead is None else text(fmt.count(dead)))
    return cells
