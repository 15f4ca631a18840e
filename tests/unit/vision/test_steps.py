"""What each step does to the numbers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from roadworthy.core.errors import SamplesError
from tests.unit.vision.made import contract, picture, ran


def test_the_result_is_1_c_h_w_float32_and_contiguous():
    out = ran(contract(), picture(7, 5))
    assert out.shape == (1, 3, 7, 5)
    assert out.dtype == np.float32
    assert out.flags.c_contiguous


def test_layout_hwc_keeps_channels_last():
    image = picture(7, 5)
    np.testing.assert_array_equal(ran(contract(layout="HWC"), image)[0], image)
    np.testing.assert_array_equal(ran(contract(layout="CHW"), image)[0], image.transpose(2, 0, 1))


def test_rgb_is_as_in_the_file_and_bgr_is_reversed():
    red = np.zeros((2, 2, 3), dtype=np.uint8)
    red[..., 0] = 200
    assert ran(contract(colour="rgb"), red)[0, :, 0, 0].tolist() == [200, 0, 0]
    assert ran(contract(colour="bgr"), red)[0, :, 0, 0].tolist() == [0, 0, 200]


def test_grey_is_what_pillow_calls_l_for_every_shade():
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(52, -1, 3)
    expected = np.asarray(Image.fromarray(cube).convert("L"))
    np.testing.assert_array_equal(ran(contract(colour="grey"), cube)[0, 0], expected)


def test_grey_after_scaling_is_the_luma_of_floats():
    steps = [{"op": "decode"}, {"op": "scale", "by": 0.01}, {"op": "colour", "to": "grey"}]
    pre = _read([*steps, {"op": "layout", "to": "CHW"}, {"op": "dtype", "to": "float32"}])
    out = ran(pre, np.full((1, 1, 3), [100, 200, 50], dtype=np.uint8))
    # 0.299 · 1 + 0.587 · 2 + 0.114 · 0.5
    np.testing.assert_allclose(out.ravel(), [1.53], rtol=1e-6)


def test_a_grey_file_read_as_rgb_repeats_its_channel():
    image = picture(4, 3, channels=1)
    out = ran(contract(colour="rgb"), image)
    np.testing.assert_array_equal(out[0], np.broadcast_to(image, (3, 4, 3)))


def test_scale_is_one_float32_product():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    out = ran(contract({"op": "scale", "by": 1 / 255}, colour="grey"), image)
    np.testing.assert_array_equal(out[0, 0], image.astype(np.float32) * np.float32(1 / 255))


@pytest.mark.parametrize("layout_first", [False, True])
def test_mean_and_std_are_per_channel_before_and_after_layout(layout_first):
    norm = {"op": "mean_std", "mean": [10, 20, 30], "std": [1, 2, 4]}
    order = (
        [{"op": "layout", "to": "CHW"}, norm]
        if layout_first
        else [norm, {"op": "layout", "to": "CHW"}]
    )
    pre = _read(
        [{"op": "decode"}, {"op": "colour", "to": "rgb"}, *order, {"op": "dtype", "to": "float32"}]
    )
    out = ran(pre, np.full((2, 3, 3), [12, 24, 22], dtype=np.uint8))
    assert out[0, :, 1, 2].tolist() == [2.0, 2.0, -2.0]


def test_mean_follows_the_order_of_the_channels_so_bgr_starts_with_blue():
    norm = {"op": "mean_std", "mean": [1, 0, 0], "std": 1}
    out = ran(contract(norm, colour="bgr"), np.full((1, 1, 3), [7, 8, 9], dtype=np.uint8))
    assert out.ravel().tolist() == [8.0, 8.0, 7.0]


def test_clip_limits_both_ends():
    out = ran(
        contract({"op": "clip", "low": 10, "high": 20.5}, colour="grey"),
        np.array([[0, 15, 200]], dtype=np.uint8),
    )
    assert out.ravel().tolist() == [10.0, 15.0, 20.5]


class TestInstanceNorm:
    """The first account's: rsd = min(1/std, 3·n), clip(0.2·(x - mean)·rsd + 0.5, 0, 1)."""

    def test_by_hand(self):
        # 0, 0, 0, 100: mean 25, population std sqrt(1875) = 43.30127; 3·n = 12 doesn't count.
        image = np.array([[0, 0], [0, 100]], dtype=np.uint8)
        out = ran(contract({"op": "instance_norm"}, colour="grey"), image)
        expected = [0.5 - 0.2 * 25 / 43.30127019] * 3 + [0.5 + 0.2 * 75 / 43.30127019]
        np.testing.assert_allclose(out.ravel(), expected, rtol=1e-6)

    def test_far_values_are_clipped_to_0_and_1(self):
        image = np.zeros((10, 10), dtype=np.uint8)
        image[0, 0] = 255
        out = ran(contract({"op": "instance_norm"}, colour="grey"), image)
        # (255 - 2.55) / 25.372 = 9.95 deviations, times 0.2, is beyond 1.
        assert out[0, 0, 0, 0] == 1.0

    def test_the_cap_of_3n_counts_where_the_picture_is_nearly_flat(self):
        # Two pixels a·(0, 1) with a = 0.01: std 0.005, 1/std = 200 > 3·n = 6.
        image = np.array([[0, 1]], dtype=np.uint8)
        out = ran(
            contract({"op": "scale", "by": 0.01}, {"op": "instance_norm"}, colour="grey"), image
        )
        np.testing.assert_allclose(
            out.ravel(), [0.5 - 0.2 * 0.005 * 6, 0.5 + 0.2 * 0.005 * 6], rtol=1e-6
        )

    def test_n_counts_pixels_not_channels(self):
        image = np.array([[[0, 0, 0], [1, 1, 1]]], dtype=np.uint8)
        out = ran(contract({"op": "scale", "by": 0.01}, {"op": "instance_norm"}), image)
        np.testing.assert_allclose(out[0, :, 0, 1], [0.506] * 3, rtol=1e-6)

    @pytest.mark.parametrize("by", [1.0, 1 / 255, 1e-3])
    def test_a_flat_picture_is_one_half_exactly(self, by):
        image = np.full((64, 64, 3), 77, dtype=np.uint8)
        out = ran(contract({"op": "scale", "by": by}, {"op": "instance_norm"}), image)
        assert (out == 0.5).all()


