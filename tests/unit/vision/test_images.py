"""Finding the contract, and loading a folder of images with it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from roadworthy.core.errors import InputError, SamplesError
from roadworthy.core.samples import load_samples
from roadworthy.vision.images import find_preprocess, image_loader
from tests.unit.vision.made import SCHEMA, contract, encoded, picture, steps


@pytest.fixture
def folder(tmp_path):
    """A folder of two pictures, b before a in time, and their contract."""
    for seed, name in enumerate("ba"):
        (tmp_path / f"{name}.png").write_bytes(encoded(picture(4, 6, 1, seed)))
    data = {"schema": SCHEMA, "inputs": {"image": steps(colour="grey")}}
    (tmp_path / "preprocess.json").write_text(json.dumps(data))
    return tmp_path


def test_it_lies_in_the_folder_or_beside_the_single_image(folder):
    expected = contract(colour="grey")
    assert find_preprocess(folder, None) == expected
    assert find_preprocess(folder / "a.png", None) == expected


def test_a_given_one_is_preferred_and_must_exist(folder, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"schema": SCHEMA, "inputs": {"x": steps()}}))
    assert list(find_preprocess(folder, other).inputs) == ["x"]
    with pytest.raises(InputError, match="can't be read"):
        find_preprocess(folder, tmp_path / "none.json")


def test_where_there_is_none_nothing_is_invented(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    assert find_preprocess(tmp_path / "empty", None) is None
    assert find_preprocess(folder / "samples.npz", None) is None
    assert find_preprocess(tmp_path / "empty" / "a.png", None) is None


def test_a_wrong_one_is_an_error_not_none(folder):
    (folder / "preprocess.json").write_text("{")
    with pytest.raises(InputError, match="isn't JSON"):
        find_preprocess(folder, None)


def test_a_folder_of_images_becomes_samples_in_the_order_of_names(folder):
    loader = image_loader(find_preprocess(folder, None))
    samples = load_samples(folder, {"image": 4}, "image", loader)
    assert [item.name for item in samples.items] == ["a.png", "b.png"]
    assert samples.kind == "images"
    np.testing.assert_array_equal(samples[1]["image"][0, 0], picture(4, 6, 1, 0))
    assert samples.account().inputs[0].dtype == "float32"


def test_a_loader_for_a_network_without_a_batch_axis(folder):
    loader = image_loader(find_preprocess(folder, None), {"image": 3})
    assert loader(folder / "a.png")["image"].shape == (1, 4, 6)


def test_a_damaged_image_among_them_is_named(folder):
    (folder / "c.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    samples = load_samples(folder, None, None, image_loader(find_preprocess(folder, None)))
    with pytest.raises(SamplesError) as caught:
        list(samples)
    assert caught.value.where == str(folder / "c.png")
