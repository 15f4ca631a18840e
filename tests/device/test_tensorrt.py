"""TensorRT on a real GPU: right answers. Not part of `make test`: `pytest tests/device -m device`.

The target is `place.py`'s. What is expected comes from ONNX Runtime on the CPU.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from roadworthy.core.errors import InputError, RunError
from roadworthy.graph.signature import signature_of
from tests import models
from tests.device.judged import both, build
from tests.device.place import QUICK

pytestmark = [pytest.mark.device, pytest.mark.usefixtures("own_cache")]


def test_dynamic_batch_and_int64_outputs():
    signature = models.ranged(models.perceptron(), "x[batch=1..8,3]")
    feeds = [{"x": models.normal(n, 3, seed=n)} for n in (1, 3, 8, 2)]
    both(models.perceptron(), feeds, signature)


def test_more_shapes_than_are_kept_each_right_and_owned_by_the_caller():
    signature = models.ranged(models.convnet(), "image[batch=1..4,1,h=8..64,w=8..64]")
    sizes = [(1, 8, 8), (2, 16, 9), (4, 64, 64), (1, 33, 17), (3, 20, 21), (1, 8, 8), (2, 64, 8)]
    feeds = [{"image": models.normal(n, 1, h, w, seed=n + h)} for n, h, w in sizes * 2]
    _, answers = both(models.convnet(), feeds, signature)
    for first, again in zip(answers[:7], answers[7:], strict=True):
        np.testing.assert_array_equal(first["y"], again["y"])
        assert not np.shares_memory(first["y"], again["y"])


def test_two_profiles():
    signature = models.ranged(models.perceptron(), "x[batch=1..64,3]")
    extra = (*QUICK, ("profile", "batch=1..4@1"), ("profile", "batch=5..64@32"))
    feeds = [{"x": models.normal(n, 3, seed=n)} for n in (1, 64, 4, 5, 1)]
    both(models.perceptron(), feeds, signature, extra=extra)


def test_a_size_outside_the_profiles_is_refused_in_words():
    signature = models.ranged(models.perceptron(), "x[batch=1..64,3]")
    engine = build(models.perceptron(), signature, extra=(*QUICK, ("profile", "batch=1..4")))
    with engine.open() as session, pytest.raises(RunError, match="no optimisation profile takes"):
        session.run({"x": models.normal(9, 3)})


@pytest.mark.parametrize(
    "graph",
    [
        "g (int64[4] x) => (int64[4] y) { y = Add(x, x) }",
        "g (float[4] x, float[4] z) => (bool[4] y) { y = Less(x, z) }",
        "g (bool[4] x) => (bool[4] y) { y = Not(x) }",
        "g (float16[4] x) => (float16[4] y) { y = Add(x, x) }",
        "g (int32[4] x) => (int32[4] y) { y = Add(x, x) }",
        "g (float x) => (float y) { y = Mul(x, x) }",
    ],
    ids=lambda graph: graph.split("{")[1].strip(" }"),
)
def test_dtypes(graph):
    model = models.network(graph)
    made = {"float32": models.normal(4), "float16": models.normal(4).astype(np.float16)}
    made |= {"int64": np.array([3, -7, 2**29, 0]), "bool": np.array([True, False, True, True])}
    made |= {"int32": np.array([3, -7, 5, 0], np.int32)}
    feed = {
        s.name: made[s.dtype] if s.shape else np.array(3, np.float32)
        for s in signature_of(model).inputs
    }
    both(model, [feed])


def test_int64_beyond_int32_is_right_or_refused_never_clamped():
    model = models.network("g (int64[2] x) => (int64[2] y) { y = Identity(x) }")
    value = np.array([2**40, 1])
    with build(model).open() as session:
        try:
            np.testing.assert_array_equal(session.run({"x": value})["y"], value)
        except RunError as error:
            assert "INT32" in error.what


def test_outputs_whose_size_depends_on_the_data():
    model = models.network("g (float[6] x) => (int64[1, n] y) { y = NonZero(x) }")
    feeds = [{"x": np.array(v, np.float32)} for v in ([1, 0, 2, 0, 0, 3], [0] * 6, [1] * 6)]
    both(model, feeds)


def test_an_empty_batch():
    signature = models.ranged(models.perceptron(), "x[batch=0..4,3]")
    both(models.perceptron(), [{"x": models.normal(n, 3)} for n in (0, 2)], signature)


def test_operators_newer_than_the_parser_are_said_in_older_ones():
    """8.6 reads opset 17; of these Gelu came with 20, GroupNormalization's form with 21."""
    graph = """g (float[2,8,6,6] x) => (float[2,288] y) {
        n = GroupNormalization<num_groups = 4>(x, s, b) u = Gelu(n)
        t = Gelu<approximate = "tanh">(u) m = Mish(t) f = Flatten(m) y = RMSNormalization(f, r) }"""
    scales = {"s": models.normal(8, seed=1), "b": models.normal(8, seed=2)}
    proto = models.proto(graph, {**scales, "r": models.normal(288, seed=3)})
    proto.opset_import[0].version = 23
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    both(model, [{"x": models.normal(2, 8, 6, 6, seed=n)} for n in range(2)])


def test_a_model_with_open_axes_that_are_all_fixed_by_inputs():
    signature = models.ranged(models.convnet(), "image[2,1,32,48]")
    engine, _ = both(models.convnet(), [{"image": models.normal(2, 1, 32, 48)}], signature)
    with engine.open() as session, pytest.raises(InputError):
        session.run({"image": models.normal(1, 1, 32, 48)})


def test_weights_beside_the_model_as_those_of_a_large_one_are(as_large):
    as_large()
    signature = models.ranged(models.convnet(), "image[batch=1..2,1,h=32..64,w=32..64]")
    both(models.convnet(), [{"image": models.normal(2, 1, 64, 64)}], signature)
