"""A contact sheet: several pictures on one page."""

from __future__ import annotations

from collections.abc import Sequence

from roadworthy.core.errors import InputError
from roadworthy.vision.legend import FAINT, PAPER, Entry, Style, below
from roadworthy.vision.palette import rgba
from roadworthy.vision.pillow import Image, ImageDraw
from roadworthy.vision.task import SegmentationTask

GAP_SHARE = 1 / 32


def sheet(
    images: Sequence[Image.Image],
    columns: int = 4,
    *,
    captions: Sequence[str] = (),
    task: SegmentationTask | None = None,
    cell: int = 320,
) -> Image.Image:
    """Lay pictures out in rows of `columns`, each shrunk or enlarged to the same width.

    Args:
        images: the pictures, in reading order.
        columns: how many stand in a row.
        captions: a line under each, as many as pictures, or none.
        task: draws one legend of its classes at the foot.
        cell: the width of each, in pixels.

    Returns:
        RGB.

    Raises:
        InputError: no pictures, no columns, or captions of another number.
    """
    if not images or columns < 1 or cell < 1:
        raise InputError("a contact sheet needs at least one picture, column and pixel")
    if captions and len(captions) != len(images):
        raise InputError(f"there are {len(captions)} captions for {len(images)} pictures")
    columns = min(columns, len(images))
    style = Style.for_picture(cell, cell)
    gap = max(4, round(cell * GAP_SHARE))
    tiles = [_tile(image, cell) for image in images]
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    foot = style.row if captions else 0
    width = columns * cell + (columns + 1) * gap
    height = gap + sum(max(tile.height for tile in row) + foot + gap for row in rows)
    legend = below(width, _entries(task), style) if task else None
    page = Image.new("RGB", (width, height + (legend.height if legend else 0)), PAPER)
    draw = ImageDraw.Draw(page)
    top, names = gap, iter(captions)
    for row in rows:
        tallest = max(tile.height for tile in row)
        for column, tile in enumerate(row):
            left = gap + column * (cell + gap)
            page.paste(tile, (left, top + (tallest - tile.height) // 2))
            if captions:
                text = style.shortened(next(names), cell)
                at = (left, top + tallest + foot / 2)
                draw.text(at, text, fill=FAINT, font=style.font, anchor="lm")
        top += tallest + foot + gap
    if legend:
        page.paste(legend, (0, height - gap // 2))
    return page


def _tile(image: Image.Image, cell: int) -> Image.Image:
    """Return the picture at the cell's width, or, where it is tall, at most 1.5 times as high."""
    scale = min(cell / image.width, 1.5 * cell / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    tile = Image.new("RGB", (cell, size[1]), PAPER)
    tile.paste(
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS), ((cell - size[0]) // 2, 0)
    )
    return tile


def _entries(task: SegmentationTask) -> list[Entry]:
    return [Entry(n, rgba(c)) for n, c in zip(task.classes, task.palette, strict=True)]
