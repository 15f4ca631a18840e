"""Write down everything that was measured: the evidence becomes a certificate."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from typing import TYPE_CHECKING, Any

from roadworthy.backends.base import Engine
from roadworthy.core.certificate import (
    ONE_SHAPE,
    SMOKE_TEST,
    Certificate,
    Comparison,
    Latency,
    ModelAccount,
    PassRecord,
    ReferenceAccount,
)
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Signature
from roadworthy.core.verdict import Verdict
from roadworthy.graph.depth import arithmetic_depth
from roadworthy.graph.serial import digest
from roadworthy.measure.environment import environment
from roadworthy.source.prepared import Prepared

if TYPE_CHECKING:
    import onnx_ir as ir

# Of TensorRT's information: what an engine takes, and how long it took.
_SUMMARY = re.compile(r"\[I\] (Total |Engine generation completed|\[MemUsageStats\])")
# The first errors tell the cause, the last lines the sum.
_FIRST_LINES = 60
_LAST_LINES = 39
_LONGEST_LINE = 500


@dataclass(frozen=True)
class Evidence:
    """What is known before any target is built, and is the same for all of them."""

    source: str
    samples: Samples
    prepared: Prepared
    model: ir.Model
    passes: tuple[PassRecord, ...]

    @cached_property
    def model_digest(self) -> str:
        """The digest of the ONNX model, as `sha256:…`."""
        from roadworthy.graph.serial import to_files

        return digest(to_files(self.model, "model.onnx"))


def certify(
    engine: Engine,
    verdict: Verdict,
    evidence: Evidence,
    latency: Latency | None,
    comparison: Comparison | None,
    lowering: Mapping[str, Any] | None = None,
) -> Certificate:
    """Put everything about one engine into its certificate."""
    prepared = evidence.prepared
    return Certificate(
        target=str(engine.target),
        precision=engine.options.precision,
        passed=verdict.passed,
        labels=(
            *shape_labels(evidence.samples, prepared.signature),
            *prepared.reference.labels,
        ),
        model=_model_account(engine, evidence),
        engine={
            "fingerprint": dict(engine.fingerprint),
            "options": engine.options,
            "files": {name: len(content) for name, content in engine.files.items()},
            "digest": digest(engine.files),
            "proof": dict(engine.proof),
            "log": list(useful_lines(engine.log)),
        },
        samples=evidence.samples.account(),
        reference=ReferenceAccount(
            kind=prepared.reference.kind,
            judge=prepared.reference.judge.name,
            fine=None if prepared.reference.fine is None else prepared.reference.fine.name,
            noise=dict(prepared.trusted.noise),
            notes=(*prepared.reference.notes, *prepared.trusted.notes),
            account=dict(prepared.reference.account),
        ),
        verdict=verdict,
        exports=prepared.exports,
        passes=evidence.passes,
        latency=latency,
        comparison=comparison,
        environment=environment(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        roadworthy=metadata.version("roadworthy"),
        calling=prepared.calling,
        lowering=dict(lowering) if lowering else None,
    )


def useful_lines(log: Sequence[str]) -> tuple[str, ...]:
    """Return the lines of a build log that a reader of the certificate needs.

    1. "[F] …", "[E] …", "[W] …": fatal errors, errors, warnings; "[I] …" only where it sums up.
    2. Lines without a severity: what a runtime of ours wrote down itself.

    Each once, cut where it is long, and a hundred at most; the bundle has the whole log.
    """
    found: dict[str, None] = {}
    for line in log:
        if not re.match(r"\[[A-Z]\] ", line) or line[1] in "FEW" or _SUMMARY.match(line):
            text = " ".join(line.split())
            found.setdefault(
                text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 1] + "…"
            )
    lines = tuple(found)
    more = len(lines) - _FIRST_LINES - _LAST_LINES
    if more <= 1:
        return lines
    return (*lines[:_FIRST_LINES], f"… {more} more lines: see the build log", *lines[-_LAST_LINES:])


def shape_labels(samples: Samples, signature: Signature) -> tuple[str, ...]:
    """Return what a reader must not miss about the samples and the shapes."""
    found = []
    if samples.is_random:
        found.append(SMOKE_TEST)
    if signature.is_static:
        found.append(ONE_SHAPE)
    return tuple(found)


def _model_account(engine: Engine, evidence: Evidence) -> ModelAccount:
    model = evidence.model
    return ModelAccount(
        source=evidence.source,
        digest=evidence.model_digest,
        ir_version=model.ir_version or 0,
        opset=model.opset_imports.get("", 0),
        nodes=sum(1 for _ in model.graph.all_nodes()),
        parameters=sum(
            value.const_value.size
            for value in model.graph.initializers.values()
            if value.const_value is not None
        ),
        depth=arithmetic_depth(model),
        signature=engine.signature.to_json(),
    )
