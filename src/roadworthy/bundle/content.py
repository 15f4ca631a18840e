"""What goes into a bundle, and the files and manifest that follow from it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from roadworthy.backends.base import Engine
from roadworthy.bundle import arrays
from roadworthy.bundle.manifest import (
    PREPROCESS,
    CaseItem,
    CaseRecord,
    EngineRecord,
    FileRecord,
    Manifest,
)
from roadworthy.bundle.names import component_fault
from roadworthy.core.certificate import Certificate
from roadworthy.core.errors import UsageError
from roadworthy.core.jsonable import dumps
from roadworthy.core.signature import Array, Feed, Signature

_RAW_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,16}")


def now() -> str:
    """Return the time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class ContentItem:
    """One sample: name, feed, reference answers, and the file that it was read from.

    `raw` is that file's content and `raw_suffix` its ending (".png"); None where there is none.
    """

    sample: str
    feed: Feed
    answers: Mapping[str, Array]
    raw: bytes | None = None
    raw_suffix: str = ""


@dataclass(frozen=True)
class ContentCase:
    """Samples at one setting of the symbolic axes; `name` becomes a folder's name."""

    name: str
    derived: bool
    sizes: Mapping[str, int]
    items: Sequence[ContentItem]


@dataclass(frozen=True)
class BundleContent:
    """All that ships.

    Attributes:
        signature: the network's inputs and outputs; every engine must have the same.
        model: the ONNX model, file name to content; external data after it.
        preprocess: as JSON, None when the inputs are given as arrays.
        engines: each with its certificate; at least one.
        default_engine: the slug of the one to use when none is named; None is the first that is
            verified, else the first.
        cases: samples to verify again with; at least one.
        created: ISO 8601; everything else decides the bytes.
    """

    signature: Signature
    model: Mapping[str, bytes]
    preprocess: Mapping[str, Any] | None
    engines: Sequence[tuple[Engine, Certificate]]
    cases: Sequence[ContentCase]
    default_engine: str | None = None
    created: str = field(default_factory=now)


Part = Callable[[], bytes]
"""Gives a file's content when it is written: arrays are encoded one at a time."""


class Layout:
    """Puts content into files: first all names, then, as contents are written, their digests."""

    def __init__(self, content: BundleContent) -> None:
        self.parts: dict[str, Part] = {}
        self._content = content
        self._records: dict[str, FileRecord] = {}
        self._folded: set[str] = set()
        for name, data in content.model.items():
            self._add(_component(name, "a model file's name"), lambda data=data: data)  # type: ignore[misc]
        self._preprocess = self._add_json(PREPROCESS, content.preprocess)
        self._engines = [self._engine(*pair) for pair in content.engines]
        self._cases = [self._case(case) for case in content.cases]

    def encode(self, name: str) -> bytes:
        """Return a file's content, and remember its digest for the manifest."""
        data = self.parts[name]()
        self._records[name] = FileRecord(hashlib.sha256(data).hexdigest(), len(data))
        return data

    def manifest(self) -> Manifest:
        """Return the manifest, once every part was encoded."""
        content = self._content
        verified = [engine for engine in self._engines if engine.verified]
        first = (verified or self._engines)[:1]
        return Manifest(
            roadworthy=metadata.version("roadworthy"),
            created=content.created,
            signature=content.signature,
            model=tuple(content.model),
            preprocess=self._preprocess,
            engines=tuple(self._engines),
            default_engine=content.default_engine or "".join(e.target.slug for e in first),
            cases=tuple(self._cases),
            files={name: self._records[name] for name in sorted(self.parts)},
        )

    def _add(self, name: str, part: Part) -> str:
        if name.casefold() in self._folded:
            raise UsageError(f"two files of the bundle would be named {name!r}")
        self._folded.add(name.casefold())
        self.parts[name] = part
        return name

    def _add_json(self, name: str, value: object) -> str | None:
        if value is None:
            return None
        data = dumps(value).encode()
        return self._add(name, lambda: data)

    def _engine(self, engine: Engine, certificate: Certificate) -> EngineRecord:
        target = str(engine.target)
        if engine.signature != self._content.signature or certificate.target != target:
            raise UsageError(
                "an engine's signature or certificate isn't that of the bundle",
                where=target,
                remedy="put engines and certificates of one model into one bundle",
            )
        slug = _component(engine.target.slug, "a target")
        path = f"certificates/{slug}.json"
        self._add_json(path, certificate)
        return EngineRecord(
            target=engine.target,
            files=tuple(self._engine_file(slug, *item) for item in engine.files.items()),
            options=engine.options,
            fingerprint=dict(engine.fingerprint),
            certificate=path,
            verified=certificate.passed,
            log=self._log(slug, engine.log),
        )

    def _log(self, slug: str, lines: Sequence[str]) -> str | None:
        """Store all that the build said, one line a line of the file, beside the certificate."""
        if not lines:
            return None
        text = "".join(f"{' '.join(line.splitlines())}\n" for line in lines)
        return self._add(f"certificates/{slug}.log", lambda: text.encode(errors="backslashreplace"))

    def _engine_file(self, slug: str, name: str, data: bytes) -> str:
        """Store an engine's file, unless it is the model's own: the same name and content."""
        if self._content.model.get(name) == data:
            return name
        _component(name, "an engine file's name")
        return self._add(f"engines/{slug}/{name}", lambda: data)

    def _case(self, case: ContentCase) -> CaseRecord:
        folder = f"cases/{_component(case.name, 'a case name')}"
        items = []
        for index, item in enumerate(case.items):
            stem = f"{folder}/{index:03d}"
            items.append(self._item(stem, item))
        return CaseRecord(case.name, case.derived, dict(case.sizes), tuple(items))

    def _item(self, stem: str, item: ContentItem) -> CaseItem:
        outputs = {spec.name for spec in self._content.signature.outputs}
        self._content.signature.bind(item.feed)
        if item.answers.keys() != outputs:
            raise UsageError(
                f"the answers are {sorted(item.answers)}, the network's outputs {sorted(outputs)}",
                where=f"sample {item.sample}",
            )
        raw = None
        if item.raw is not None:
            if not _RAW_SUFFIX.fullmatch(item.raw_suffix):
                raise UsageError(
                    f"{item.raw_suffix!r} isn't the ending of a file",
                    where=f"sample {item.sample}",
                )
            data = item.raw
            raw = self._add(f"{stem}{item.raw_suffix}", lambda: data)
        feed = self._add(f"{stem}.feed.npz", lambda: arrays.pack(item.feed))
        answers = self._add(f"{stem}.answers.npz", lambda: arrays.pack(item.answers))
        return CaseItem(item.sample, feed, answers, raw)


def _component(name: str, what: str) -> str:
    wrong = component_fault(name)
    if wrong:
        raise UsageError(f"{what}, {name!r}, {wrong}", remedy="rename it")
    return name
