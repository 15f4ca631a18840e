"""The one door to Pillow, so that its absence is one clear error. Import late: it costs time."""

from __future__ import annotations

from roadworthy.core.errors import MissingExtraError

try:
    from PIL import Image, ImageDraw, ImageFile, ImageFont, ImageOps
except ImportError as error:
    raise MissingExtraError("pillow", "vision", "reading and drawing pictures") from error

__all__ = ["Image", "ImageDraw", "ImageFile", "ImageFont", "ImageOps"]
