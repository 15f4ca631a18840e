"""Random small graphs in half: valid, of the same signature, near the same answers, done once."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st

from roadworthy.graph.signature import signature_of
from roadworthy.precision.half import plan_half, to_half
from roadworthy.precision.typed import check
from tests.models import network, normal
from tests.property.test_passes import WEIGHTS, graphs
from tests.unit.precision.half_made import ranges_of, run

FEED = {"x": normal(3, 4)}
# Ten nodes, each rounding once and some doubling the error that came in; of the largest number
# anywhere, for differences may cancel.
ROUNDINGS = 64


@given(graphs(), st.booleans())
@settings(max_examples=60)
def test_valid_same_signature_and_near(graph: str, keep_islands: bool) -> None:
    model = network(graph, WEIGHTS)
    plan = plan_half(model, "fp16", ranges_of(model, FEED), keep_islands=keep_islands)
    result = to_half(model, plan)
    assert check(result) == ""
    assert signature_of(result) == signature_of(model)
    largest = max(max(map(abs, item)) for item in ranges_of(model, FEED).values())
    answers = run(result, FEED)
    for name, wanted in run(model, FEED).items():
        assert (answers[name].dtype, answers[name].shape) == (wanted.dtype, wanted.shape)
        assert np.abs(answers[name] - wanted).max() <= ROUNDINGS * 2**-11 * largest


@given(graphs(), st.sampled_from(["fp16", "bf16"]), st.booleans())
@settings(max_examples=60)
def test_a_second_time_changes_nothing(
    graph: str, precision: Literal["fp16", "bf16"], keep_islands: bool
) -> None:
    model = network(graph, WEIGHTS)
    ranges = ranges_of(model, FEED)

    def once(before: ir.Model) -> ir.Model:
        return to_half(before, plan_half(before, precision, ranges, keep_islands=keep_islands))

    first = once(model)
    assert text(once(first)) == text(first)


@given(graphs(), st.booleans())
@settings(max_examples=60)
def test_no_value_is_cast_twice_to_a_dtype_nor_back(graph: str, keep_islands: bool) -> None:
    model = network(graph, WEIGHTS)
    plan = plan_half(model, "fp16", ranges_of(model, FEED), keep_islands=keep_islands)
    made = [node for node in to_half(model, plan).graph if node.name and "_cast" in node.name]
    seen = set()
    for node in made:
        source = node.inputs[0]
        assert source is not None
        assert source.producer() not in made, "a cast of a cast"
        assert source not in seen, "cast twice"
        seen.add(source)


def text(model: ir.Model) -> bytes:
    return ir.to_proto(model).SerializeToString(deterministic=True)
