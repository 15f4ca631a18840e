"""Write a bundle: beside its place first, then exchanged in one step; nobody's data is replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from roadworthy.bundle.content import BundleContent, ContentCase, ContentItem, Layout
from roadworthy.bundle.manifest import MANIFEST, MANIFEST_DIGEST, digest_line
from roadworthy.bundle.parse import parse_manifest
from roadworthy.bundle.reader import is_zip_name
from roadworthy.bundle.store import open_store
from roadworthy.bundle.strict import load_object
from roadworthy.bundle.zipform import ZipWriter
from roadworthy.core.errors import BundleError, UsageError
from roadworthy.core.files import replacing_file, replacing_folder
from roadworthy.core.jsonable import dumps

__all__ = ["BundleContent", "ContentCase", "ContentItem", "write_bundle"]

_SCHEMAS = "roadworthy/bundle/"


def write_bundle(path: Path, content: BundleContent) -> None:
    """Write a bundle: a path that ends in `.rw` is one zip, any other a folder.

    The same content gives the same bytes. An earlier bundle at `path` is replaced in one step;
    whenever the process dies, the earlier one is whole, or the new one is.

    Raises:
        UsageError: something else stands at `path`, or content that a bundle can't hold.
    """
    path = path.absolute()
    layout = Layout(content)
    check_replaceable(path)
    if is_zip_name(path):
        with replacing_file(path) as partial, partial.open("wb") as file:
            archive = ZipWriter(file)
            _write(layout, archive.add)
            archive.close()
            # Checked again: a user's file may have come there while we were writing.
            check_replaceable(path)
        return
    with replacing_folder(path) as folder:

        def add(name: str, data: bytes) -> None:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)

        _write(layout, add)
        check_replaceable(path)


def _write(layout: Layout, add: Callable[[str, bytes], None]) -> None:
    """Write every file in a fixed order; the manifest comes last, as it holds the digests."""
    for name in sorted(layout.parts):
        add(name, layout.encode(name))
    manifest = dumps(layout.manifest()).encode()
    # What the reader would refuse is refused here, before anything is replaced.
    parse_manifest(manifest, MANIFEST)
    add(MANIFEST, manifest)
    add(MANIFEST_DIGEST, digest_line(hashlib.sha256(manifest).hexdigest()))


def check_replaceable(path: Path) -> None:
    """Refuse to write over anything that isn't a bundle of ours or empty.

    A folder that holds files beside those of its manifest counts as the user's.

    Raises:
        UsageError: saying what stands there.
    """

    def keep(what: str) -> UsageError:
        return UsageError(
            f"{what}, so it is not overwritten",
            where=str(path),
            remedy="choose another name, or remove it yourself",
        )

    if path.is_symlink():
        raise keep("the path is a symbolic link")
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return
    try:
        store = open_store(path)
        if path.is_dir() and not any(path.iterdir()):
            return
        listed = _listed(b"".join(store.chunks(MANIFEST)) if MANIFEST in store.sizes else b"{}")
    except BundleError as error:
        raise keep(f"what stands there isn't a whole bundle ({error.what})") from error
    if listed is None:
        raise keep(f"the {store.kind} there isn't a bundle")
    if others := sorted(store.sizes.keys() - listed):
        raise keep(f"the bundle there also holds {others[0]!r}, which isn't part of it")


def _listed(manifest: bytes) -> set[str] | None:
    """Return the files that a manifest of any schema version lists; None if it isn't ours."""
    value = load_object(manifest, MANIFEST)
    files = value.get("files")
    if not str(value.get("schema")).startswith(_SCHEMAS) or not isinstance(files, dict):
        return None
    return {*files, MANIFEST, MANIFEST_DIGEST}
