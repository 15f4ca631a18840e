"""Which image files are read, how, and which are refused with one clear message."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from roadworthy.core.errors import SamplesError
from roadworthy.core.jsonable import dumps
from roadworthy.vision.decode import MAX_PIXELS, decode, read_bytes, viewable
from tests.unit.vision.made import contract, encoded, picture


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_8_bit_files_come_back_as_they_were(form, channels):
    image = picture(6, 9, channels)
    np.testing.assert_array_equal(decode(encoded(image, form), "p"), image.reshape(6, 9, channels))


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_lossy_files_are_what_pillow_makes_of_them(form):
    raw = encoded(picture(32, 32), form)
    expected = Image.open(io.BytesIO(raw)).convert("RGB")
    np.testing.assert_array_equal(decode(raw, "p"), expected)


def test_a_palette_is_looked_up():
    image = Image.fromarray(picture(5, 5)).quantize(7)
    np.testing.assert_array_equal(decode(encoded(image), "p"), image.convert("RGB"))


def test_black_and_white_is_0_and_255():
    bits = np.array([[True, False], [False, True]])
    assert decode(encoded(Image.fromarray(bits)), "p")[..., 0].tolist() == [[255, 0], [0, 255]]


def test_cmyk_becomes_rgb_as_pillow_converts_it():
    image = Image.fromarray(picture(4, 4)).convert("CMYK")
    np.testing.assert_array_equal(decode(encoded(image, "TIFF"), "p"), image.convert("RGB"))


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("form", ["PNG", "TIFF"])
    def test_every_exif_orientation_is_applied(self, orientation, form):
        image = Image.fromarray(picture(4, 7))
        exif = Image.Exif()
        exif[0x0112] = orientation
        tagged = image.copy()
        tagged.getexif()[0x0112] = orientation
        expected = ImageOps.exif_transpose(tagged)
        np.testing.assert_array_equal(decode(encoded(image, form, exif=exif), "p"), expected)

    def test_by_hand_6_means_turn_clockwise(self):
        exif = Image.Exif()
        exif[0x0112] = 6
        raw = encoded(np.array([[10, 20, 30]], dtype=np.uint8), exif=exif)
        assert decode(raw, "p")[..., 0].tolist() == [[10], [20], [30]]


class TestTransparency:
    CLEAR = np.array([[[200, 100, 0, 255], [200, 100, 0, 0]]], dtype=np.uint8)

    def test_an_opaque_alpha_channel_is_dropped(self):
        image = picture(3, 3)
        opaque = np.dstack([image, np.full((3, 3), 255, np.uint8)])
        np.testing.assert_array_equal(decode(encoded(opaque), "p"), image)

    def test_real_transparency_is_refused_until_the_contract_says_what_shows_through(self):
        with pytest.raises(SamplesError, match="partly transparent") as caught:
            decode(encoded(self.CLEAR), "logo.png")
        assert caught.value.where == "logo.png"
        assert '"alpha": "white"' in str(caught.value.remedy)

    @pytest.mark.parametrize(
        ("alpha", "hidden"), [("drop", [200, 100, 0]), ("white", [255] * 3), ("black", [0] * 3)]
    )
    def test_drop_keeps_the_hidden_colour_white_and_black_replace_it(self, alpha, hidden):
        out = decode(encoded(self.CLEAR), "p", alpha=alpha)
        assert out[0].tolist() == [[200, 100, 0], hidden]

    def test_a_transparent_palette_entry_counts(self):
        image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
        with pytest.raises(SamplesError, match="partly transparent"):
            decode(encoded(image, transparency=0), "p")


class TestSixteenBits:
    DEEP = np.array([[0, 256], [40000, 65535]], dtype=np.uint16)

    @pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
    def test_grey_is_float32_when_the_contract_asks_for_it(self, form):
        out = decode(encoded(self.DEEP, form), "p", depth=16)
        assert out.dtype == np.float32
        np.testing.assert_array_equal(out[..., 0], self.DEEP)

    @pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
    def test_grey_is_refused_when_it_does_not(self, form):
        with pytest.raises(SamplesError, match="16-bit grey") as caught:
            decode(encoded(self.DEEP, form), "p")
        assert '"depth": 16' in str(caught.value.remedy)

    def test_colour_is_never_cut_down_to_8_bits_in_silence(self):
        for raw in (_png_rgb16(), b"P6 1 1 65535\n" + bytes([1, 2, 3, 4, 5, 6])):
            with pytest.raises(SamplesError, match="16-bit colour"):
                decode(raw, "p")

    def test_an_8_bit_file_is_refused_where_16_are_promised(self):
        with pytest.raises(SamplesError, match="8-bit L"):
            decode(encoded(picture(2, 2, 1)), "p", depth=16)

    @pytest.mark.parametrize("dtype", [np.float32, np.int32])
    def test_32_bits_are_refused(self, dtype):
        with pytest.raises(SamplesError, match="32 bits"):
            decode(encoded(np.zeros((2, 2), dtype), "TIFF"), "p")

    def test_for_people_it_is_stretched_to_the_full_range(self):
        assert viewable(encoded(self.DEEP), "p")[..., 0].tolist() == [[0, 0], [155, 255]]


class TestRefused:
    @pytest.mark.parametrize(
        ("raw", "what"),
        [
            (b"", "empty"),
            (b"not an image at all", "isn't an image"),
            (b"\x89PNG\r\n\x1a\n", "isn't an image"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "isn't an image"),
        ],
    )
    def test_what_is_no_image(self, raw, what):
        with pytest.raises(SamplesError, match=what) as caught:
            decode(raw, "broken.png")
        assert caught.value.where == "broken.png"
        assert caught.value.exit_code == 2

    @pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM"])
    def test_a_truncated_file(self, form):
        raw = encoded(picture(64, 64), form)
        with pytest.raises(SamplesError):
            decode(raw[: len(raw) // 2], "half")

    def test_a_png_with_a_flipped_bit_in_its_data(self):
        raw = bytearray(encoded(picture(32, 32)))
        raw[len(raw) // 2] ^= 0x10
        with pytest.raises(SamplesError, match="damaged"):
            decode(bytes(raw), "flipped")

    @pytest.mark.parametrize("side", [10_000, 20_000, 60_000])
    def test_a_picture_that_claims_to_be_huge_is_refused_before_it_is_unpacked(self, side):
        assert side * side > MAX_PIXELS
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(SamplesError, match="too large"):
                decode(_png(side, side, 8, 0, b"\0" * 1000), "bomb.png")

    def test_an_animation(self):
        frames = [Image.fromarray(picture(4, 4, seed=seed)) for seed in range(3)]
        raw = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
        with pytest.raises(SamplesError, match="3 pictures"):
            decode(raw, "p")

    def test_colours_without_an_agreed_conversion(self):
        with pytest.raises(SamplesError, match="LAB"):
            decode(encoded(Image.new("LAB", (2, 2)), "TIFF"), "p")

    def test_a_missing_file_and_a_folder(self, tmp_path):
        for path in (tmp_path / "none.png", tmp_path):
            with pytest.raises(SamplesError, match="can't be read") as caught:
                read_bytes(path)
            assert caught.value.where == str(path)


def test_pillows_warnings_never_leak():
    raw = bytearray(encoded(picture(8, 8), "JPEG", exif=_exif()))
    at = raw.index(b"Exif")
    raw[at + 10 : at + 14] = b"\xff\xff\xff\xff"  # the directory now lies outside the block
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(bytes(raw), "p").shape == (8, 8, 3)


def test_without_pillow_a_contract_can_be_read_and_the_remedy_is_one_command(tmp_path):
    code = """
import sys
sys.modules["PIL"] = None
from pathlib import Path
from roadworthy.core.errors import MissingExtraError
from roadworthy.vision.images import find_preprocess
preprocess = find_preprocess(Path(), Path(sys.argv[1]))
try:
    preprocess.apply_bytes(b"", "p")
except MissingExtraError as error:
    print(error.remedy)
"""
    path = tmp_path / "preprocess.json"
    path.write_text(dumps(contract()))
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ('pip install "roadworthy[vision]"\n', "")


def _exif():
    exif = Image.Exif()
    exif[0x0112] = 1
    return exif


def _png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def _png_rgb16() -> bytes:
    return _png(1, 1, 16, 2, b"\0" + bytes([1, 2, 3, 4, 5, 6]))
