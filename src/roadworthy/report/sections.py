"""The rest of a certificate: samples, model, how it came to be, engine, environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from roadworthy.core.account import SamplesAccount
from roadworthy.core.certificate import Certificate, ExportAttempt, ModelAccount, PassRecord
from roadworthy.core.signature import Signature
from roadworthy.report import format as fmt
from roadworthy.report.markup import EMPTY, Html, code, el, foreign, join, text
from roadworthy.report.parts import (
    Column,
    bullets,
    caution,
    facts,
    mark,
    paragraph,
    section,
    several,
    short,
    table,
    value,
)
from roadworthy.report.precision import PROVEN


def samples_section(samples: SamplesAccount) -> Html:
    """Return what the samples are, their ranges, and whatever looks wrong with them."""
    columns = (
        Column("Input"),
        Column("Type"),
        Column("Shapes"),
        Column("Low", True),
        Column("High", True),
        Column("Mean", True),
        Column("Std", True),
    )
    rows = [
        [
            foreign(seen.name),
            foreign(seen.dtype),
            join([el("div", text(fmt.shape(shape))) for shape in seen.shapes]),
            *(text(fmt.number(x)) for x in (seen.low, seen.high, seen.mean, seen.std)),
        ]
        for seen in samples.inputs
    ]
    pairs = [
        ("From", foreign(samples.source)),
        ("Kind", foreign(samples.kind)),
        ("Count", text(fmt.count(samples.count))),
        ("Digest", code(samples.digest)),
        ("Findings", several([caution(one) for one in samples.findings], "nothing suspicious")),
    ]
    return section("Samples", facts(pairs), table(columns, rows) if rows else EMPTY)


def model_section(model: ModelAccount) -> Html:
    """Return what was compiled."""
    pairs = [
        ("Source", foreign(model.source)),
        ("Digest", code(model.digest)),
        ("ONNX", text(f"opset {model.opset}, IR version {model.ir_version}")),
        ("Nodes", text(fmt.count(model.nodes))),
        ("Parameters", text(fmt.count(model.parameters))),
        ("Depth", text(f"{fmt.count(model.depth)} arithmetic nodes on the longest path")),
        ("Signature", signature_text(model.signature)),
    ]
    return section("Model", facts(pairs))


def signature_text(data: Mapping[str, Any]) -> Html:
    """Return the inputs and outputs of a signature's JSON, a line each."""
    signature = Signature.from_json(data)
    lines = [
        join([text(f"{role} "), code(str(spec))])
        for role, specs in (("input", signature.inputs), ("output", signature.outputs))
        for spec in specs
    ]
    return bullets(lines)


def exports_section(exports: tuple[ExportAttempt, ...]) -> Html:
    """Return which exporters were tried and what became of it."""
    if not exports:
        return section("Exporters", paragraph("None: the model came as an ONNX file."))
    columns = (Column("Exporter"), Column("Outcome"), Column("Why"), Column("Time", True))
    rows = [
        [
            foreign(one.exporter),
            _outcome(one.outcome),
            foreign(one.detail),
            text(fmt.seconds(one.seconds)),
        ]
        for one in exports
    ]
    return section("Exporters", table(columns, rows))


def passes_section(passes: tuple[PassRecord, ...]) -> Html:
    """Return every pass: kept or rolled back, and why."""
    if not passes:
        return section("Passes", paragraph("No pass was run."))
    columns = (
        Column("Pass"),
        Column("Outcome"),
        Column("Why"),
        Column("Nodes", True),
        Column("Time", True),
    )
    rows = [
        [
            foreign(one.name),
            _outcome(one.outcome),
            foreign(one.detail),
            text(f"{fmt.count(one.nodes_before)} → {fmt.count(one.nodes_after)}"),
            text(fmt.seconds(one.seconds)),
        ]
        for one in passes
    ]
    return section("Passes", table(columns, rows))


def _outcome(word: str) -> Html:
    """Mark what stayed and what had to be taken back; anything else is plain words."""
    kind = {"kept": "good", "rolled back": "care", "disagrees": "bad", "raised": "bad"}.get(word)
    if kind is None:
        return foreign(word)
    return el("span", mark(kind), foreign(word), class_=f"outcome {kind}")


def engine_section(engine: Mapping[str, Any]) -> Html:
    """Return what the engine is tied to, what it was compiled with, its files and digest."""
    pairs = []
    for key, found in engine.items():
        if key == "files" and isinstance(found, Mapping):
            pairs.append((fmt.words(key), _files(found)))
        elif key == "digest" and isinstance(found, str):
            pairs.append((fmt.words(key), code(found)))
        elif key == "proof" and isinstance(found, Mapping):
            pairs += _proof(found)
        elif key == "log" and isinstance(found, list | tuple):
            pairs += _log(found)
        else:
            pairs.append((fmt.words(key), value(found, key)))
    return section("Engine", facts(pairs) if pairs else paragraph("Nothing is recorded."))


# The dtype of every single node is for the certificate's JSON.
_TOO_LONG = frozenset({"nodes"})


def _proof(proof: Mapping[str, Any]) -> list[tuple[str, Html]]:
    """Return the rest of an engine's account of itself: "Precision" has what it computes in."""
    rest = {key: item for key, item in proof.items() if key not in PROVEN | _TOO_LONG}
    return [("Proof", value(rest, "proof"))] if rest else []


def _log(lines: Sequence[Any]) -> list[tuple[str, Html]]:
    """Return what the build said that a person should see, folded where that is much."""
    said = [foreign(str(line)) for line in lines]
    return [("Build said", short(said, "line"))] if said else []


def _files(files: Mapping[str, Any]) -> Html:
    return several(
        [
            join([code(str(name)), text(", "), value(length, "bytes")])
            for name, length in files.items()
        ]
    )


def environment_section(environment: Mapping[str, Any], target: str) -> Html:
    """Return the machine and the packages, and say where the engine was on another machine."""
    pairs = [(fmt.words(key), value(found, key)) for key, found in environment.items()]
    parts = [facts(pairs) if pairs else paragraph("Nothing is recorded.")]
    if "@ssh=" in target:
        parts.insert(
            0, el("p", text("Of the machine that judged; the engine ran on "), foreign(target))
        )
    return section("Environment", *parts)


def made_section(certificate: Certificate) -> Html:
    """Return when and by what the certificate was written."""
    pairs = [
        ("Written", foreign(fmt.moment(certificate.created))),
        ("By", join([text("roadworthy "), foreign(certificate.roadworthy)])),
        ("Schema", code(certificate.schema)),
    ]
    return section("This certificate", facts(pairs))
