"""Masks over pictures: what is tinted, what stays, and what the legend says."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from roadworthy.core.errors import InputError, SamplesError
from roadworthy.vision.drawing import draw_mask, sheet
from roadworthy.vision.geometry import Geometry
from roadworthy.vision.legend import percent
from roadworthy.vision.task import SegmentationTask
from tests.unit.vision.made import encoded, picture

TASK = SegmentationTask(
    output="y", classes=("background", "object"), colours=("#00000000", "#ff0000")
)
GREY = np.full((600, 600), 100, dtype=np.uint8)


def square(size=600, low=200, high=400):
    labels = np.zeros((size, size), dtype=np.uint8)
    labels[low:high, low:high] = 1
    return labels


def drawn(*arguments, **options):
    return np.asarray(draw_mask(*arguments, **options))


def test_inside_is_tinted_the_rest_untouched_and_the_border_solid():
    out = drawn(GREY, square(), TASK, opacity=0.5, legend=False)
    assert out.shape == (600, 600, 3)
    # 0.5 · (255, 0, 0) + 0.5 · 100, within the rounding of 8 bits
    np.testing.assert_allclose(out[300, 300].astype(int), [177, 50, 50], atol=1)
    assert out[100, 100].tolist() == [100, 100, 100]
    assert out[200, 300].tolist() == [255, 0, 0]


def test_just_outside_the_border_a_line_contrasts_with_the_picture():
    for level, contrast in ((250, -1), (5, 1)):
        out = drawn(np.full((600, 600), level, np.uint8), square(), TASK, legend=False)
        assert np.sign(int(out[199, 300, 1]) - level) == contrast


def test_without_any_object_the_picture_is_the_picture():
    image = picture(600, 500)
    labels = np.zeros((600, 500), np.int64)
    np.testing.assert_array_equal(drawn(image, labels, TASK, legend=False), image)


def test_alpha_in_a_colour_weakens_the_tint():
    weak = SegmentationTask(output="y", classes=("a", "b"), colours=("#00000000", "#ff000080"))
    out = drawn(GREY, square(), weak, opacity=1.0, legend=False)
    np.testing.assert_allclose(out[300, 300].astype(int), [178, 50, 50], atol=1)


def test_small_pictures_are_enlarged_by_a_whole_factor():
    out = draw_mask(picture(48, 64), np.zeros((48, 64), int), TASK, legend=False)
    assert out.size == (512, 384)


@pytest.mark.parametrize(("height", "width", "side"), [(600, 600, "right"), (500, 900, "below")])
def test_the_legend_stands_at_the_right_or_below_and_covers_nothing(height, width, side):
    image = picture(height, width)
    out = drawn(image, np.zeros((height, width), int), TASK)
    np.testing.assert_array_equal(out[:height, :width], image)
    grown = (out.shape[0] > height, out.shape[1] > width)
    assert grown == ((False, True) if side == "right" else (True, False))


def test_the_legend_shows_the_colour_and_dark_text_on_paper():
    panel = drawn(GREY, square(), TASK)[:, 600:].reshape(-1, 3).astype(int)
    assert (panel == [255, 0, 0]).all(axis=1).sum() > 100  # the swatch
    assert (panel.sum(axis=1) < 150).sum() > 100  # the text
    assert (panel.sum(axis=1) > 740).mean() > 0.8  # the paper


@pytest.mark.parametrize("count", [2, 7, 30, 150])
@pytest.mark.parametrize("shape", [(8, 64), (64, 8), (64, 64), (1, 1), (700, 1400)])
def test_any_number_of_classes_on_any_shape(count, shape):
    names = tuple(f"a class with a long name, number {index}" for index in range(count))
    labels = np.arange(shape[0] * shape[1]).reshape(shape) % count
    out = draw_mask(picture(*shape), labels, SegmentationTask(output="y", classes=names))
    assert out.mode == "RGB"
    assert min(out.size) > 14


def test_labels_of_the_network_are_brought_back_by_the_geometry():
    geometry = Geometry((600, 600), (60, 60), (0.1, 0.1))
    out = drawn(GREY, square(60, 20, 40), TASK, geometry, legend=False)
    np.testing.assert_array_equal(out, drawn(GREY, square(), TASK, legend=False))


def test_what_the_network_never_saw_is_darkened_and_said():
    geometry = Geometry((600, 600), (600, 300), (1.0, 1.0), (0.0, 0.0))
    labels = np.zeros((600, 300), int)
    out = drawn(GREY, labels, TASK, geometry, legend=False)
    assert out[300, 100, 0] == 100
    assert out[300, 500, 0] < 70
    # Half of the picture: a line of its own in the legend, with the swatch of the darkening.
    with_legend = drawn(GREY, labels, TASK, geometry)[:, 600:]
    plain = drawn(GREY, square() * 0, TASK)[:, 600:]
    swatch = [118, 118, 119]  # (24, 24, 27) at 150/255 on the panel's (252, 252, 250)
    assert (with_legend == swatch).all(axis=2).sum() > 100
    assert not (plain == swatch).all(axis=2).any()


def test_files_arrays_and_pillow_images_are_one(tmp_path):
    image = picture(500, 500)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(image))
    labels = square(500)
    expected = drawn(image, labels, TASK)
    for given in (path, str(path), Image.fromarray(image)):
        np.testing.assert_array_equal(drawn(given, labels, TASK), expected)


def test_nothing_given_is_changed():
    image, labels = picture(500, 500), square(500)
    kept = image.copy(), labels.copy()
    draw_mask(image, labels, TASK)
    np.testing.assert_array_equal(image, kept[0])
    np.testing.assert_array_equal(labels, kept[1])


@pytest.mark.parametrize(
    ("image", "labels", "geometry", "what"),
    [
        (GREY, square(300, 10, 20), None, r"cover \[300, 300\]"),
        (GREY, square(), Geometry.identity(300, 300), r"cover \[300, 300\]"),
        (GREY, square() + 1, None, "reach from 1 to 2"),
        (GREY.astype(float), square(), None, "uint8"),
        (GREY[..., None].repeat(4, axis=2), square(), None, "uint8 H×W"),
        (GREY, square().astype(float), None, "label map"),
    ],
)
def test_what_cannot_be_drawn_is_refused(image, labels, geometry, what):
    with pytest.raises(InputError, match=what):
        draw_mask(image, labels, TASK, geometry)


def test_a_file_that_is_no_picture(tmp_path):
    with pytest.raises(SamplesError):
        draw_mask(tmp_path / "none.png", square(), TASK)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (1e-7, "< 0.1 %"),
        (0.123, "12.3 %"),
        (0.9996, "> 99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_a_share_is_never_called_nothing_nor_all_when_it_is_not(share, text):
    assert percent(share) == text


class TestSheet:
    def test_pictures_lie_in_rows_of_equal_cells(self):
        images = [Image.new("RGB", (40, 20), colour) for colour in ("red", "green", "blue")]
        page = sheet(images, 2, cell=100)
        assert page.size == (2 * 100 + 3 * 4, 2 * 50 + 3 * 4)
        at = [page.getpixel(point) for point in ((50, 25), (160, 25), (50, 85))]
        assert at == [(255, 0, 0), (0, 128, 0), (0, 0, 255)]

    def test_captions_and_a_legend_make_it_taller(self):
        images = [draw_mask(GREY, square(), TASK, legend=False)] * 3
        plain, captioned = sheet(images, 3), sheet(images, 3, captions=["a", "b", "c" * 200])
        full = sheet(images, 3, captions=["a", "b", "c"], task=TASK)
        assert plain.height < captioned.height < full.height
        assert plain.width == captioned.width == full.width

    def test_fewer_pictures_than_columns_leave_no_gap(self):
        assert sheet([Image.new("L", (10, 10))], 5, cell=100).width == 108

    def test_a_very_tall_picture_does_not_stretch_the_page(self):
        assert sheet([Image.new("RGB", (10, 5000))], cell=100).height < 170

    def test_what_makes_no_sheet_is_refused(self):
        image = Image.new("RGB", (4, 4))
        for arguments in (([],), ([image], 0)):
            with pytest.raises(InputError, match="at least one"):
                sheet(*arguments)
        with pytest.raises(InputError, match="2 captions for 1"):
            sheet([image], captions=["a", "b"])
