"""The manifest: what a bundle holds, as frozen records, and their JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roadworthy.backends.base import CompileOptions
from roadworthy.core.jsonable import plain
from roadworthy.core.signature import Signature
from roadworthy.core.target import Target

SCHEMA = "roadworthy/bundle/1"
MANIFEST = "manifest.json"
MANIFEST_DIGEST = "manifest.sha256"
PREPROCESS = "preprocess.json"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file: SHA-256 as 64 lower-case hexadecimal digits, and its size in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """One engine: where its files are, what it is tied to, and whether it was verified.

    Attributes:
        target: where it runs.
        files: paths in the bundle, the one to open first; it may be the model itself.
        options: what it was compiled with.
        fingerprint: what it is tied to.
        certificate: path of its certificate.
        verified: what the certificate says.
        log: path of all that the build said; None where it said nothing, and in bundles that
            were written before logs were kept.
    """

    target: Target
    files: tuple[str, ...]
    options: CompileOptions
    fingerprint: Mapping[str, str]
    certificate: str
    verified: bool
    log: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; without a log it has no field for one."""
        data: dict[str, Any] = {
            "target": str(self.target),
            "files": list(self.files),
            "options": plain(self.options),
            "fingerprint": dict(sorted(self.fingerprint.items())),
            "certificate": self.certificate,
            "verified": self.verified,
        }
        return data if self.log is None else data | {"log": self.log}


@dataclass(frozen=True, slots=True)
class CaseItem:
    """One sample of a case: its name, and the paths of its feed, answers and raw file."""

    sample: str
    feed: str
    answers: str
    raw: str | None


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """Samples at one setting of the symbolic axes; `derived` ones were made from the samples."""

    name: str
    derived: bool
    sizes: Mapping[str, int]
    items: tuple[CaseItem, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything in a bundle.

    Attributes:
        roadworthy: the version that wrote it.
        created: when, ISO 8601.
        signature: the network's inputs and outputs.
        model: paths of the ONNX model, then of its external data.
        preprocess: path of the preprocess, None when the inputs are given as arrays.
        engines: at least one, with different slugs.
        default_engine: the slug of the engine that is used when none is named.
        cases: samples to verify again with, at least one.
        files: every file but the manifest and its digest.
    """

    roadworthy: str
    created: str
    signature: Signature
    model: tuple[str, ...]
    preprocess: str | None
    engines: tuple[EngineRecord, ...]
    default_engine: str
    cases: tuple[CaseRecord, ...]
    files: Mapping[str, FileRecord]
    schema: str = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; the same manifest always gives the same text."""
        data: dict[str, Any] = {
            "schema": self.schema,
            "roadworthy": self.roadworthy,
            "created": self.created,
            "signature": self.signature.to_json(),
            "model": list(self.model),
            "preprocess": self.preprocess,
            "engines": [engine.to_json() for engine in self.engines],
            "default_engine": self.default_engine,
            "cases": [
                plain(case) | {"sizes": dict(sorted(case.sizes.items()))} for case in self.cases
            ],
            "files": {name: plain(self.files[name]) for name in sorted(self.files)},
        }
        return data

    def referenced(self) -> frozenset[str]:
        """Return every path that something in the manifest refers to."""
        found = set(self.model)
        if self.preprocess:
            found.add(self.preprocess)
        for engine in self.engines:
            found |= {*engine.files, engine.certificate} | ({engine.log} if engine.log else set())
        for case in self.cases:
            for item in case.items:
                found |= {item.feed, item.answers} | ({item.raw} if item.raw else set())
        return frozenset(found)


def digest_line(sha256: str) -> bytes:
    """Return the content of `manifest.sha256`, as `sha256sum -c` reads it."""
    return f"{sha256}  {MANIFEST}\n".encode()
