"""Read a manifest strictly: the schema exactly, every path safe, every reference kept."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from roadworthy.backends.base import CompileOptions
from roadworthy.bundle import arrays
from roadworthy.bundle.manifest import (
    MANIFEST,
    MANIFEST_DIGEST,
    PREPROCESS,
    SCHEMA,
    CaseItem,
    CaseRecord,
    EngineRecord,
    FileRecord,
    Manifest,
)
from roadworthy.bundle.names import check_names
from roadworthy.bundle.strict import Fields, load_object, refuse
from roadworthy.core.errors import UsageError
from roadworthy.core.signature import Axis, Dim, Signature, TensorSpec
from roadworthy.core.target import Target

_SHA256 = re.compile(r"[0-9a-f]{64}")


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Parse and check `manifest.json`.

    Args:
        data: the file's content.
        where: what to call it in messages.

    Raises:
        BundleError: another schema; a field missing, unknown or of another type; an unsafe path; a
            reference to a file that isn't listed, or a listed file that nothing refers to.
    """
    value = load_object(data, where)
    schema = value.get("schema")
    if schema != SCHEMA:
        refuse(
            f"the bundle has schema {schema!r:.60}, this version reads {SCHEMA!r}",
            where,
            "use the roadworthy version that wrote it, or deploy again",
        )
    fields = Fields(value, "", where)
    manifest = Manifest(
        schema=fields.text("schema"),
        roadworthy=fields.text("roadworthy"),
        created=_moment(fields, "created"),
        signature=_signature(fields.child("signature")),
        model=fields.texts("model"),
        preprocess=fields.optional_text("preprocess"),
        engines=tuple(_engine(item) for item in fields.children("engines")),
        default_engine=fields.text("default_engine"),
        cases=tuple(_case(item) for item in fields.children("cases")),
        files={name: _file(item) for name, item in fields.named_children("files")},
    )
    fields.done()
    check_manifest(manifest, where)
    return manifest


def check_manifest(manifest: Manifest, where: str) -> None:
    """Check what the types don't say; raises `BundleError`."""
    check_names([*manifest.files, MANIFEST, MANIFEST_DIGEST], where)
    for own in (MANIFEST, MANIFEST_DIGEST):
        if own in manifest.files:
            refuse(f"files lists {own!r}, which can't vouch for itself", where)
    referenced = manifest.referenced()
    if missing := sorted(referenced - manifest.files.keys()):
        refuse(f"the manifest refers to {missing[0]!r}, which files doesn't list", where)
    if orphans := sorted(manifest.files.keys() - referenced):
        refuse(f"files lists {orphans[0]!r}, which nothing in the manifest refers to", where)
    for what, count in (
        ("model", manifest.model),
        ("engines", manifest.engines),
        ("cases", manifest.cases),
    ):
        if not count:
            refuse(f"{what} is empty", where)
    _check_places(manifest, where)
    slugs = [engine.target.slug for engine in manifest.engines]
    _check_distinct("engines", [slug.casefold() for slug in slugs], where)
    if manifest.default_engine not in slugs:
        refuse(f"default_engine is {manifest.default_engine!r}, which isn't in engines", where)
    _check_distinct("cases", [case.name for case in manifest.cases], where)
    for spec in (manifest.signature.inputs, manifest.signature.outputs):
        _check_distinct("signature", [tensor.name for tensor in spec], where)


def _check_places(manifest: Manifest, where: str) -> None:
    """Check that each kind of file stands where the writer puts it: `extract` relies on that."""

    def check(what: str, names: Iterable[str | None], form: str) -> None:
        for name in names:
            if name is not None and not re.fullmatch(form, name):
                refuse(f"{what} is {name!r}, which isn't where a bundle keeps it", where)

    model = manifest.model[0] if manifest.model else ""
    check("model", manifest.model[:1], r"[^/]+\.onnx")
    check("model", manifest.model[1:], rf"{re.escape(model)}[^/]+|[^/]+\.data")
    check("preprocess", [manifest.preprocess], re.escape(PREPROCESS))
    for engine in manifest.engines:
        check("an engine's file", set(engine.files) - {*manifest.model}, r"engines/[^/]+/[^/]+")
        check("a certificate", [engine.certificate], r"certificates/[^/]+\.json")
        check("a build log", [engine.log], r"certificates/[^/]+\.log")
    for case in manifest.cases:
        for item in case.items:
            check("a case's file", [item.feed, item.answers, item.raw], r"cases/[^/]+/[^/]+")


