"""An engine and its input arrive in the other process as they left this one."""

import ml_dtypes
import numpy as np
import pytest

from roadworthy.measure.handover import read_engine, write_engine
from tests.unit.measure.engines import FEED, engine


def test_the_engine_arrives_whole(tmp_path):
    sent = engine()
    write_engine(tmp_path, sent, FEED)
    got, _ = read_engine(tmp_path)
    assert got == sent


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3).T,
        np.array(3, dtype=np.int64),
        np.zeros((0, 4), dtype=np.float16),
        np.array([True, False]),
        np.array([1.5, -2.25], dtype=ml_dtypes.bfloat16),
        np.array([0.5, 2.0], dtype=ml_dtypes.float8_e4m3fn),
        np.array([[-8, 7]], dtype=ml_dtypes.int4),
    ],
    ids=lambda array: f"{array.dtype.name}{list(array.shape)}",
)
def test_arrays_arrive_with_dtype_shape_and_values(tmp_path, array):
    write_engine(tmp_path, engine(), {"x": array})
    _, feed = read_engine(tmp_path)
    assert feed["x"].dtype == array.dtype
    assert feed["x"].shape == array.shape
    np.testing.assert_array_equal(feed["x"], array)


def test_text_arrives_without_a_pickle(tmp_path):
    write_engine(tmp_path, engine(), {"x": np.array(["a", "längere"], dtype=object)})
    _, feed = read_engine(tmp_path)
    assert feed["x"].tolist() == ["a", "längere"]


def test_a_name_that_climbs_out_of_the_folder_writes_nothing_outside(tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    write_engine(folder, engine(), {"../../x": FEED["x"]})
    assert [item.name for item in tmp_path.iterdir()] == ["inner"]
    assert read_engine(folder)[1].keys() == {"../../x"}
