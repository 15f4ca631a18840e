"""From the bytes of an image file to pixels: upright, in few forms, or one clear refusal.

What is read, and how:

1. 8 bits or fewer: grey and RGB as stored, palettes looked up, black and white as 0 and 255.
2. CMYK and YCbCr: converted to RGB by Pillow, no colour management (ICC profiles are not applied).
3. Transparency: a fully opaque alpha channel is dropped. Where something shows through, the
   contract must say what (`alpha`), because the hidden colours are arbitrary.
4. 16-bit grey: only when the contract asks for 16 bits. Never cut down to 8 in silence, as Pillow
   does with 16-bit colour, which is therefore refused.
5. The orientation that a camera notes in EXIF is applied.
6. Several pictures in one file: refused, but for the preview that phones append to a JPEG.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadworthy.core.errors import SamplesError
from roadworthy.vision.pillow import Image, ImageFile, ImageOps

# Pillow's own threshold of suspicion: a quarter of a gigabyte as RGB.
MAX_PIXELS = 89_478_485
MAX_BYTES = 1 << 29

# Nothing but these is opened: some of Pillow's other readers start programs (EPS) or are unsafe.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")

# What Pillow's readers raise on damaged files, found by fuzzing them. Only Pillow's code runs
# where these are caught.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

# Python 3.11's warnings.catch_warnings changes global state; two threads must not interleave.
_QUIET = threading.Lock()


def read_bytes(path: Path) -> bytes:
    """Read an image file whole.

    Raises:
        SamplesError: missing, a folder, unreadable, empty, or too large to be a picture.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise SamplesError(
                f"the file has {size >> 20} MiB, more than the {MAX_BYTES >> 20} an image may have",
                where=str(path),
                remedy="cut the picture into tiles",
            )
        return path.read_bytes()
    except OSError as error:
        raise SamplesError(
            f"the image can't be read: {error.strerror or error}", where=str(path)
        ) from error


def decode(raw: bytes, name: str, *, alpha: str = "refuse", depth: int = 8) -> NDArray[Any]:
    """Decode one picture.

    Args:
        raw: the file's content: PNG, JPEG, BMP, TIFF, WebP, PGM or PPM.
        name: what to call it in messages.
        alpha: what to do where it is transparent: "refuse", "drop" (keep the hidden colours, as
            Pillow's `convert("RGB")` does), "white" or "black" (put that behind it).
        depth: 8, or 16 for 16-bit grey.

    Returns:
        Upright H×W×C: uint8 with C 1 (grey) or 3 (RGB); for depth 16 float32 with C 1 and
        values from 0 to 65535.

    Raises:
        SamplesError: not such a picture, damaged, too large, or of a form that `alpha` and `depth`
            don't allow.
    """
    if not raw:
        raise SamplesError("the image file is empty", where=name, remedy="save it again")
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image, bits = _load(raw, name)
    if depth == 16:
        return _deep(image, bits, name)
    if bits > 8 or image.mode == "F":
        raise _too_deep(image, bits, name)
    return _shallow(image, alpha, name)


def _shallow(image: Image.Image, alpha: str, name: str) -> NDArray[np.uint8]:
    """Return 8-bit pixels, grey or RGB."""
    if image.has_transparency_data:
        image = _opaque(image.convert("RGBA"), alpha, name)
    if image.mode not in ("L", "RGB"):
        image = _converted(image, name)
    pixels = np.array(image)
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def viewable(raw: bytes, name: str) -> NDArray[np.uint8]:
    """Decode a picture for people to look at: upright RGB, uint8 H×W×3.

    Transparency is dropped; 16-bit grey is stretched from its darkest to its brightest value.

    Raises:
        SamplesError: as `decode`.
    """
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image, _ = _load(raw, name)
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float64)
        span = float(np.ptp(values)) or 1.0
        image = Image.fromarray(((values - values.min()) / span * 255.0).astype(np.uint8))
    pixels = _shallow(image, "drop", name)
    return np.array(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), dtype=np.uint8)