def _check_distinct(what: str, names: list[str], where: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        refuse(f"{what} holds {twice[0]!r} twice", where)


def _moment(fields: Fields, key: str) -> str:
    text = fields.text(key)
    try:
        datetime.fromisoformat(text)
    except ValueError:
        fields.refuse(key, f"is {text!r:.40}, not a date and time in ISO 8601")
    return text


def _file(fields: Fields) -> FileRecord:
    record = FileRecord(fields.text("sha256"), fields.integer("bytes"))
    if not _SHA256.fullmatch(record.sha256):
        fields.refuse("sha256", "isn't 64 lower-case hexadecimal digits")
    fields.done()
    return record


def _signature(fields: Fields) -> Signature:
    signature = Signature(
        inputs=tuple(_tensor(item) for item in fields.children("inputs")),
        outputs=tuple(_tensor(item) for item in fields.children("outputs")),
    )
    if not signature.outputs:
        fields.refuse("outputs", "is empty")
    fields.done()
    return signature


def _tensor(fields: Fields) -> TensorSpec:
    dtype = fields.text("dtype")
    if dtype not in arrays.DTYPES:
        fields.refuse("dtype", f"is {dtype!r:.40}, which is no known dtype")
    shape: tuple[Axis, ...] | None = None
    if fields.take("shape") is not None:
        shape = tuple(_axis(fields, axis) for axis in fields.items("shape"))
    name = fields.text("name")
    fields.done()
    return TensorSpec(name, dtype, shape)


def _axis(fields: Fields, value: object) -> Axis:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, dict):
        fields.refuse("shape", "holds an axis that is neither a size nor an object")
    axis = fields.within("shape", value)
    name, low = axis.text("name"), axis.integer("low")
    high, step = axis.optional_integer("high"), axis.integer("step", 1)
    axis.done()
    if not name or (high is not None and high < low):
        fields.refuse("shape", f"holds an axis without a name or with an empty range: {value}")
    return Dim(name, low, high, step)


def _engine(fields: Fields) -> EngineRecord:
    record = EngineRecord(
        target=_target(fields),
        files=fields.texts("files"),
        options=_options(fields.child("options")),
        fingerprint=fields.texts_by_name("fingerprint"),
        certificate=fields.text("certificate"),
        verified=fields.flag("verified"),
        log=fields.text("log") if fields.has("log") else None,
    )
    fields.done()
    names = [PurePosixPath(path).name for path in record.files]
    if not names or len(set(names)) != len(names):
        # They are opened side by side under these names.
        fields.refuse("files", "is empty, or two of them have the same name")
    return record


def _target(fields: Fields) -> Target:
    text = fields.text("target")
    try:
        target = Target.parse(text)
    except UsageError:
        fields.refuse("target", f"is {text!r:.60}, which is no target")
    if str(target) != text:
        fields.refuse("target", f"is {text!r:.60}, which should be written {str(target)!r}")
    return target


def _options(fields: Fields) -> CompileOptions:
    options = CompileOptions(
        precision=fields.text("precision"),
        threads=fields.optional_integer("threads", 1),
        optimise=fields.flag("optimise"),
        spinning=fields.flag("spinning"),
        extra=tuple(_extra(fields, item) for item in fields.items("extra")),
    )
    fields.done()
    return options


def _extra(fields: Fields, item: Any) -> tuple[str, str]:
    """Read one of a backend's own options: its name and its text."""
    if not isinstance(item, list) or len(item) != 2 or not all(isinstance(t, str) for t in item):
        fields.refuse("extra", "has an entry that isn't [name, text]")
    name, text = item
    return name, text


def _case(fields: Fields) -> CaseRecord:
    record = CaseRecord(
        name=fields.text("name"),
        derived=fields.flag("derived"),
        sizes=fields.integers_by_name("sizes"),
        items=tuple(_item(item) for item in fields.children("items")),
    )
    if not record.items:
        fields.refuse("items", "is empty")
    fields.done()
    return record


def _item(fields: Fields) -> CaseItem:
    item = CaseItem(
        sample=fields.text("sample"),
        feed=fields.text("feed"),
        answers=fields.text("answers"),
        raw=fields.optional_text("raw"),
    )
    fields.done()
    return item
