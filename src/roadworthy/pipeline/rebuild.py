"""A bundle's engine built anew for this machine, where its own was built for another one."""

from __future__ import annotations

from collections.abc import Mapping

from roadworthy.backends import registry
from roadworthy.backends.base import Engine
from roadworthy.bundle.reader import Bundle
from roadworthy.core.progress import Progress
from roadworthy.graph.serial import digest, from_files
from roadworthy.pipeline.building import build


def rebuild(bundle: Bundle, target: str | None, progress: Progress) -> tuple[Engine, str]:
    """Compile the bundle's own ONNX for this machine, in memory; the bundle stays as it is.

    The engine isn't judged yet.

    Args:
        bundle: an open bundle.
        target: one of its engines, whose options are used, and where it is built; None is the
            default one, at its own place.
        progress: told what is being done.

    Returns:
        The engine, and why there is one: in what this machine differs.

    Raises:
        UnavailableError: the target isn't here, or refuses the model.
    """
    kept = bundle.engine(target)
    files = _graph(kept) or bundle.model()
    engine = build(
        from_files(files),
        bundle.signature,
        digest(files),
        kept.target,
        kept.options,
        progress,
        doing="rebuild",
    )
    differences = differing(kept.fingerprint, engine.fingerprint)
    why = "; ".join(differences) or "it was asked for, though the bundle's own was built alike"
    return engine, f"rebuilt from the bundle's ONNX: {why}"


def _graph(engine: Engine) -> dict[str, bytes]:
    """Return the lowered ONNX that an engine brings along; nothing where it has none.

    An engine that was lowered must never be built from the FP32 model: it would be another one.
    """
    return {name: content for name, content in engine.files.items() if ".onnx" in name}


def differences_here(engine: Engine) -> tuple[str, ...]:
    """Say where this machine isn't what an engine was verified on.

    Raises:
        UnavailableError: its runtime or device isn't here.
    """
    here = registry.find(engine.target.backend).fingerprint(engine.target)
    return differing(engine.fingerprint, here)


def differing(built: Mapping[str, str], here: Mapping[str, str]) -> tuple[str, ...]:
    """Say where two fingerprints differ, in what both of them state."""
    return tuple(
        f"verified with {key} {value}, here is {here[key]}"
        for key, value in built.items()
        if key in here and here[key] != value
    )
