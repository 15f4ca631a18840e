"""What a network returns, put together again from plain data."""

from __future__ import annotations

import json
from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch

from roadworthy.core.errors import BundleError, UsageError
from roadworthy.core.jsonable import dumps
from roadworthy.source.torch.outputs import flatten
from roadworthy.source.torch.structure import Record, check_structure, describe, rebuild
from tests.unit.source.torch.networks import Boxes

A, B, C = (torch.full((2,), float(value)) for value in range(3))
Pair = namedtuple("Pair", ["first", "second"])


@dataclass
class ModelOutput(OrderedDict):
    """As in `transformers`: a mapping and a dataclass, items are attributes."""

    logits: torch.Tensor

    def __post_init__(self):
        self["logits"] = self.logits


def through_json(value, names=None):
    tensors = dict(flatten(value, names))
    structure = json.loads(dumps(describe(value, names)))
    return rebuild(check_structure(structure, list(tensors), "here"), tensors)


@pytest.mark.parametrize(
    "value",
    [
        A,
        (A,),
        [A],
        (A, [B, C]),
        {"a": A, "nested": (B, {"deep": C}), "absent": None},
        {0: A, "0": B},
        {"a": {"b": A}, "a_b": B},
        (A, None, {}, []),
    ],
)
def test_it_comes_back_as_it_was(value):
    found = through_json(value)
    assert type(found) is type(value)
    assert repr(found) == repr(value)
    assert [t is s for (_, t), (_, s) in zip(flatten(found), flatten(value), strict=True)]


def test_given_names_change_nothing():
    found = through_json({"a": A, "b": [B]}, ["one", "two"])
    assert found == {"a": A, "b": [B]}


def test_records_have_the_same_names():
    boxes = through_json(Boxes(A, B))
    assert type(boxes).__name__ == "Boxes"
    assert boxes.corners is A and boxes.labels is B
    pair = through_json(Pair(A, B))
    assert pair == (A, B) and pair.second is B
    assert type(pair) is type(through_json(Pair(B, A)))
    output = through_json(ModelOutput(A))
    assert isinstance(output, Record)
    assert output.logits is A and output["logits"] is A
    with pytest.raises(AttributeError, match="no 'loss'"):
        _ = output.loss


def test_what_json_cannot_key_is_refused():
    with pytest.raises(UsageError, match="neither text nor an integer"):
        describe({(1, 2): A})
    deep = A
    for _ in range(70):
        deep = [deep]
    with pytest.raises(UsageError, match="deeper"):
        describe(deep)


LEAF = {"kind": "tensor", "name": "a"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "object"),
        ([], "object"),
        ({}, "no None"),
        ({"kind": "module"}, "no 'module'"),
        ({"kind": []}, "no \\[\\]"),
        ({"kind": "tensor", "name": 3}, "isn't text"),
        ({"kind": "tensor", "name": "a", "more": 1}, "more"),
        ({"kind": "tensor", "name": "b"}, "names the outputs"),
        ({"kind": "tuple", "items": [LEAF, LEAF]}, "names the outputs"),
        ({"kind": "none"}, "names the outputs"),
        ({"kind": "list", "items": {"0": LEAF}}, "list"),
        ({"kind": "dict", "keys": ["a", "b"], "items": [LEAF]}, "2 keys for 1"),
        ({"kind": "dict", "keys": [["a"]], "items": [LEAF]}, "neither text"),
        ({"kind": "dict", "keys": ["a", "a"], "items": [LEAF, {"kind": "none"}]}, "twice"),
        ({"kind": "namedtuple", "type": "A", "keys": ["_x"], "items": [LEAF]}, "field"),
        ({"kind": "dataclass", "type": "A B", "keys": ["x"], "items": [LEAF]}, "field"),
        ({"kind": "dataclass", "type": "A", "keys": ["class"], "items": [LEAF]}, "field"),
        ({"kind": "record", "type": "A", "keys": [1], "items": [LEAF]}, "isn't text"),
    ],
)
def test_changed_data_is_refused(data, said):
    with pytest.raises(BundleError, match=said):
        check_structure(data, ["a"], "here")


def test_data_nested_without_end_is_refused():
    data = LEAF
    for _ in range(500):
        data = {"kind": "list", "items": [data]}
    with pytest.raises(BundleError, match="too deep"):
        check_structure(data, ["a"], "here")
