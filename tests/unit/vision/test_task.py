"""From a network's answers to one class per pixel."""

from __future__ import annotations

import numpy as np
import pytest

from roadworthy.core.errors import InputError, WrongAnswersError
from roadworthy.vision.palette import palette, rgba
from roadworthy.vision.task import SegmentationTask, task_from_json

TWO = ("background", "object")
LABELS = np.array([[0, 1, 2], [2, 1, 0]])


def task(classes=("sky", "road", "car"), output="y", **more):
    return SegmentationTask(output=output, classes=classes, **more)


def scores(labels=LABELS, count=3, dtype=np.float32):
    """Return C×H×W scores whose largest is where the labels say."""
    noise = np.random.default_rng(0).random((count, *labels.shape)) * 0.9
    return ((labels == np.arange(count)[:, None, None]) + noise).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_the_largest_score_wins(dtype):
    found = task().labels({"y": scores(dtype=dtype)[None], "other": np.zeros(3)})
    np.testing.assert_array_equal(found, LABELS)
    assert found.dtype == np.uint8


def test_classes_may_be_last():
    answers = {"y": scores().transpose(1, 2, 0)[None]}
    np.testing.assert_array_equal(task(layout="HWC").labels(answers), LABELS)


def test_without_a_batch_axis():
    np.testing.assert_array_equal(task().labels({"y": scores()}), LABELS)


def test_an_item_of_a_batch():
    batch = np.stack([scores(), scores(LABELS.T.reshape(2, 3))])
    np.testing.assert_array_equal(task().labels({"y": batch}, 1), LABELS.T.reshape(2, 3))
    with pytest.raises(InputError, match="holds 2 pictures"):
        task().labels({"y": batch}, 2)


def test_quantised_scores_are_scores():
    answers = {"y": (scores() * 50).astype(np.int8)[None]}
    np.testing.assert_array_equal(task().labels(answers), LABELS)


def test_equal_scores_take_the_first_class():
    assert (task().labels({"y": np.zeros((1, 3, 2, 2), np.float32)}) == 0).all()


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3), (1, 1, 2, 3)])
def test_integers_are_labels_already(dtype, shape):
    answers = {"y": LABELS.astype(dtype).reshape(shape)}
    np.testing.assert_array_equal(task().labels(answers), LABELS)


def test_a_batch_of_label_maps_is_not_mistaken_for_scores():
    """Three pictures and three classes: N×H×W of integers has the shape of C×H×W."""
    batch = np.stack([LABELS, LABELS * 0, LABELS * 0 + 1])
    np.testing.assert_array_equal(task().labels({"y": batch}, 0), LABELS)
    assert (task().labels({"y": batch}, 2) == 1).all()


def test_labels_with_a_last_axis_of_one():
    answers = {"y": LABELS.reshape(1, 2, 3, 1)}
    np.testing.assert_array_equal(task(layout="HWC").labels(answers), LABELS)


def test_a_named_labels_output_is_preferred_and_may_be_whole_floats():
    made = task(labels_output="ArgMax")
    answers = {"y": -scores()[None], "ArgMax": LABELS[None].astype(np.float32)}
    np.testing.assert_array_equal(made.labels(answers), LABELS)
    np.testing.assert_array_equal(made.labels({"y": scores()[None]}), LABELS)


@pytest.mark.parametrize("shape", [(2, 2), (1, 2, 2), (1, 1, 2, 2)])
def test_one_score_per_pixel_is_compared_with_the_threshold(shape):
    answers = {"y": np.array([0.2, 0.5, 0.51, 0.9], np.float32).reshape(shape)}
    found = task(TWO, threshold=0.5).labels(answers)
    assert found.tolist() == [[0, 0], [1, 1]]


def test_without_a_threshold_the_message_says_what_to_write():
    with pytest.raises(InputError, match="states no threshold") as caught:
        task(TWO).labels({"y": np.zeros((1, 1, 2, 2), np.float32)})
    assert "0.5 for probabilities, 0 for logits" in caught.value.remedy


