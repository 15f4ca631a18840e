"""Between image files and the samples: find the contract, and make a loader of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from roadworthy.core.samples import IMAGE_SUFFIXES
from roadworthy.core.signature import Feed
from roadworthy.vision.preprocess import Preprocess, Ranks

FILE_NAME = "preprocess.json"


def find_preprocess(samples: Path, given: Path | None) -> Preprocess | None:
    """Read the contract for these samples.

    Args:
        samples: a folder, or a file.
        given: a contract that the user named; it is preferred.

    Returns:
        `given`, else `preprocess.json` in the folder or beside the single image; None where there
        is none, and for other single files.

    Raises:
        InputError: there is one, and it is wrong; or `given` doesn't exist.
    """
    if given is not None:
        return Preprocess.read(given)
    if samples.is_dir():
        beside = samples / FILE_NAME
    elif samples.suffix.lower() in IMAGE_SUFFIXES:
        beside = samples.parent / FILE_NAME
    else:
        return None
    return Preprocess.read(beside) if beside.exists() else None


def image_loader(
    preprocess: Preprocess, signature_rank: Ranks | None = None
) -> Callable[[Path], Feed]:
    """Return what `core.samples.load_samples` wants: it turns an image file into a feed."""

    def load(path: Path) -> Feed:
        return preprocess.apply(path, signature_rank)

    return load