def _load(raw: bytes, name: str) -> tuple[Image.Image, int]:
    """Return the upright picture and how many bits a channel has in the file."""
    try:
        image: Image.Image = Image.open(io.BytesIO(raw), formats=FORMATS)
        width, height = image.size
    except Image.DecompressionBombError as error:
        raise SamplesError(
            f"the picture is too large: it claims more than {2 * MAX_PIXELS} pixels",
            where=name,
            remedy="cut the picture into tiles",
        ) from error
    except _DAMAGE as error:
        raise SamplesError(
            "the file isn't an image that can be read",
            where=name,
            remedy="give PNG, JPEG, BMP, TIFF, WebP, PGM or PPM; if it is one, it is damaged",
        ) from error
    if width * height > MAX_PIXELS:
        raise SamplesError(
            f"the picture is too large: {width} × {height} is over {MAX_PIXELS} pixels",
            where=name,
            remedy="cut the picture into tiles",
        )
    try:
        frames = getattr(image, "n_frames", 1)
        bits = _stored_bits(image, raw)
        image.load()
        upright = ImageOps.exif_transpose(image)
    except _DAMAGE as error:
        raise SamplesError(
            f"the image is damaged: {_first_line(error)}", where=name, remedy="save it again"
        ) from error
    if frames > 1 and image.format != "MPO":
        raise SamplesError(
            f"the file holds {frames} pictures, one file is one sample",
            where=name,
            remedy="save each picture as a file of its own",
        )
    return upright, bits


def _stored_bits(image: Image.Image, raw: bytes) -> int:
    """Return the bits per channel in the file; Pillow's mode hides them for colour."""
    if image.format == "PNG":
        return raw[24]  # IHDR: signature 8, length and type 8, width and height 8, then the depth
    if image.format == "TIFF":
        stored = image.tag_v2.get(258, 1)  # type: ignore[attr-defined]  # BitsPerSample, TIFF only
        return max(stored) if isinstance(stored, tuple) else int(stored)
    if image.mode == "I" or image.mode.startswith("I;16"):
        return 16
    if image.format == "PPM" and isinstance(image, ImageFile.ImageFile) and image.tile:
        arguments = image.tile[0].args
        largest = arguments[-1] if isinstance(arguments, tuple) else 255
        return 16 if isinstance(largest, int) and largest > 255 else 8
    return 8


def _deep(image: Image.Image, bits: int, name: str) -> NDArray[np.float32]:
    """Return 16-bit grey as float32, or refuse."""
    if image.mode != "I" and not image.mode.startswith("I;16"):
        raise SamplesError(
            f"the contract asks for 16-bit grey, this picture is {bits}-bit {image.mode}",
            where=name,
            remedy='save it as 16-bit grey, or leave "depth" out of the decode step',
        )
    pixels = np.asarray(image)
    if pixels.size and (pixels.min() < 0 or pixels.max() > 65535):
        raise SamplesError(
            f"the picture's values reach from {pixels.min()} to {pixels.max()}, "
            "outside the 0 to 65535 of 16 bits",
            where=name,
            remedy="save it as 16-bit grey, or as .npy",
        )
    return pixels.astype(np.float32)[:, :, np.newaxis]


def _too_deep(image: Image.Image, bits: int, name: str) -> SamplesError:
    if image.mode == "F" or bits > 16:
        return SamplesError(
            f"the picture has {bits} bits a channel", where=name, remedy="save the array as .npy"
        )
    if image.mode == "I" or image.mode.startswith("I;16"):
        return SamplesError(
            "the picture is 16-bit grey, the contract reads 8 bits",
            where=name,
            remedy='write {"op": "decode", "depth": 16} if the network was trained on those '
            "values, or save it with 8 bits",
        )
    return SamplesError(
        "the picture is 16-bit colour, which would be cut down to 8 bits",
        where=name,
        remedy="save it with 8 bits, or the array as .npy",
    )


def _opaque(image: Image.Image, alpha: str, name: str) -> Image.Image:
    """Return RGB without the alpha channel, as the contract says."""
    if alpha == "drop" or image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    if alpha in ("white", "black"):
        return Image.alpha_composite(Image.new("RGBA", image.size, alpha), image).convert("RGB")
    raise SamplesError(
        "the picture is partly transparent, and the contract doesn't say what shows through",
        where=name,
        remedy='write {"op": "decode", "alpha": "white"}, "black", or "drop" '
        '(what Pillow\'s convert("RGB") does)',
    )


def _converted(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "CMYK", "YCbCr", "RGBX"):
        return image.convert("RGB")
    raise SamplesError(
        f"the picture's colours ({image.mode}) have no agreed conversion",
        where=name,
        remedy="save it as grey or RGB",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
