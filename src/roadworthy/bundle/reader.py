"""Open a bundle: everything in it is checked before anything of it is used.

The digests tell damage, not malice: whoever can change a bundle can write new digests. So nothing
in it is trusted for that: nothing is unpickled, extracted or followed, and each part is parsed
strictly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from roadworthy.backends.base import Engine
from roadworthy.bundle import arrays
from roadworthy.bundle.choice import choose, placed
from roadworthy.bundle.manifest import (
    MANIFEST,
    MANIFEST_DIGEST,
    CaseItem,
    CaseRecord,
    EngineRecord,
    Manifest,
    digest_line,
)
from roadworthy.bundle.names import check_names
from roadworthy.bundle.parse import parse_manifest
from roadworthy.bundle.store import Store, open_store
from roadworthy.bundle.strict import load_object, refuse
from roadworthy.core.certificate import Certificate
from roadworthy.core.errors import BundleError, InputError, UsageError
from roadworthy.core.evidence import read_certificate
from roadworthy.core.signature import Answers, Feed, Signature

SUFFIX = ".rw"

# Of a manifest that lists half a million files; a larger one is an attack on the memory.
_LARGEST_MANIFEST = 256 << 20
_ZIP_START = b"PK\3\4"
_TAIL = 512


class CaseData(NamedTuple):
    """One sample of a case; `raw` is the file it was made from, where the bundle keeps it."""

    sample: str
    feed: Feed
    answers: Answers
    raw: bytes | None


class Bundle:
    """An open bundle. Nothing is held open; what is read later is checked again."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self._store = store
        self.manifest = manifest

    @property
    def path(self) -> Path:
        """The folder or zip."""
        return self._store.path

    @property
    def kind(self) -> str:
        """`folder` or `zip`."""
        return self._store.kind

    @property
    def signature(self) -> Signature:
        """The network's inputs and outputs."""
        return self.manifest.signature

    @property
    def preprocess(self) -> Mapping[str, Any] | None:
        """The preprocess as JSON, None when the inputs are given as arrays."""
        name = self.manifest.preprocess
        return None if name is None else load_object(self.read(name), self._where(name))

    def read(self, name: str) -> bytes:
        """Return a file's content; its digest is checked again.

        Raises:
            UsageError: there is no such file.
            BundleError: it changed since the bundle was opened.
        """
        record = self.manifest.files.get(name)
        if record is None:
            raise UsageError(f"the bundle holds no file {name!r}", where=str(self.path))
        content = b"".join(_limited(self._store, name, record.bytes))
        if len(content) != record.bytes or hashlib.sha256(content).hexdigest() != record.sha256:
            refuse(f"{name!r} changed while the bundle was in use", str(self.path), "open it again")
        return content

    def model(self) -> dict[str, bytes]:
        """Return the ONNX model's files by file name; the first is the model itself."""
        return self._files(self.manifest.model)

    def record(self, target: str | None = None) -> EngineRecord:
        """Return an engine's record.

        Args:
            target: as on the command line, or its slug; None is the default engine. Where none
                was deployed for exactly that, it may be another place's; see `choice.choose`.

        Raises:
            UsageError: the bundle holds no engine for it, or several.
        """
        wanted = self.manifest.default_engine if target is None else target
        return choose(self.manifest.engines, wanted, str(self.path))

    def engine(self, target: str | None = None) -> Engine:
        """Return an engine, ready to open where the target says; see `record`."""
        record = self.record(target)
        return Engine(
            target=placed(record, target),
            signature=self.signature,
            files=self._files(record.files),
            options=record.options,
            fingerprint=record.fingerprint,
            log=_log(self, record),
        )

    def certificate(self, target: str | None = None) -> Mapping[str, Any]:
        """Return an engine's certificate as JSON; arguments and errors as of `record`."""
        return _certificate(self, self.record(target))[0]

    def evidence(self, target: str | None = None) -> Certificate:
        """Return an engine's certificate as checked types; arguments and errors as of `record`."""
        return _certificate(self, self.record(target))[1]

    def cases(self) -> Iterator[tuple[CaseRecord, list[CaseData]]]:
        """Yield every case with its samples, one case in memory at a time.

        Raises:
            BundleError: arrays that aren't what the signature says.
        """
        for case in self.manifest.cases:
            yield case, [self._item(item) for item in case.items]

    def extract(self, folder: Path) -> None:
        """Write plain files for other programs; see `extract.extract`."""
        from roadworthy.bundle.extract import extract  # which imports this module

        extract(self, folder)

    def _item(self, item: CaseItem) -> CaseData:
        feed = arrays.unpack(self.read(item.feed), self._where(item.feed))
        answers = arrays.unpack(self.read(item.answers), self._where(item.answers))
        try:
            self.signature.bind(feed)
        except InputError as error:
            raise BundleError(
                f"the feed of sample {item.sample!r} doesn't fit the signature: {error.what}",
                where=self._where(item.feed),
                remedy="deploy again",
            ) from error
        outputs = [spec.name for spec in self.signature.outputs]
        if set(outputs) != answers.keys():
            refuse(
                f"the answers of sample {item.sample!r} are {sorted(answers)}, the network's "
                f"outputs {outputs}",
                self._where(item.answers),
            )
        return CaseData(
            sample=item.sample,
            feed={spec.name: feed[spec.name] for spec in self.signature.inputs},
            answers={name: answers[name] for name in outputs},
            raw=None if item.raw is None else self.read(item.raw),
        )

    def _files(self, names: tuple[str, ...]) -> dict[str, bytes]:
        return {PurePosixPath(name).name: self.read(name) for name in names}

    def _where(self, name: str) -> str:
        return f"{self.path}: {name}"


