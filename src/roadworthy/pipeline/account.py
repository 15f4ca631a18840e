"""Write down everything that was measured: the evidence becomes a certificate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING

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


@dataclass(frozen=True)
class Evidence:
    """What is known before any target is built, and is the same for all of them."""

    source: str
    samples: Samples
    prepared: Prepared
    model: ir.Model
    passes: tuple[PassRecord, ...]


def certify(
    engine: Engine,
    verdict: Verdict,
    evidence: Evidence,
    latency: Latency | None,
    comparison: Comparison | None,
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
            "log": list(engine.log),
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
    )


def shape_labels(samples: Samples, signature: Signature) -> tuple[str, ...]:
    """Return what a reader must not miss about the samples and the shapes."""
    found = []
    if samples.is_random:
        found.append(SMOKE_TEST)
    if signature.is_static:
        found.append(ONE_SHAPE)
    return tuple(found)


def _model_account(engine: Engine, evidence: Evidence) -> ModelAccount:
    from roadworthy.graph.serial import to_files

    model = evidence.model
    return ModelAccount(
        source=evidence.source,
        digest=digest(to_files(model, "model.onnx")),
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
