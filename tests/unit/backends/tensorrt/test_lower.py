"""What a build is told about shapes: fixed in the graph, or a range in every profile."""

import numpy as np
import onnx
import pytest

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.tensorrt.lower import build_inputs
from roadworthy.backends.tensorrt.options import TensorRTOptions
from roadworthy.core.errors import CompileError
from roadworthy.graph.serial import from_files
from roadworthy.graph.signature import signature_of
from tests import models

TENSORRT = {"version": "10.0.1"}


def told(model, *inputs):
    """Return the input shapes and the spec of a build with these `--inputs`."""
    signature = models.ranged(model, *inputs)
    files, spec = build_inputs(model, signature, CompileOptions(), TensorRTOptions(), TENSORRT)
    graph = onnx.load_model_from_string(files["model.onnx"]).graph
    shapes = {
        value.name: [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]
        for value in graph.input
    }
    return shapes, spec, files


def test_axes_that_the_signature_fixes_are_fixed_in_the_graph():
    shapes, spec, files = told(models.convnet(), "image[2,1,32,48]")
    assert shapes == {"image": [2, 1, 32, 48]}
    assert spec["profiles"] == []
    x = models.normal(2, 1, 32, 48)
    with (
        models.engine(from_files(files)).open() as ours,
        models.engine(models.convnet()).open() as plain,
    ):
        np.testing.assert_array_equal(ours.run({"image": x})["y"], plain.run({"image": x})["y"])


def test_axes_that_still_vary_stay_open_beside_fixed_ones():
    shapes, spec, _ = told(models.convnet(), "image[batch=1..4,1,32,48]")
    assert shapes == {"image": ["batch", 1, 32, 48]}
    assert spec["profiles"] == [{"image": [[1, 1, 32, 48], [1, 1, 32, 48], [4, 1, 32, 48]]}]


def test_an_input_that_is_all_fixed_needs_no_range_beside_one_that_varies():
    text = "g (float[n, 3] x, float[m] z) => (float[n, 3] y) { s = ReduceSum(z) y = Add(x, s) }"
    shapes, spec, _ = told(models.network(text), "x[4,3]", "z[m=1..8]")
    assert shapes == {"x": [4, 3], "z": ["m"]}
    assert set(spec["profiles"][0]) == {"z"}


def test_axes_without_a_name_are_fixed_by_their_place():
    model = models.network("g (float[?, 3] x) => (float[?, 3] y) { y = Neg(x) }")
    (first, _) = signature_of(model).inputs[0].shape
    assert not isinstance(first, int)
    assert told(model, "x[5,3]")[0] == {"x": [5, 3]}


def test_the_given_model_stays_as_it_was():
    model = models.convnet()
    before = str(signature_of(model))
    told(model, "image[2,1,32,48]")
    assert str(signature_of(model)) == before


def test_an_input_that_is_an_output_too_is_refused_in_words():
    """8.6 calls it "__x", and said that "__x" had no range."""
    model = models.network("g (float[4] x) => (float[4] x, float[4] y) { y = Add(x, x) }")
    with pytest.raises(CompileError, match="'x' is an input as it came") as caught:
        told(model)
    assert "Identity" in caught.value.remedy
