"""Run a bundle on images, with the contract that it was verified with, and draw the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadworthy.backends.session import Session
from roadworthy.bundle.reader import Bundle, read_bundle
from roadworthy.core.errors import InputError, SamplesError, UsageError
from roadworthy.core.files import replacing_file
from roadworthy.core.progress import Progress
from roadworthy.core.samples import IMAGE_SUFFIXES
from roadworthy.pipeline.remedies import naming_remedy
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
        UsageError: the bundle has no preprocess or task; `save` is of the wrong kind, in a folder
            that doesn't exist, or one of the images themselves.
    """
    bundle = read_bundle(path)
    contract, task = _contract(bundle)
    files = _image_files(images)
    places = _places(files, images, save)
    as_sheet = save is not None and images.is_dir() and _is_picture(save)
    found: list[Prediction] = []
    tiles: list[Image.Image] = []
    engine = bundle.engine(target)
    with naming_remedy(bundle, engine, target):
        opened = engine.open()
    with opened as session:
        for index, (file, place) in enumerate(zip(files, places, strict=True)):
            progress("predict", index / len(files))
            labels, geometry = _segment(session, bundle, contract, task, file)
            if place is not None:
                picture = draw_mask(file, labels, task, geometry, legend=not as_sheet)
                if as_sheet:
                    tiles.append(picture)
                else:
                    _save(picture, place)
            saved = None if place is None else str(place)
            found.append(Prediction(file.name, _shares(labels, task), saved))
    if tiles and save is not None:
        names = [file.name for file in files]
        _save(sheet(tiles, _SHEET_COLUMNS, captions=names, task=task), save)
    return found


def _places(files: Sequence[Path], images: Path, save: Path | None) -> list[Path | None]:
    """Return where each image's picture goes; refuse it now, not after the work."""
    if save is None:
        return [None] * len(files)
    if _is_picture(save):
        places = [save] * len(files)
    elif images.is_dir():
        if save.exists() and not save.is_dir():
            raise UsageError(
                "there is a file where the folder of pictures was to be",
                where=f"--save {save}",
                remedy="name a folder, or one picture for all of them: sheet.png",
            )
        stems = Counter(file.stem for file in files)
        # `a.png` and `a.jpg` both have a picture of their own.
        places = [
            save / f"{file.stem if stems[file.stem] == 1 else file.name}.png" for file in files
        ]
    else:
        raise UsageError(f"{save} isn't a kind of picture", where="--save", remedy="name it .png")
    if not save.absolute().parent.is_dir():
        raise UsageError(
            f"the folder {save.absolute().parent} doesn't exist",
            where=f"--save {save}",
            remedy="create it first",
        )
    overwritten = {file.resolve() for file in files} & {place.resolve() for place in places}
    if overwritten:
        raise UsageError(
            f"this would overwrite the image {min(overwritten).name}",
            where=f"--save {save}",
            remedy="name another file or folder",
        )
    return list(places)


def _contract(bundle: Bundle) -> tuple[Preprocess, SegmentationTask]:
    contract = Preprocess.of(bundle)
    if contract is None:
        raise UsageError(
            "the bundle has no preprocess: it doesn't say how an image becomes an input",
            where=str(bundle.path),
            remedy="deploy with image samples, or with --preprocess",
        )
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
    ranks = bundle.signature.ranks
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
    path.parent.mkdir(exist_ok=True)  # only where a folder was asked for is it missing
    with replacing_file(path) as partial:
        picture.save(partial, format=Image.registered_extensions()[path.suffix.lower()])
