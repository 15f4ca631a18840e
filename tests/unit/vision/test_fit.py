"""Sizes, and where each pixel went. Truth: Pillow's own resize, fit and contain."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from roadworthy.core.errors import SamplesError
from tests.unit.vision.made import contract, encoded, picture, ran

R = Image.Resampling
METHODS = {
    "nearest": R.NEAREST,
    "bilinear": R.BILINEAR,
    "bicubic": R.BICUBIC,
    "lanczos": R.LANCZOS,
    "hamming": R.HAMMING,
    "area": R.BOX,
}


def fit(size, mode, method="bilinear", **more):
    return {"op": "fit", "size": size, "mode": mode} | ({"method": method} if method else {}) | more


def hwc(image, *steps, colour="rgb"):
    return ran(contract(*steps, colour=colour, layout="HWC"), image)[0]


def geometry(image, *steps):
    return contract(*steps).apply_bytes_with_geometry(encoded(image), "p")[1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(4, 6), (30, 11), (20, 20)])
def test_stretch_of_8_bits_is_pillows_resize_to_the_bit(method, size):
    image = picture(17, 23)
    expected = Image.fromarray(image).resize(size[::-1], METHODS[method])
    np.testing.assert_array_equal(hwc(image, fit(list(size), "stretch", method)), expected)


def test_stretch_of_floats_is_pillows_mode_f_per_channel():
    image = picture(17, 23)
    out = hwc(image, {"op": "scale", "by": 0.01}, fit([5, 9], "stretch", "bicubic"))
    for channel in range(3):
        plane = image[:, :, channel].astype(np.float32) * np.float32(0.01)
        np.testing.assert_array_equal(
            out[..., channel], Image.fromarray(plane).resize((9, 5), R.BICUBIC)
        )


def test_area_is_the_mean_of_whole_blocks():
    image = picture(8, 12, channels=1)
    out = hwc(image, {"op": "scale", "by": 1}, fit([4, 4], "stretch", "area"), colour="grey")
    blocks = image.reshape(4, 2, 4, 3).astype(np.float64).mean(axis=(1, 3))
    np.testing.assert_allclose(out[..., 0], blocks, rtol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(17, 23), (40, 9), (12, 12), (5, 64)])
def test_crop_is_pillows_imageops_fit(height, width):
    image = picture(height, width)
    expected = ImageOps.fit(Image.fromarray(image), (10, 14), R.BILINEAR)
    np.testing.assert_array_equal(hwc(image, fit([14, 10], "crop")), expected)


@pytest.mark.parametrize(
    ("height", "width", "top", "left"), [(20, 40, 2, 0), (40, 20, 0, 5), (8, 8, 0, 2)]
)
def test_letterbox_holds_pillows_imageops_contain_on_the_fill(height, width, top, left):
    image = picture(height, width)
    out = hwc(image, fit([12, 16], "letterbox", fill=114)).copy()
    inside = np.asarray(ImageOps.contain(Image.fromarray(image), (16, 12), R.BILINEAR))
    place = (slice(top, top + inside.shape[0]), slice(left, left + inside.shape[1]))
    np.testing.assert_array_equal(out[place], inside)
    out[place] = 114
    assert (out == 114).all()


def test_letterbox_at_the_top_left_fills_right_and_below_per_channel():
    image = picture(10, 20)
    out = hwc(image, fit([20, 20], "letterbox", anchor="top-left", fill=[1, 2, 3]))
    np.testing.assert_array_equal(out[:10], image)
    assert (out[10:] == [1, 2, 3]).all()


def test_an_odd_rest_has_its_larger_part_at_the_right_and_bottom():
    assert geometry(picture(4, 7), fit([4, 10], "letterbox")).offset == (0.0, 1.0)


@pytest.mark.parametrize(
    ("size", "original", "expected"),
    [
        (256, (480, 640), (256, 341)),  # 640 · 256/480 = 341.33
        (256, (640, 480), (341, 256)),
        ([800, 1333], (480, 640), (800, 1067)),  # DETR's usual sizes; 1066.67
        ([800, 1333], (300, 900), (444, 1333)),  # the longer side decides: 300 · 1333/900 = 444.33
        ([1333, 800], (300, 900), (444, 1333)),  # either order
        (1, (1000, 3), (333, 1)),
    ],
)
def test_shorter_keeps_the_shape(size, original, expected):
    made = geometry(np.zeros((*original, 3), dtype=np.uint8), fit(size, "shorter", "nearest"))
    assert made.network == expected


def test_the_usual_256_then_224_of_imagenet():
    image = picture(300, 400)
    out = hwc(image, fit(256, "shorter"), {"op": "fit", "size": [224, 224], "mode": "centre"})
    small = Image.fromarray(image).resize((341, 256), R.BILINEAR)
    # torchvision's CenterCrop: top = round((256 - 224) / 2), left = round((341 - 224) / 2) = 58.
    np.testing.assert_array_equal(out, np.asarray(small)[16:240, 58:282])


def test_centre_fills_where_the_picture_is_smaller():
    image = picture(2, 6, channels=1)
    out = hwc(image, {"op": "fit", "size": [4, 4], "mode": "centre", "fill": 9}, colour="grey")[
        ..., 0
    ]
    np.testing.assert_array_equal(out[1:3], image[:, 1:5])
    assert (out[[0, 3]] == 9).all()


def test_a_picture_that_would_explode_is_refused_and_named():
    thin = np.zeros((1, 60000), dtype=np.uint8)
    with pytest.raises(SamplesError, match="would become 800 × 48000000") as caught:
        ran(contract(fit(800, "shorter")), thin)
    assert caught.value.where == "picture.png"


@pytest.mark.parametrize(
    "step",
    [
        fit([40, 24], "stretch", "area"),
        fit([40, 24], "letterbox", "bilinear"),
        fit([32, 32], "crop", "bilinear"),
        fit(24, "shorter", "bilinear"),
        {"op": "fit", "size": [40, 40], "mode": "centre"},
    ],
)
def test_the_geometry_says_where_a_bright_square_went(step):
    """The centre of mass of a bright patch, moved by the geometry, is where it is found."""
    image = np.zeros((64, 48), dtype=np.uint8)
    image[30:42, 18:26] = 255
    found = hwc(image, step, colour="grey")[..., 0].astype(np.float64)
    made = geometry(image, step)
    rows, columns = (np.arange(size) + 0.5 for size in found.shape)
    centre = (found.sum(1) @ rows / found.sum(), found.sum(0) @ columns / found.sum())
    np.testing.assert_allclose(centre[0], 36.0 * made.scale[0] + made.offset[0], atol=0.02)
    np.testing.assert_allclose(centre[1], 22.0 * made.scale[1] + made.offset[1], atol=0.02)


def test_two_fits_make_one_geometry():
    made = geometry(
        picture(100, 200),
        fit([50, 50], "stretch"),
        {"op": "fit", "size": [30, 70], "mode": "centre"},
    )
    assert (made.original, made.network) == ((100, 200), (30, 70))
    assert (made.scale, made.offset) == ((0.5, 0.25), (-10.0, 10.0))
