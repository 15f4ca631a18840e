"""Run a bundle on images, with the contract that it was verified with, and draw the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadworthy.backends.base import Session
from roadworthy.bundle.reader import Bundle, read_bundle
from roadworthy.core.errors import InputError, SamplesError, UsageError
from roadworthy.core.files import replacing_file
from roadworthy.core.samples import IMAGE_SUFFIXES
from roadworthy.verify.answers import Progress
from roadworthy.vision.drawing import draw_mask
from roadworthy.vision.geometry import Geometry
from roadworthy.vision.pillow import Image
from roadworthy.vision.preprocess import Preprocess
from roadworthy.vision.sheet import sheet
from roadworthy.vision.task import SegmentationTask

_SHEET_COLUMNS = 4


@dataclass(frozen=True)
class Prediction:
    """What was seen in one image: the share of its pixels per class, and where it was drawn."""

    image: str
    shares: Mapping[str, float]
    saved: str | None


def predict_images(
    path: Path, images: Path, save: Path | None, target: str | None, progress: Progress
) -> list[Prediction]:
    """Segment one image or a folder of them.

    Args:
        path: the bundle.
        images: an image, or a folder; other files in it are passed over.
        save: for one image the picture to write; for a folder the folder to write into (made if
            missing), or a file that gets one sheet of all of them. None draws nothing.
        target: the engine; None is the bundle's default.
        progress: told what is being done.

    Raises:
        BundleError: the bundle is damaged.
        SamplesError: no images, or unreadable ones.
        UsageError: the bundle has no preprocess or task, or `save` is of the wrong kind.
    """
    bundle = read_bundle(path)
    contract, task = _contract(bundle)
    files = _image_files(images)
    one_picture = _is_picture(save) if save is not None else False
    if save is not None and images.is_dir() and not one_picture:
        save.mkdir(exist_ok=True)
    elif save is not None and not one_picture:
        raise UsageError(f"{save} isn't a kind of picture", where="--save", remedy="name it .png")
    as_sheet = one_picture and images.is_dir()
    found: list[Prediction] = []
    tiles: list[Image.Image] = []
    with bundle.engine(target).open() as session:
        for index, file in enumerate(files):
            progress("predict", index / len(files))
            labels, geometry = _segment(session, bundle, contract, task, file)
            saved = None
            if save is not None:
                picture = draw_mask(file, labels, task, geometry, legend=not as_sheet)
                saved = save if one_picture else save / f"{file.stem}.png"
                if as_sheet:
                    tiles.append(picture)
                else:
                    _save(picture, saved)
            found.append(
                Prediction(file.name, _shares(labels, task), str(saved) if saved else None)
            )
    if tiles and save is not None:
        names = [file.name for file in files]
        _save(sheet(tiles, _SHEET_COLUMNS, captions=names, task=task), save)
    return found


def _contract(bundle: Bundle) -> tuple[Preprocess, SegmentationTask]:
    if bundle.preprocess is None:
        raise UsageError(
            "the bundle has no preprocess: it doesn't say how an image becomes an input",
            where=str(bundle.path),
            remedy="deploy with image samples, or with --preprocess",
        )
    contract = Preprocess.from_json(bundle.preprocess, f"{bundle.path}: preprocess.json")
    if contract.task is None:
        raise UsageError(
            "the bundle's preprocess names no task: it doesn't say what the outputs mean",
            where=str(bundle.path),
            remedy='add "task": {"kind": "segmentation", "output": …, "classes": […]} and deploy',
        )
    return contract, contract.task


def _image_files(images: Path) -> list[Path]:
    if not images.exists():
        raise SamplesError("there is no such image or folder", where=str(images))
    if images.is_file():
        return [images]
    files = sorted(item for item in images.iterdir() if item.is_file() and _is_picture(item))
    if not files:
        raise SamplesError("the folder holds no images", where=str(images))
    return files


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _segment(
    session: Session, bundle: Bundle, contract: Preprocess, task: SegmentationTask, file: Path
) -> tuple[NDArray[np.integer], Geometry]:
    ranks = {spec.name: len(spec.shape) for spec in bundle.signature.inputs if spec.shape}
    feed, geometry = contract.apply_with_geometry(file, ranks)
    try:
        bundle.signature.bind(feed)
    except InputError as error:
        raise SamplesError(
            f"the image doesn't come out as the network takes it: {error.what}",
            where=str(file),
            remedy="give images of the size the bundle was made for, add a fit step to the "
            "preprocess, or deploy with --inputs so that the size may vary",
        ) from error
    return task.labels(session.run(feed)), geometry


def _shares(labels: NDArray[np.integer], task: SegmentationTask) -> dict[str, float]:
    counts = np.bincount(labels.ravel(), minlength=len(task.classes))
    return {name: float(counts[i]) / labels.size for i, name in enumerate(task.classes)}


def _save(picture: Image.Image, path: Path) -> None:
    with replacing_file(path) as partial:
        picture.save(partial, format=Image.registered_extensions()[path.suffix.lower()])
