"""Signatures over all sizes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from roadworthy.core.errors import InputError
from roadworthy.core.samples import random_samples
from roadworthy.core.signature import Dim, Signature, TensorSpec

NAMES = st.sampled_from(["batch", "n", "h", "w"])


@st.composite
def dims(draw: st.DrawFn, name: str | None = None) -> Dim:
    """An axis of any name, open or with a range and a step."""
    name = name or draw(NAMES)
    if draw(st.booleans()):
        return Dim(name)
    low = draw(st.integers(0, 6))
    return Dim(name, low, low + draw(st.integers(0, 12)), draw(st.integers(1, 5)))


@st.composite
def signatures(draw: st.DrawFn) -> Signature:
    """One to three inputs over at most four axes, each with one range."""
    axes = {name: draw(dims(name)) for name in ("batch", "n", "h", "w")}
    axis = st.one_of(st.integers(0, 4), NAMES.map(lambda name: axes[name]))
    dtype = st.sampled_from(["float32", "int64", "bool", "float16", "uint8"])

    def specs(letter: str, most: int) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(f"{letter}{i}", draw(dtype), tuple(draw(st.lists(axis, max_size=4))))
            for i in range(draw(st.integers(1, most)))
        )

    return Signature(specs("x", 3), specs("y", 2))


@given(dims(), st.integers(-3, 40))
def test_an_axis_allows_exactly_what_its_range_lists(dim: Dim, size: int) -> None:
    if dim.high is None:
        assert dim.allows(size) is (size >= 0)
    else:
        listed = list(range(dim.low, dim.high + 1, dim.step))
        assert dim.allows(size) is (size in listed)
        assert dim.largest == listed[-1]


@given(signatures(), st.data())
def test_what_has_the_shapes_of_a_binding_binds_to_it(
    signature: Signature, data: st.DataObject
) -> None:
    sizes = {
        name: data.draw(
            st.integers(0, 9) if dim.largest is None
            else st.sampled_from(range(dim.low, dim.largest + 1, dim.step))
        )
        for name, dim in signature.dims.items()
    }  # fmt: skip
    shapes = signature.shapes(sizes)
    feed = {spec.name: np.zeros(shapes[spec.name], spec.dtype) for spec in signature.inputs}
    assert signature.bind(feed) == sizes


@given(signatures(), st.data())
def test_one_size_changed_in_one_input_is_refused_or_is_another_binding(
    signature: Signature, data: st.DataObject
) -> None:
    feed = dict(random_samples(signature, count=1)[0])
    bound = signature.bind(feed)
    name = data.draw(st.sampled_from(sorted(feed)))
    assume(feed[name].ndim)
    axis = data.draw(st.integers(0, feed[name].ndim - 1))
    feed[name] = (
        np.concatenate([feed[name], feed[name][:1]], 0)
        if axis == 0 and len(feed[name])
        else np.zeros(
            (*feed[name].shape[:axis], 99, *feed[name].shape[axis + 1 :]), feed[name].dtype
        )
    )
    changed = signature.input(name).shape
    assert changed is not None
    try:
        again = signature.bind(feed)
    except InputError as error:
        assert name in str(error) or signature.inputs
    else:
        moved = changed[axis]
        assert isinstance(moved, Dim)
        assert again == {**bound, moved.name: feed[name].shape[axis]}
        assert signature.dims[moved.name].allows(feed[name].shape[axis])


@given(signatures())
def test_random_samples_always_satisfy_the_signature(signature: Signature) -> None:
    random_samples(signature, count=2).check(signature)


@given(signatures())
def test_json_and_back_is_the_same(signature: Signature) -> None:
    text = json.dumps(signature.to_json(), allow_nan=False)
    assert Signature.from_json(json.loads(text)) == signature


@given(signatures())
def test_the_batch_leads_everything_once(signature: Signature) -> None:
    batch = signature.batch_dim
    if batch is None:
        return
    for spec in signature:
        assert [dim.name for dim in spec.dims].count(batch.name) == 1
        assert spec.shape is not None
        assert isinstance(spec.shape[0], Dim) and spec.shape[0].name == batch.name


@given(signatures(), st.sampled_from(["float64", "complex64", "U3"]))
def test_another_dtype_is_always_refused(signature: Signature, dtype: str) -> None:
    feed = dict(random_samples(signature, count=1)[0])
    name = signature.inputs[-1].name
    feed[name] = feed[name].astype(dtype)
    with pytest.raises(InputError, match=name):
        signature.bind(feed)
