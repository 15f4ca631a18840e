"""`roadworthy predict`: run a bundle on images and draw what it sees."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from roadworthy.cli import options
from roadworthy.cli.output import Outcome, Reporter


def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle: unet.rw, or a folder")],
    images: Annotated[Path, typer.Argument(help="An image, or a folder of images")],
    save: Annotated[
        Path | None,
        typer.Option(help="The picture to write; for a folder of images one of all, or a folder."),
    ] = None,
    target: options.OneTarget = None,
    json: options.Json = False,
) -> int:
    """Draw masks over images, with a legend. Uses the bundle's own preprocessing and classes."""
    from rich.markup import escape

    from roadworthy.cli.progress import ProgressDisplay
    from roadworthy.pipeline.predict import predict_images

    reporter = Reporter("predict", json)
    with ProgressDisplay(silent=json) as progress:
        predictions = predict_images(bundle, images, save, target, progress)
    sheet = len(predictions) > 1 and predictions[0].saved == str(save)
    for item in predictions:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in item.shares.items())
        # Of a sheet all of them have the same place: it is said once, below.
        where = f" → {item.saved}" if item.saved and not sheet else ""
        reporter.say(f"{escape(item.image)}: {escape(shares)}{escape(where)}")
    if sheet:
        reporter.say(f"picture {escape(str(save))}")
    return reporter.finish(Outcome({"images": predictions}))
