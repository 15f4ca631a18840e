"""A bundle's certificates as a page, with its own pictures where the task has some."""

from __future__ import annotations

import io
from pathlib import Path

from roadworthy.bundle.reader import Bundle, read_bundle
from roadworthy.report.page import render
from roadworthy.vision.preprocess import Preprocess

_PICTURES = 4


def bundle_page(path: Path) -> str:
    """Return the page of a bundle as HTML.

    Raises:
        BundleError: it is damaged.
    """
    bundle = read_bundle(path)
    certificates = [bundle.certificate(str(record.target)) for record in bundle.manifest.engines]
    return render(
        certificates,
        signature=bundle.signature,
        title=path.name,
        pictures=_pictures(bundle),
    )


def _pictures(bundle: Bundle) -> list[tuple[str, bytes]]:
    """Draw the stored reference answers over the images that the bundle keeps.

    Nothing is run: a page can be had where none of the bundle's engines can.
    """
    contract = Preprocess.of(bundle)
    if contract is None or contract.task is None:
        return []
    from roadworthy.vision.decode import viewable
    from roadworthy.vision.drawing import draw_mask

    ranks = bundle.signature.ranks
    kept = [item for _, items in bundle.cases() for item in items if item.raw is not None]
    found: list[tuple[str, bytes]] = []
    for item in kept[:_PICTURES]:
        assert item.raw is not None  # selected above
        _, geometry = contract.apply_bytes_with_geometry(item.raw, item.sample, ranks)
        labels = contract.task.labels(item.answers)
        picture = draw_mask(viewable(item.raw, item.sample), labels, contract.task, geometry)
        content = io.BytesIO()
        picture.save(content, format="PNG")
        found.append((item.sample, content.getvalue()))
    return found