def test_more_than_256_classes_need_int32():
    many = task(tuple(f"c{i}" for i in range(300)))
    found = many.labels({"y": np.full((1, 2, 2), 299)})
    assert found.dtype == np.int32
    assert (found == 299).all()


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((1, 5, 2, 2), np.float32),  # 5 scores, 3 classes
        np.zeros((1, 2, 2, 3), np.float32),  # classes last, unsaid
        np.zeros((2, 4, 4), np.float32),
        np.zeros((3,), np.float32),
        np.zeros((1, 3, 0, 2), np.float32),
        np.zeros((1, 3, 2, 2), np.complex64),
    ],
)
def test_answers_of_another_form_are_refused(values):
    with pytest.raises(InputError, match="isn't a segmentation into 3 classes") as caught:
        task().labels({"y": values})
    assert "N×3×H×W" in caught.value.remedy


def test_labels_of_no_class_are_refused():
    for labels in (LABELS + 1, LABELS - 1):
        with pytest.raises(InputError, match="names 3 classes, 0 to 2"):
            task().labels({"y": labels})
    with pytest.raises(InputError, match="3 classes"):
        task(labels_output="y").labels({"y": LABELS + 0.5})


def test_a_missing_output_names_those_there_are():
    with pytest.raises(InputError, match="no output 'y'") as caught:
        task().labels({"b": LABELS, "a": LABELS})
    assert caught.value.remedy == "its outputs are a, b"


def test_nan_scores_are_wrong_answers_not_class_0():
    bad = scores()[None]
    bad[0, 1, 0, 0] = np.nan
    with pytest.raises(WrongAnswersError, match="1 NaN"):
        task().labels({"y": bad})
    with pytest.raises(WrongAnswersError, match="4 NaN"):
        task(TWO, threshold=0).labels({"y": np.full((2, 2), np.nan, np.float32)})


class TestJson:
    FULL = {  # noqa: RUF012  # plain data, never changed
        "kind": "segmentation",
        "output": "logits",
        "classes": ["a", "b"],
        "colours": ["#00000000", "#FF7f0e"],
        "labels_output": "ArgMax:0",
        "layout": "HWC",
        "threshold": 0.5,
    }

    def test_round_trip(self):
        made = task_from_json(self.FULL)
        assert made.to_json() == self.FULL
        assert task_from_json(made.to_json()) == made

    @pytest.mark.parametrize(
        ("change", "what"),
        [
            ({"kind": "detection"}, "no task 'detection'"),
            ({"kind": None}, "no task None"),
            ({"classes": ["a"]}, "at least two"),
            ({"classes": "ab"}, "at least two"),
            ({"classes": ["a", "a"]}, "twice"),
            ({"classes": ["a", 1]}, "'classes' is 1"),
            ({"colours": ["#fff", "#000000"]}, "'#fff' isn't a colour"),
            ({"colours": ["#000000"]}, "one colour per class, 2"),
            ({"colours": "#000000"}, "one colour per class, 2"),
            ({"colours": [1, 2]}, "1 isn't a colour"),
            ({"output": ""}, "'output' is ''"),
            ({"output": None}, "'output' is null"),
            ({"layout": "NCHW"}, "'layout' is 'NCHW'"),
            ({"threshold": "x"}, "'threshold' is 'x'"),
            ({"classes": ["a", "b", "c"], "colours": ["#000000"] * 3}, "tells two classes"),
            ({"colors": []}, "no field 'colors'"),
        ],
    )
    def test_what_is_wrong_is_named(self, change, what):
        with pytest.raises(InputError, match=what) as caught:
            task_from_json(self.FULL | change)
        assert caught.value.remedy

    def test_an_unknown_kind_lists_what_is_supported(self):
        with pytest.raises(InputError) as caught:
            task_from_json({"kind": "pose"})
        assert "segmentation" in caught.value.remedy

    def test_it_must_name_an_output(self):
        with pytest.raises(InputError, match="names no output"):
            task_from_json({"kind": "segmentation", "classes": ["a", "b"]})


class TestPalette:
    def test_given_colours_are_used(self):
        assert task(colours=("#000000", "#111111", "#222222")).palette[2] == "#222222"

    def test_a_first_class_called_background_stays_clear(self):
        assert rgba(palette(TWO)[0])[3] == 0
        assert rgba(palette(("road", "background"))[1])[3] == 255

    @pytest.mark.parametrize("count", [2, 14, 21, 81])
    def test_every_class_has_its_own_opaque_colour(self, count):
        colours = palette(tuple(f"c{i}" for i in range(count)))
        assert len(set(colours)) == count
        assert all(rgba(colour)[3] == 255 for colour in colours)

    def test_hex_is_red_green_blue_alpha(self):
        assert rgba("#0102fF80") == (1, 2, 255, 128)
        assert rgba("#010203") == (1, 2, 3, 255)
