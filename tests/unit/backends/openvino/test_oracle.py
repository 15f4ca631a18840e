"""OpenVINO as the second opinion on a bare ONNX file."""

import numpy as np
import pytest

from roadworthy.core.errors import OraclesDisagreeError
from roadworthy.core.reference import Reference
from roadworthy.graph.signature import signature_of
from roadworthy.source.onnx.oracles import onnx_reference
from tests.models import convnet, network, normal


def reference(model, feed, seconds: float = 60.0) -> Reference:
    return onnx_reference(
        model, signature_of(model), [("s0", feed)], lambda what, share: None, seconds
    )


def test_it_is_named_with_its_version_and_precision_and_agrees():
    found = reference(convnet(), {"image": normal(1, 1, 6, 5)})
    agreement = found.account["agreement"]
    assert isinstance(agreement, dict)
    (name,) = [name for name in agreement if name.startswith("openvino 20")]
    assert name.endswith("FP32")
    assert agreement[name]["feeds"] == 1
    assert 0 <= agreement[name]["worst_difference"] < 1e-5


def test_it_stands_in_where_the_evaluator_has_no_time():
    found = reference(convnet(), {"image": normal(1, 1, 6, 5)}, seconds=0.0)
    assert found.labels == ()
    assert found.fine is None
    assert any("time" in note for note in found.notes)


def test_where_it_is_wrong_neither_is_believed():
    """It takes equal values in any order; the standard wants the lowest index first."""
    graph = "g (float[4] x, int64[1] k) => (float[m] v, int64[m] i) { v, i = TopK<axis = 0>(x, k) }"
    feed = {"x": np.zeros(4, np.float32), "k": np.array([3])}
    with pytest.raises(OraclesDisagreeError, match=r"output 'i'.*openvino 20") as caught:
        reference(network(graph), feed)
    assert caught.value.exit_code == 3


def test_where_it_has_no_such_type_the_account_says_so():
    graph = "g (double[2] x) => (double[2] y) { y = Exp(x) }"
    found = reference(network(graph), {"x": normal(2).astype(np.float64)})
    assert found.labels == ()
    assert any("openvino can't be an oracle here" in note for note in found.notes)
