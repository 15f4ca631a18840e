"""Whatever a network returns becomes a flat list of tensors with stable names."""

from collections import namedtuple

import numpy as np
import pytest
import torch

from roadworthy.core.errors import UsageError
from roadworthy.source.torch.outputs import flatten, to_arrays
from tests.unit.source.torch.networks import Boxes

ONE = torch.ones(2)
Pair = namedtuple("Pair", ["first", "second"])


@pytest.mark.parametrize(
    ("returned", "names"),
    [
        (ONE, ["output"]),
        ((ONE,), ["output"]),
        ((ONE, ONE), ["output_0", "output_1"]),
        ([ONE, (ONE, ONE)], ["output_0", "output_1_0", "output_1_1"]),
        ({"logits": ONE}, ["logits"]),
        ({"b": ONE, "a": ONE}, ["b", "a"]),
        ({"a": [ONE, ONE], "n": {"deep": ONE}}, ["a_0", "a_1", "n_deep"]),
        ({"a": ONE, "loss": None}, ["a"]),
        ((ONE, {"aux": ONE}), ["output_0", "output_1_aux"]),
        (Boxes(ONE, ONE), ["corners", "labels"]),
        (Pair(ONE, ONE), ["first", "second"]),
        ({"a": {"b": ONE}, "a_b": ONE}, ["a_b", "a_b_"]),
    ],
)
def test_names_come_from_keys_fields_and_positions(returned, names):
    assert [name for name, _ in flatten(returned)] == names


def test_given_names_replace_them_and_must_be_as_many():
    assert [name for name, _ in flatten((ONE, ONE), ["a", "b"])] == ["a", "b"]
    with pytest.raises(UsageError, match="has 2: output_0, output_1"):
        flatten((ONE, ONE), ["logits"])


@pytest.mark.parametrize("returned", [3.5, (ONE, "text"), {"size": 4}])
def test_anything_but_tensors_is_refused(returned):
    with pytest.raises(UsageError, match="only tensors"):
        flatten(returned)


def test_arrays_are_copies_in_c_order_with_the_tensors_dtype():
    tensor = torch.arange(6.0).reshape(2, 3).T
    array = to_arrays(tensor)["output"]
    tensor += 1
    assert array.flags.c_contiguous and array.flags.owndata and array[2, 1] == 5.0
    assert to_arrays(torch.ones(2, dtype=torch.bfloat16))["output"].dtype.name == "bfloat16"
    assert to_arrays(torch.tensor(True))["output"].dtype == np.bool_
