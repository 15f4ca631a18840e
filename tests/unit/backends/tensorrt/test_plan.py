"""What a plan tells of itself: its inputs, its precision, the shapes that its profiles take.

The accounts here have the form that the runtime gives them; tests/device makes real ones.
"""

from __future__ import annotations

import pytest

from roadworthy.backends.tensorrt.plan import (
    layer_count,
    precision_told,
    read_plan,
    signature_of_plan,
    within_a_profile,
)
from roadworthy.core.errors import InputError


def tensor(name, shape, *ranges, dtype="FLOAT", is_input=True):
    return {"name": name, "input": is_input, "dtype": dtype, "shape": shape, "ranges": ranges}


def told(opaque=(), **layers):
    return precision_told({"layers": layers, "opaque": dict(opaque)})


IMAGE = tensor(
    "image",
    [-1, 3, -1, -1],
    [[1, 3, 224, 224], [1, 3, 224, 224], [1, 3, 224, 224]],
    [[1, 3, 32, 32], [4, 3, 64, 64], [8, 3, 96, 96]],
)


def test_the_signature_has_the_widest_ranges():
    signature = signature_of_plan([IMAGE, tensor("y", [-1, 10], dtype="HALF", is_input=False)])
    assert str(signature) == (
        "(image[image_axis0=1..8,3,image_axis2=32..224,image_axis3=32..224]:float32)"
        " -> (y[y_axis0,10]:float16)"
    )


def test_a_type_that_numpy_lacks_is_said():
    with pytest.raises(InputError, match="INT4"):
        signature_of_plan([tensor("x", [4], dtype="INT4")])


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        ((1, 3, 224, 224), True),
        ((8, 3, 96, 32), True),
        ((8, 3, 224, 224), False),  # within the widest ranges, and in no profile
        ((1, 3, 100, 100), False),
    ],
)
def test_shapes_must_fit_one_profile(shape, fits):
    assert within_a_profile({"tensors": [IMAGE]}, {"image": shape}) is fits


def test_all_inputs_must_fit_the_same_profile():
    one = tensor("a", [-1], [[1], [1], [2]], [[3], [3], [4]])
    other = tensor("b", [-1], [[1], [1], [2]], [[3], [3], [4]])
    by_value = tensor("shape", [2], [], [])
    proof = {"tensors": [one, other, by_value]}
    assert within_a_profile(proof, {"a": (1,), "b": (2,), "shape": (2,)})
    assert not within_a_profile(proof, {"a": (1,), "b": (3,), "shape": (2,)})


@pytest.mark.parametrize(
    ("layers", "precision"),
    [
        ({"fp32": 4}, "fp32"),
        ({"fp32": 4, "tf32": 1}, "tf32"),
        ({"fp32": 4, "fp16": 1, "tf32": 2}, "fp16"),
        ({"fp16": 4, "bf16": 1, "other": 3}, "bf16"),
        ({"fp16": 4, "int8": 1}, "int8"),
    ],
)
def test_a_plan_is_as_exact_as_its_least_exact_layer(layers, precision):
    found = told(**layers)
    assert (found.precision, found.sure) == (precision, True)
    assert f"{layers[precision]} of {sum(layers.values())} layers" in found.why
    assert layer_count({"layers": layers}) == sum(layers.values())


def test_a_plan_that_tells_names_only_is_taken_for_the_strictest_and_says_so():
    for layers in ({"other": 12}, {}):
        found = told(**layers)
        assert (found.precision, found.sure) == ("fp32", False)
        assert "doesn't tell" in found.why


def test_what_a_fused_subgraph_computes_in_is_not_told_by_its_ends():
    assert not told(opaque={"fp32": 1}, fp32=3).sure
    assert told(opaque={"fp16": 1}, fp16=3).sure


def test_files_that_hold_no_plan(tmp_path):
    (tmp_path / "empty.plan").touch()
    (tmp_path / "folder.plan").mkdir()
    for name, said in [
        ("none.plan", "No such file"),
        ("empty.plan", "empty"),
        ("folder.plan", "direct"),
    ]:
        with pytest.raises(InputError, match=said) as caught:
            read_plan(tmp_path / name)
        assert caught.value.remedy
        assert caught.value.where == str(tmp_path / name)