def is_zip_name(path: Path) -> bool:
    """Tell whether a bundle of this name is one zip: `*.rw`."""
    return path.name.lower().endswith(SUFFIX)


def is_bundle(path: Path) -> bool:
    """Tell a bundle, whole or damaged, from a model; cheap, and checks nothing else.

    True for whatever is named `*.rw`, for a folder with a manifest, and for a zip whose directory
    ends as ours does (PyTorch's and Keras's files are zips too).
    """
    try:
        if path.is_dir():
            return is_zip_name(path) or (path / MANIFEST).is_file()
        if is_zip_name(path) or not path.is_file():
            return path.is_file()
        with path.open("rb") as file:
            if file.read(len(_ZIP_START)) != _ZIP_START:
                return False
            file.seek(max(path.stat().st_size - _TAIL, 0))
            return MANIFEST_DIGEST.encode() in file.read(_TAIL)
    except OSError:
        return False  # not readable at all: whoever opens it as a model will say so


def read_bundle(path: Path) -> Bundle:
    """Open a bundle and check all of it: form, names, digests, schema, certificates.

    Raises:
        BundleError: the first thing that is wrong. Nothing was written anywhere.
    """
    return check_store(open_store(path))


def check_store(store: Store) -> Bundle:
    """Do what `read_bundle` does, for files wherever they lie."""
    where = str(store.path)
    check_names(store.sizes, where)
    for name in (MANIFEST, MANIFEST_DIGEST):
        if name not in store.sizes:
            refuse(f"there is no {name} in it, so it isn't a bundle", where, "check the path")
    manifest = parse_manifest(_manifest_bytes(store), f"{where}: {MANIFEST}")
    _check_files(store, manifest, where)
    bundle = Bundle(store, manifest)
    for record in manifest.engines:
        _certificate(bundle, record)
        _log(bundle, record)
    _ = bundle.preprocess
    return bundle


def _manifest_bytes(store: Store) -> bytes:
    where = str(store.path)
    if store.sizes[MANIFEST] > _LARGEST_MANIFEST:
        refuse("the manifest is larger than any bundle's", where)
    content = b"".join(_limited(store, MANIFEST, _LARGEST_MANIFEST))
    line = digest_line(hashlib.sha256(content).hexdigest())
    if b"".join(_limited(store, MANIFEST_DIGEST, len(line))) != line:
        refuse(f"{MANIFEST} or {MANIFEST_DIGEST} is damaged: the SHA-256 differs", where)
    return content


def _check_files(store: Store, manifest: Manifest, where: str) -> None:
    """Check that exactly the listed files are there, with their sizes and digests."""
    there = store.sizes.keys() - {MANIFEST, MANIFEST_DIGEST}
    if missing := sorted(manifest.files.keys() - there):
        refuse(f"{missing[0]!r} is missing from the bundle", where)
    if unlisted := sorted(there - manifest.files.keys()):
        refuse(
            f"{unlisted[0]!r} is in the bundle, but its manifest doesn't list it",
            where,
            "remove it if you put it there; otherwise fetch the bundle again",
        )
    for name, record in manifest.files.items():
        size = store.sizes[name]
        if size != record.bytes:
            refuse(f"{name!r} has {size} bytes, the manifest says {record.bytes}", where)
        digest = hashlib.sha256()
        for part in _limited(store, name, record.bytes):
            digest.update(part)
        if digest.hexdigest() != record.sha256:
            refuse(f"{name!r} is damaged: its SHA-256 isn't the manifest's", where)


def _limited(store: Store, name: str, limit: int) -> Iterator[bytes]:
    """Yield a file's content, at most one part beyond `limit`: files may grow while we read."""
    total = 0
    for part in store.chunks(name):
        yield part
        total += len(part)
        if total > limit:
            return


def _log(bundle: Bundle, record: EngineRecord) -> tuple[str, ...]:
    if record.log is None:
        return ()
    try:
        text = bundle.read(record.log).decode()
    except UnicodeDecodeError:
        refuse("the build log isn't UTF-8 text", f"{bundle.path}: {record.log}")
    return tuple(text.removesuffix("\n").split("\n"))


def _certificate(bundle: Bundle, record: EngineRecord) -> tuple[dict[str, Any], Certificate]:
    """Return it as JSON and as checked types; the manifest must say the same of the engine."""
    where = f"{bundle.path}: {record.certificate}"
    data = load_object(bundle.read(record.certificate), where)
    read = read_certificate(data, where)
    if read.target != str(record.target) or read.passed is not record.verified:
        refuse(
            f"the certificate isn't that of {record.target} as the manifest has it "
            f"(verified: {str(record.verified).lower()})",
            where,
        )
    return data, read