def test_normalising_before_and_after_resizing_differ_and_both_can_be_said():
    image = picture(8, 8)
    fit = {"op": "fit", "size": [4, 4], "mode": "stretch", "method": "bilinear"}
    scale = {"op": "scale", "by": 1 / 255}
    before, after = ran(contract(scale, fit), image), ran(contract(fit, scale), image)
    assert not np.array_equal(before, after)
    np.testing.assert_allclose(
        before, after, atol=1.01 / 255
    )  # Pillow rounds to 8 bits per pass: twice


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8"])
def test_other_dtypes_come_last(dtype):
    pre = _read(
        [
            {"op": "decode"},
            {"op": "colour", "to": "grey"},
            {"op": "layout", "to": "HWC"},
            {"op": "dtype", "to": dtype},
        ]
    )
    image = picture(3, 4, channels=1)
    out = ran(pre, image)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out[0, :, :, 0], image)


def test_values_that_float16_cannot_hold_are_refused_with_the_file():
    pre = _read(
        [
            {"op": "decode"},
            {"op": "colour", "to": "grey"},
            {"op": "scale", "by": 1000},
            {"op": "layout", "to": "HWC"},
            {"op": "dtype", "to": "float16"},
        ]
    )
    with pytest.raises(SamplesError, match="65504") as caught:
        ran(pre, np.full((2, 2), 255, dtype=np.uint8))
    assert caught.value.where == "picture.png"


def _read(steps):
    from roadworthy.vision.preprocess import Preprocess

    return Preprocess.from_json({"schema": "roadworthy/preprocess/1", "inputs": {"image": steps}})
