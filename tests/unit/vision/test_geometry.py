"""The way back from the network's input to the original picture."""

from __future__ import annotations

import numpy as np
import pytest

from roadworthy.core.errors import InputError
from roadworthy.vision.geometry import UNSEEN, Geometry


def test_labels_of_an_unmoved_picture_come_back_as_they_are():
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    restored = Geometry.identity(3, 4).restore(labels)
    np.testing.assert_array_equal(restored, labels)
    assert restored.dtype == np.int32


def test_letterbox_padding_is_left_out():
    # A 2×4 picture, doubled to 4×8 and placed two rows down in 8×8.
    geometry = Geometry((2, 4), (8, 8), (2.0, 2.0), (2.0, 0.0))
    labels = np.full((8, 8), 9)
    labels[2:6] = np.repeat(np.repeat([[0, 1, 2, 3], [4, 5, 6, 7]], 2, axis=0), 2, axis=1)
    np.testing.assert_array_equal(geometry.restore(labels), [[0, 1, 2, 3], [4, 5, 6, 7]])


def test_what_was_cut_away_is_unseen():
    # The middle two columns of a 1×6 picture.
    geometry = Geometry((1, 6), (1, 2), (1.0, 1.0), (0.0, -2.0))
    u = UNSEEN
    np.testing.assert_array_equal(geometry.restore(np.array([[3, 4]])), [[u, u, 3, 4, u, u]])


def test_a_network_may_answer_at_a_quarter_of_its_input():
    geometry = Geometry((8, 8), (8, 8))
    labels = np.array([[0, 1], [2, 3]], dtype=np.int64)
    np.testing.assert_array_equal(geometry.restore(labels), np.kron(labels, np.ones((4, 4))))


def test_a_pixel_takes_the_label_at_its_centre():
    # Three pixels shrunk to two: centres at 1/3, 1 and 5/3.
    geometry = Geometry((1, 3), (1, 2), (1.0, 2 / 3))
    np.testing.assert_array_equal(geometry.restore(np.array([[5, 6]])), [[5, 6, 6]])


def test_one_map_after_another_scales_the_first_shift_too():
    first = Geometry((10, 10), (30, 20), (2.0, 2.0), (5.0, 0.0))
    both = first.then((60, 10), (2.0, 0.5), (1.0, -3.0))
    # y: (2y + 5) · 2 + 1, x: 2x · 0.5 - 3
    assert both == Geometry((10, 10), (60, 10), (4.0, 1.0), (11.0, -3.0))


def test_boxes_come_back_and_are_cut_at_the_border():
    geometry = Geometry((100, 200), (64, 64), (0.32, 0.32), (16.0, 0.0))
    boxes = np.array([[0.0, 16.0, 64.0, 48.0], [32.0, 32.0, 80.0, 90.0]])
    np.testing.assert_allclose(
        geometry.restore_boxes(boxes), [[0, 0, 200, 100], [100, 50, 200, 100]]
    )


@pytest.mark.parametrize("labels", [np.zeros((2, 2)), np.zeros(4, int), np.zeros((0, 2), int)])
def test_anything_but_a_label_map_is_refused(labels):
    with pytest.raises(InputError, match="label map"):
        Geometry.identity(2, 2).restore(labels)


def test_boxes_of_another_shape_are_refused():
    with pytest.raises(InputError, match="n×4"):
        Geometry.identity(2, 2).restore_boxes(np.zeros((4,)))
