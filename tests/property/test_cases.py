"""Derived inputs: always allowed by the signature, and always made of the user's own values."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from roadworthy.core.samples import Samples
from roadworthy.core.signature import Dim, Signature, TensorSpec
from roadworthy.verify.cases import _odd_size, plan_cases
from tests.property.test_signature import dims, signatures


def numbered(signature: Signature, sizes: list[dict[str, int]]) -> Samples:
    """Samples of these sizes; each value of an input tells its sample and place."""
    feeds = []
    for index, one in enumerate(sizes):
        shapes = signature.shapes(one)
        feeds.append(
            {
                spec.name: (np.arange(np.prod(shapes[spec.name])) + 1 + 1000 * index)
                .reshape(shapes[spec.name])
                .astype(spec.dtype)
                for spec in signature.inputs
            }
        )
    return Samples.of_arrays(feeds)


def wide(signature: Signature) -> Signature:
    """The same with dtypes that keep the numbers apart."""
    return Signature(
        tuple(TensorSpec(spec.name, "int64", spec.shape) for spec in signature.inputs),
        signature.outputs,
    )


@st.composite
def planned(draw: st.DrawFn) -> tuple[Signature, Samples]:
    signature = wide(draw(signatures()))

    def size(dim: Dim) -> int:
        if dim.largest is None:
            return draw(st.integers(1, 6))
        return draw(st.sampled_from(range(dim.low, dim.largest + 1, dim.step)))

    sizes = [
        {name: size(dim) for name, dim in signature.dims.items()}
        for _ in range(draw(st.integers(1, 4)))
    ]
    return signature, numbered(signature, sizes)


@given(planned())
def test_every_feed_of_every_case_satisfies_the_signature(
    both: tuple[Signature, Samples],
) -> None:
    signature, samples = both
    cases = plan_cases(signature, samples)
    assert cases[0].name == "samples"
    for case in cases:
        feeds = list(case.feeds())
        assert len(feeds) == len(case) > 0
        for _, feed in feeds:
            bound = signature.bind(feed)
            assert not case.derived or bound == case.sizes
        if case.certain and case.derived:
            assert all(signature.dims[name].allows(size) for name, size in case.sizes.items())


@given(planned())
def test_derived_values_are_the_users_own(both: tuple[Signature, Samples]) -> None:
    signature, samples = both
    own = {
        spec.name: {int(v) for feed in samples for v in feed[spec.name].ravel()}
        for spec in signature.inputs
    }
    for case in plan_cases(signature, samples):
        for _, feed in case.feeds():
            for name, array in feed.items():
                if own[name]:  # from an empty input nothing can be made but zeros
                    values = {int(v) for v in array.ravel()}
                    assert values <= own[name] | ({0} if not all(
                        sample[name].size for sample in samples) else set())  # fmt: skip


@given(st.integers(2, 6), st.integers(1, 3), st.integers(1, 5))
def test_a_batch_mixes_as_many_samples_as_it_can(count: int, rows: int, width: int) -> None:
    batch = Dim("batch", 1, 8)
    signature = Signature(
        (TensorSpec("x", "int64", (batch, width)),), (TensorSpec("y", "float32", (batch,)),)
    )
    samples = numbered(signature, [{"batch": rows}] * count)
    for case in plan_cases(signature, samples):
        if case.derived:
            for _, feed in case.feeds():
                origins = {int(v) // 1000 for v in feed["x"][:, 0]}
                assert len(origins) == min(count, case.sizes["batch"])


@given(dims("n"), st.integers(0, 3), st.data())
def test_the_odd_size_is_the_oddest_and_then_the_nearest(
    dim: Dim, index: int, data: st.DataObject
) -> None:
    """Against a search over the whole range, which a long range would not allow."""
    if dim.largest is None:
        return
    allowed = range(dim.low, dim.largest + 1, dim.step)
    usual = data.draw(st.sampled_from(allowed))
    inner = [size for size in allowed if size not in (usual, allowed[0], allowed[-1])]

    def twos(size: int) -> int:
        return size & -size if size else 1 << 30

    ranked = sorted(inner, key=lambda size: (twos(size), abs(size - usual)))
    oddest = [size for size in ranked if twos(size) == twos(ranked[0])]
    expected = oddest[min(index, len(oddest) - 1)] if inner else usual
    assert _odd_size(dim, usual, index) == expected
