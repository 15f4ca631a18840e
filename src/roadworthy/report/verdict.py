"""The head of a certificate: verified or not, what a reader must not miss, every failure."""

from __future__ import annotations

from roadworthy.core.certificate import ONE_SHAPE, SINGLE_ORACLE, SMOKE_TEST, Certificate
from roadworthy.core.verdict import OutputVerdict
from roadworthy.report import format as fmt
from roadworthy.report.markup import EMPTY, Html, el, foreign, join, text
from roadworthy.report.parts import bullets, facts, mark, section

_LABELS = {
    SMOKE_TEST: "The samples are random: this shows that the engine runs, "
    "not that it is right on real data.",
    ONE_SHAPE: "The engine was judged at one fixed input shape. No other was tried.",
    SINGLE_ORACLE: "One implementation alone gave the trusted answers: nothing independent "
    "confirmed them.",
}

METRICS = {
    "relative_l2": "relative L2",
    "mismatch_share": "share of elements that differ",
}


def verified(certificate: Certificate) -> bool:
    """Tell whether the engine may be called verified: the flag and the evidence both say so."""
    return certificate.passed and certificate.verdict.passed


def failures(certificate: Certificate) -> tuple[str, ...]:
    """Return every failure as a line; a failed certificate has one at least."""
    lines = certificate.verdict.failures
    verdict = certificate.verdict
    if not verdict.cases:
        lines = ("no case was judged", *lines)
    lines = (
        *lines,
        *(
            f"case {case.case}: no output was judged"
            for case in verdict.cases
            if not case.outputs and not case.failures
        ),
    )
    if certificate.passed and not verdict.passed:
        lines = ("the certificate claims to have passed, but its evidence says otherwise", *lines)
    if not certificate.passed and not lines:
        lines = ("the certificate says that it did not pass, without a reason",)
    return lines


def share_of_tolerance(output: OutputVerdict) -> float:
    """Return the error over its limit: NaN where the limit is 0 and the error too."""
    error = error_of(output)
    if output.tolerance.limit > 0:
        return error / output.tolerance.limit
    return 0.0 if error == 0 else float("inf")


def error_of(output: OutputVerdict) -> float:
    """Return the measured value of the metric that the output is judged by."""
    value: float = getattr(output.metrics, output.tolerance.metric)
    return value


def worst_output(certificate: Certificate) -> OutputVerdict | None:
    """Return the output nearest to its tolerance, or furthest beyond it; None without outputs."""
    worst = certificate.verdict.worst().values()
    return max(worst, key=lambda one: (not one.passed, share_of_tolerance(one)), default=None)


def head(certificate: Certificate) -> Html:
    """Return the verdict with its labels and key figures, then every failure."""
    good = verified(certificate)
    wrong = failures(certificate)
    return join(
        [
            el(
                "div",
                word(good, verdict_in_words(certificate)),
                text_of(certificate, good, len(wrong)),
                _labels(certificate.labels),
                _figures(certificate),
                class_=f"verdict {_kind(good, certificate.labels)}",
            ),
            _failures(wrong) if not good else EMPTY,
        ]
    )


def verdict_in_words(certificate: Certificate) -> str:
    """Return VERIFIED or NOT VERIFIED; a smoke test is never verified without saying so."""
    if not verified(certificate):
        return "NOT VERIFIED"
    return "VERIFIED AS A SMOKE TEST" if SMOKE_TEST in certificate.labels else "VERIFIED"


def word(good: bool, said: str) -> Html:
    """Return the verdict in words, with its mark."""
    return el("p", mark("good" if good else "bad"), el("span", text(said)), class_="word")


def text_of(certificate: Certificate, good: bool, wrong: int) -> Html:
    """Return the verdict in a sentence."""
    judge = el("strong", foreign(certificate.reference.judge))
    if not good:
        said = f"{fmt.counted(wrong, 'failure')}, all listed below. Do not use this engine."
        return el("p", text(said + " It was judged against "), judge, text("."))
    cases = certificate.verdict.cases
    said = f"In {fmt.counted(len(cases), 'case')} every answer is within its tolerance of "
    checks = len(certificate.verdict.self_checks)
    held = f", and {fmt.counted(checks, 'self-check')} held." if checks else "."
    return el("p", text(said), judge, text(held))


def label_list(labels: tuple[str, ...]) -> Html:
    """Return the labels alone, for a table."""
    return join([el("span", foreign(label), class_="label") for label in labels], " ")


def _labels(labels: tuple[str, ...]) -> Html:
    items = [
        join([el("span", foreign(label), class_="label"), el("span", text(_LABELS.get(label, "")))])
        for label in labels
    ]
    return bullets(items, "labels")


def _kind(good: bool, labels: tuple[str, ...]) -> str:
    if not good:
        return "bad"
    return "care" if labels else "good"


def _figures(certificate: Certificate) -> Html:
    pairs = [
        ("Target", foreign(certificate.target)),
        ("Precision", foreign(certificate.precision.upper())),
    ]
    worst = worst_output(certificate)
    if worst is not None:
        share = fmt.against(share_of_tolerance(worst), "its tolerance")
        name = METRICS[worst.tolerance.metric]
        pairs.append((f"Worst error, {name}", _figure(fmt.number(error_of(worst)), share)))
        mvre = max(certificate.verdict.worst_of("mvre").values(), default=0.0)
        pairs.append(("Worst MVRE", text(fmt.number(mvre))))
    pairs.append(("Samples", text(fmt.count(certificate.samples.count))))
    pairs += _speed(certificate)
    return facts(pairs, "figures")


def _speed(certificate: Certificate) -> list[tuple[str, Html]]:
    pairs = []
    if certificate.latency is not None:
        pairs.append(("Median latency", text(fmt.milliseconds(certificate.latency.p50_ms))))
    both = certificate.comparison
    if both is not None:
        interval = f"{fmt.ratio(both.ratio_low)} to {fmt.ratio(both.ratio_high)}, against "
        beside = el("small", text(interval), foreign(both.baseline.subject))
        pairs.append(("Speed", join([text(fmt.ratio(both.ratio)), beside])))
    return pairs


def _figure(shown: str, below: str) -> Html:
    return join([text(shown), el("small", text(below))])


def _failures(wrong: tuple[str, ...]) -> Html:
    title = "What failed" if len(wrong) == 1 else f"What failed: {len(wrong)}"
    return section(title, bullets(foreign(line) for line in wrong), class_="failures")
