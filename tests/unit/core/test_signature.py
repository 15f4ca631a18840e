"""Signatures: which feeds they take, which axis is the batch, and their JSON form."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest

from roadworthy.core.errors import InputError, UsageError
from roadworthy.core.signature import Array, Dim, Signature, TensorSpec, dtype_name

B, H = Dim("batch", 1, 8), Dim("h", 8, 32, 4)
TWO = Signature(
    inputs=(TensorSpec("image", "float32", (B, 3, H)), TensorSpec("size", "int64", (B,))),
    outputs=(TensorSpec("y", "float32", (B, 2)),),
)


def image(*shape: int, dtype: str = "float32") -> Array:
    return np.zeros(shape, dtype)


def feed(batch: int = 2, h: int = 8) -> dict[str, Array]:
    return {"image": image(batch, 3, h), "size": image(batch, dtype="int64")}


def test_binding_tells_the_size_of_every_axis() -> None:
    assert TWO.bind(feed(5, 12)) == {"batch": 5, "h": 12}


@pytest.mark.parametrize("h", [8, 12, 32])
def test_sizes_within_range_and_step_are_taken(h: int) -> None:
    assert TWO.bind(feed(h=h))["h"] == h


@pytest.mark.parametrize("h", [0, 4, 7, 10, 33, 36])
def test_sizes_out_of_range_or_step_are_refused_by_name(h: int) -> None:
    with pytest.raises(InputError, match="image") as caught:
        TWO.bind(feed(h=h))
    assert str(h) in caught.value.what and caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"size": None}, "missing.*size"),
        ({"picture": image(1)}, "unknown.*picture"),
        ({"image": image(2, 3, 8, dtype="float64")}, "float64.*float32"),
        ({"image": image(2, 3, 8, dtype="float16")}, "float16.*float32"),
        ({"image": image(2, 3)}, r"\[2, 3\]"),
        ({"image": image(2, 3, 8, 1)}, r"\[2, 3, 8, 1\]"),
        ({"image": image(2, 4, 8)}, r"\[2, 4, 8\]"),
        ({"size": image(3, dtype="int64")}, r"size.*3.*batch is 2 already"),
        ({"image": image(9, 3, 8), "size": image(9, dtype="int64")}, r"\[9, 3, 8\]"),
        ({"image": image(0, 3, 8), "size": image(0, dtype="int64")}, r"\[0, 3, 8\]"),
    ],
)
def test_a_feed_that_does_not_fit_is_refused(changes: dict[str, Array | None], says: str) -> None:
    wrong = {name: a for name, a in {**feed(), **changes}.items() if a is not None}
    with pytest.raises(InputError, match=says) as caught:
        TWO.bind(wrong)
    assert caught.value.exit_code == 2


def test_an_open_axis_takes_every_size_but_one_size_at_a_time() -> None:
    n = Dim("n")
    spec = Signature((TensorSpec("a", "float32", (n,)), TensorSpec("b", "float32", (n,))), ())
    for size in (0, 1, 7, 1000):
        assert spec.bind({"a": image(size), "b": image(size)}) == {"n": size}
    with pytest.raises(InputError, match="'b'"):
        spec.bind({"a": image(2), "b": image(3)})


def test_a_range_stated_for_one_input_holds_for_the_other() -> None:
    spec = Signature(
        (TensorSpec("a", "float32", (Dim("n"),)), TensorSpec("b", "float32", (Dim("n", 2, 4),))), ()
    )
    assert spec.dims == {"n": Dim("n", 2, 4)}
    with pytest.raises(InputError, match="'a'"):
        spec.bind({"a": image(5), "b": image(5)})


def test_scalars_text_and_small_types_bind() -> None:
    spec = Signature(
        (
            TensorSpec("s", "float32", ()),
            TensorSpec("t", "str", (1,)),
            TensorSpec("b", "bfloat16", (2,)),
            TensorSpec("any", "bool", None),
        ),
        (),
    )
    given = {
        "s": np.zeros((), np.float32),
        "t": np.array(["a"], object),
        "b": np.zeros(2, ml_dtypes.bfloat16),
        "any": np.zeros((1, 2, 3), bool),
    }
    assert spec.bind(given) == {}
    assert spec.bind({**given, "t": np.array(["long text"])}) == {}


def test_bytes_are_not_text() -> None:
    assert dtype_name(np.dtype("S5")) != "str"
    assert {dtype_name(np.array(["a"], kind).dtype) for kind in ("O", "U3")} == {"str"}


@pytest.mark.parametrize(
    ("inputs", "outputs", "batch"),
    [
        ([(B, 3)], [(B, 2)], "batch"),
        ([(B, 3), (B,)], [(B,), (B, 2, H)], "batch"),
        ([(B, 3)], [(2, B)], None),  # does not lead the output
        ([(B, B)], [(B,)], None),  # stands elsewhere too
        ([(B, 3)], [(B,), ()], None),  # an output without it, such as a loss
        ([(B, 3), (H,)], [(B,)], None),  # two axes lead
        ([(1, 3)], [(1,)], None),  # a fixed axis
        ([(B,)], [None], None),  # an output of unknown rank
        ([], [(B,)], None),
    ],
)
def test_the_batch_is_the_axis_that_leads_everything_and_stands_nowhere_else(
    inputs: list, outputs: list, batch: str | None
) -> None:
    spec = Signature(
        tuple(TensorSpec(f"i{n}", "float32", shape) for n, shape in enumerate(inputs)),
        tuple(TensorSpec(f"o{n}", "float32", shape) for n, shape in enumerate(outputs)),
    )
    found = spec.batch_dim
    assert (found.name if found else None) == batch


def test_the_batch_has_the_range_that_an_input_states() -> None:
    spec = Signature(
        (TensorSpec("x", "float32", (B,)),), (TensorSpec("y", "float32", (Dim("batch"),)),)
    )
    assert spec.batch_dim == B


def test_shapes_at_given_sizes() -> None:
    assert TWO.shapes({"batch": 2, "h": 16}) == {"image": (2, 3, 16), "size": (2,)}
    unknown = Signature((TensorSpec("x", "float32", None),), ())
    with pytest.raises(InputError, match="rank"):
        unknown.shapes({})


def test_ranges_can_be_stated_later_for_inputs_and_outputs_alike() -> None:
    open_axis = Signature(
        (TensorSpec("x", "float32", (Dim("n"), 3)),), (TensorSpec("y", "float32", (Dim("n"),)),)
    )
    n = Dim("n", 2, 6, 2)
    assert [spec.dims for spec in open_axis.with_ranges({"n": n})] == [(n,), (n,)]
    assert open_axis.dims["n"].is_open


@pytest.mark.parametrize(("low", "high", "step"), [(-1, 3, 1), (4, 3, 1), (1, 3, 0), (1, 3, -1)])
def test_an_empty_or_negative_range_is_refused(low: int, high: int, step: int) -> None:
    with pytest.raises(UsageError, match="'n'"):
        Dim("n", low, high, step)


def test_the_largest_size_is_one_that_the_step_reaches() -> None:
    assert Dim("n", 3, 20, 8).largest == 19
    assert Dim("n").largest is None


def test_it_prints_as_the_command_line_writes_it() -> None:
    assert str(TWO) == (
        "(image[batch=1..8,3,h=8..32:4]:float32, size[batch=1..8]:int64) "
        "-> (y[batch=1..8,2]:float32)"
    )
    assert str(TensorSpec("y", "float32", None)) == "y[?]:float32"


def test_an_unknown_input_is_named() -> None:
    assert TWO.input("size") is TWO.inputs[1]
    with pytest.raises(InputError, match="'picture'"):
        TWO.input("picture")


def test_json_and_back_is_the_same() -> None:
    for spec in (TWO, Signature((), (TensorSpec("y", "str", None),))):
        assert Signature.from_json(json.loads(json.dumps(spec.to_json()))) == spec
