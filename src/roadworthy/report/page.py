"""Certificates as one page for a colleague: it needs no network, no scripts, no other file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from roadworthy.core.certificate import SMOKE_TEST, Certificate
from roadworthy.core.errors import UsageError
from roadworthy.core.evidence import read_certificate
from roadworthy.core.signature import Signature, TensorSpec
from roadworthy.report import answers, precision, sections, speed
from roadworthy.report import format as fmt
from roadworthy.report.markup import EMPTY, Html, el, foreign, join, text
from roadworthy.report.parts import Column, outcome, paragraph, table
from roadworthy.report.style import style_sheet
from roadworthy.report.verdict import (
    error_of,
    head,
    label_list,
    share_of_tolerance,
    verdict_in_words,
    verified,
    word,
    worst_output,
)

_PNG = b"\x89PNG\r\n\x1a\n"
# Should markup of a stranger ever slip in, the browser still loads and runs nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_MEANINGS = (
    "Relative L2 is ‖y − r‖ / ‖r‖ for an answer y and the trusted answer r. MVRE, the mean "
    "relative error, is mean(|y − r| / max(|r|, f)) with f = 0.001 · RMS(r). SQNR is "
    "20 · log10(‖r‖ / ‖y − r‖): more is better, ∞ when equal. Max abs is the largest |y − r|. "
    "Each is the worst sample's. The noise floor is how far the reference's own FP32 answers are "
    "from its FP64 answers: differences of that size are rounding."
)


def render(
    certificates: Sequence[Mapping[str, Any]],
    *,
    signature: Signature,
    title: str,
    pictures: Sequence[tuple[str, bytes]] = (),
) -> str:
    """Return one self-contained HTML page that shows everything in the certificates.

    The same arguments give the same page, to the byte.

    Args:
        certificates: JSON objects as `core.jsonable.dumps` writes a `Certificate`, at least one.
            All text in them is taken for a stranger's.
        signature: the network's inputs and outputs.
        title: the page's heading.
        pictures: (caption, PNG file), shown below the verdict.

    Raises:
        BundleError: a certificate of another schema, or a damaged one.
        UsageError: no certificate, or a picture that isn't a PNG.
    """
    if not certificates:
        raise UsageError(
            "there is no certificate to show", remedy="deploy first: it writes one for each target"
        )
    read = [
        read_certificate(data, f"certificate {index}") for index, data in enumerate(certificates, 1)
    ]
    single = len(read) == 1
    body = [
        el("p", text("Certificate" if single else "Certificates"), class_="kind"),
        el("h1", foreign(title)),
        head(read[0]) if single else _summary(read),
        _pictures(pictures),
        _contract(signature),
        *(_article(one, index, single) for index, one in enumerate(read, 1)),
        el("footer", paragraph(_MEANINGS)),
    ]
    return "<!DOCTYPE html>\n" + el("html", _head(title), _body(body), lang="en") + "\n"


def _head(title: str) -> Html:
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name_="color-scheme", content="light dark"),
        el("title", text(title)),
        el("style", Html(style_sheet())),
    )


def _body(parts: Sequence[Html]) -> Html:
    return el("body", el("main", *parts))


def _summary(read: Sequence[Certificate]) -> Html:
    """Return the verdict over all targets, and a line for each."""
    good = sum(map(verified, read))
    said = f"{good} of {fmt.counted(len(read), 'target')} verified."
    wrong = [foreign(one.target) for one in read if not verified(one)]
    named = [text(" Not verified: "), join(wrong, ", "), text(".")] if wrong else []
    if good == len(read):
        smoke = any(SMOKE_TEST in one.labels for one in read)
        verdict = word(True, "ALL VERIFIED AS A SMOKE TEST" if smoke else "ALL VERIFIED")
    else:
        verdict = word(False, "NOT ALL VERIFIED" if good else "NOT VERIFIED")
    labelled = any(one.labels for one in read)
    kind = "bad" if good < len(read) else "care" if labelled else "good"
    columns = (
        Column("Target"),
        Column("Verdict"),
        Column("Precision"),
        Column("Worst error", True),
        Column("Of tolerance", True),
        Column("Median latency", True),
        Column("Speed", True),
        Column("Labels"),
    )
    rows = [_summary_row(one, index) for index, one in enumerate(read, 1)]
    return el(
        "div", verdict, el("p", text(said), *named), table(columns, rows), class_=f"verdict {kind}"
    )


def _summary_row(one: Certificate, index: int) -> list[Html]:
    worst, both = worst_output(one), one.comparison
    latency = one.latency
    return [
        el("a", foreign(one.target), href=f"#target-{index}"),
        outcome(verified(one), verdict_in_words(one).lower(), verdict_in_words(one)),
        foreign(one.precision.upper()),
        text(fmt.NONE if worst is None else fmt.number(error_of(worst))),
        text(fmt.NONE if worst is None else fmt.of_limit(share_of_tolerance(worst))),
        text(fmt.NONE if latency is None else fmt.milliseconds(latency.p50_ms)),
        text(fmt.NONE if both is None else fmt.ratio(both.ratio)),
        label_list(one.labels) or text("none"),
    ]


def _article(certificate: Certificate, index: int, single: bool) -> Html:
    """Return one certificate in full; the only one has its verdict at the page's head."""
    heading = [] if single else [el("h2", foreign(certificate.target)), head(certificate)]
    return el(
        "article",
        *heading,
        answers.reference_section(certificate.reference),
        answers.answers_section(certificate),
        answers.cases_section(certificate.verdict.cases),
        answers.self_checks_section(certificate.verdict.self_checks),
        precision.precision_section(certificate),
        sections.samples_section(certificate.samples),
        speed.latency_section(certificate),
        sections.model_section(certificate.model),
        sections.exports_section(certificate.exports),
        sections.passes_section(certificate.passes),
        sections.engine_section(certificate.engine),
        sections.environment_section(certificate.environment, certificate.target),
        speed.spent_section(certificate.verdict.seconds),
        sections.made_section(certificate),
        id=f"target-{index}",
        class_=None if single else "one-of-many",
    )


def _contract(signature: Signature) -> Html:
    """Return the network's inputs and outputs as a table."""
    columns = (Column("Name"), Column("Role"), Column("Type"), Column("Shape"))
    rows = [
        [foreign(spec.name), text(role), foreign(spec.dtype), foreign(_shape(spec))]
        for role, specs in (("input", signature.inputs), ("output", signature.outputs))
        for spec in specs
    ]
    heading = el("h3", text("Inputs and outputs"))
    return el("section", heading, table(columns, rows))


def _shape(spec: TensorSpec) -> str:
    if spec.shape is None:
        return "not known"
    return " × ".join(str(axis) for axis in spec.shape) or "scalar"


def _pictures(pictures: Sequence[tuple[str, bytes]]) -> Html:
    figures = [_picture(caption, content) for caption, content in pictures]
    if not figures:
        return EMPTY
    shown = el("div", *figures, class_="pictures")
    return el("section", el("h3", text("Pictures")), shown)


def _picture(caption: str, content: bytes) -> Html:
    if not content.startswith(_PNG):
        raise UsageError(
            "a picture for the page isn't a PNG file",
            where=caption,
            remedy="save it as PNG",
        )
    address = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
    return join(
        [
            el(
                "figure",
                el("img", src=address, alt=caption),
                el("figcaption", foreign(caption)),
            )
        ]
    )
