"""Up to the opset that has FP16 scales: the same answers, the same names, or a reason."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import defs

from roadworthy.core.samples import Samples
from roadworthy.graph.signature import signature_of
from roadworthy.precision import raising
from roadworthy.precision.raising import HALF_SCALES, adds_otherwise, raised, same_answers
from roadworthy.precision.typed import check, opset_of, value_names
from tests.models import normal

X = Samples.of_arrays([{"x": normal(2, 4, 6, seed=seed)} for seed in range(3)])


def network(graph: str, opset: int) -> ir.Model:
    return ir.from_proto(
        onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>\n{graph}')
    )


OF_18 = {
    "Reshape, Cast, Equal": """g (float[2,4,6] x) => (float[4,12] y, bool[2,4,6] e) {
        s = Constant<value = int64[2] {4,12}>() r = Reshape(x, s) h = Cast<to = 10>(r)
        y = Cast<to = 1>(h) e = Equal(x, x) }""",
    "Pad": """g (float[2,4,6] x) => (float[2,6,6] y) {
        p = Constant<value = int64[6] {0,1,0,0,1,0}>() y = Pad<mode = "reflect">(x, p) }""",
    "Resize": """g (float[2,4,6] x) => (float[2,8,9] y) {
        none = Constant<value_floats = [0.0]>() s = Constant<value_floats = [1.0, 2.0, 1.5]>()
        y = Resize<mode = "linear">(x, , s) }""",
    "If": """g (float[2,4,6] x) => (float[2,4,6] y) {
        c = Constant<value = bool {1}>()
        y = If (c) <then_branch = t () => (float[2,4,6] a) { a = Identity(x) },
                    else_branch = e () => (float[2,4,6] b) { b = Neg(x) }> }""",
}
OLDER = {
    "axes": "g (float[2,4,6] x) => (float[2,4] y) { y = ReduceMax<axes = [2], keepdims = 0>(x) }",
    "Split": "g (float[2,4,6] x) => (float[2,2,6] y, float[2,2,6] z) { y, z = Split<axis=1>(x) }",
}


@pytest.mark.parametrize(
    ("graph", "opset"),
    [(g, 18) for g in OF_18.values()] + [(g, 13) for g in OLDER.values()],
    ids=[*OF_18, *OLDER],
)
def test_the_answers_and_the_names_stay(graph: str, opset: int) -> None:
    model = network(graph, opset)
    found, reason = raised(model)
    assert reason == ""
    assert opset_of(found) == HALF_SCALES
    assert opset_of(model) == opset, "the given model stays as it was"
    assert check(found) == ""
    assert found.ir_version >= 9
    assert signature_of(found) == signature_of(model)
    assert value_names(model) <= value_names(found)
    assert same_answers(model, found, signature_of(model), X)


def test_a_model_that_is_there_already_is_left_alone() -> None:
    for opset in (19, 21):
        model = network("g (float[2,4,6] x) => (float[2,4,6] y) { y = Relu(x) }", opset)
        assert raised(model) == (model, "")


def test_what_changed_at_19_is_what_the_docstring_names() -> None:
    """ONNX's own schemas: a change that nobody looked at would be one too many."""
    changed = set()
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.since_version == HALF_SCALES:
            changed.add(schema.name)
            assert schema.name in (raising.__doc__ or "")
            if schema.name in ("DeformConv",):
                continue
            before = defs.get_schema(schema.name, 18)
            assert [i.name for i in before.inputs] == [i.name for i in schema.inputs]
            assert set(before.attributes) <= set(schema.attributes)
            new = set(schema.attributes) - set(before.attributes)
            assert new <= {"saturate", "dilations"}
            for one, same in zip(before.inputs, schema.inputs, strict=True):
                assert one.types <= same.types
    assert len(changed) == 17


def test_what_the_converter_has_not_is_a_reason() -> None:
    model = network("g (float[2,4,6] x) => (float[2,4,6] y) { y = ATen(x) }", 8)
    found, reason = raised(model)
    assert found is model
    assert reason.startswith("ONNX's version converter can't: ")


def test_what_onnx_has_not_is_a_reason() -> None:
    model = network("g (float[2,4,6] x) => (float[2,4,6] y) { y = Frobnicate(x) }", 18)
    found, reason = raised(model)
    assert found is model
    assert reason.startswith("ONNX's checker refuses it at opset 19: ")
    assert "Frobnicate" in reason


def test_other_answers_are_seen() -> None:
    one = network("g (float[2,4,6] x) => (float[2,4,6] y) { y = Relu(x) }", 18)
    for text in ("y = Abs(x)", "z = Relu(x) y = Add(z, z)"):
        other = network(f"g (float[2,4,6] x) => (float[2,4,6] y) {{ {text} }}", 19)
        assert not same_answers(one, other, signature_of(one), X)
    nan = Samples.of_arrays([{"x": np.full((2, 4, 6), np.nan, np.float32)}])
    assert same_answers(one, one, signature_of(one), nan)


def test_pooling_adds_in_another_order_in_onnx_runtime_itself() -> None:
    """The same numbers but for the last bits."""
    graph = "g (float[2,4,6] x) => (float[2,4,4] y) { y = AveragePool<kernel_shape = [3]>(x) }"
    model = network(graph, 18)
    found, reason = raised(model)
    assert (reason, adds_otherwise(model)) == ("", True)
    one, other = (
        next(iter(raising.literal_answers(item, signature_of(model), X)))["y"]
        for item in (model, found)
    )
    # Three terms: 4 roundings, of magnitudes up to that of the largest term.
    np.testing.assert_allclose(one, other, rtol=0, atol=4 * 2**-24 * np.abs(X[0]["x"]).max())


def test_a_large_model_the_converter_cant_take_is_a_reason(as_large) -> None:
    as_large()
    old = network("g (float[4] x) => (float[4] y) <float[4] w = {1,2,3,4}> { y = Add(x, w) }", 13)
    found, reason = raised(old)
    assert found is old
    assert "less than 2 GB" in reason
    # From 18 on no converter is needed.
    new = network("g (float[4] x) => (float[4] y) <float[4] w = {1,2,3,4}> { y = Add(x, w) }", 18)
    assert raised(new)[1] == ""
