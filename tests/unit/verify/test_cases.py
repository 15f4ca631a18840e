"""At which shapes an engine is judged, and with which inputs."""

from __future__ import annotations

import numpy as np
import pytest

from roadworthy.core.inputspec import parse_inputs
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Array, Dim, Signature, TensorSpec
from roadworthy.verify.cases import Case, derive, plan_cases


def signature(text: str) -> Signature:
    """One input, and an output led by the same axis."""
    (spec,) = parse_inputs([text])
    shape = spec.shape or ()
    return Signature(
        (TensorSpec(spec.name, "float32", shape),), (TensorSpec("y", "float32", shape[:1]),)
    )


def numbered(*shapes: tuple[int, ...], name: str = "x") -> Samples:
    """Samples in which no two values are equal."""
    feeds, start = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        feeds.append({name: np.arange(start, start + size, dtype=np.float32).reshape(shape)})
        start += size
    return Samples.of_arrays(feeds)


def sizes(spec: Signature, samples: Samples) -> dict[str, dict[str, int]]:
    return {case.name: case.sizes for case in plan_cases(spec, samples)}


def test_a_static_network_is_judged_on_the_samples_only() -> None:
    (case,) = plan_cases(signature("x[2,3]"), numbered((2, 3), (2, 3)))
    assert (case.name, case.derived, len(case)) == ("samples", False, 2)
    assert [name for name, _ in case.feeds()] == ["arrays#0", "arrays#1"]


def test_smallest_odd_largest_and_a_mixed_batch() -> None:
    spec = signature("x[batch=1..8,1,h=16..64:16,w=10..20]")
    assert sizes(spec, numbered((1, 1, 32, 12), (1, 1, 32, 12))) == {
        "samples": {"batch": 1, "h": 32, "w": 12},
        "smallest": {"batch": 1, "h": 16, "w": 10},
        "odd": {"batch": 3, "h": 48, "w": 15},
        "largest": {"batch": 8, "h": 64, "w": 20},
        "crossed": {"batch": 1, "h": 16, "w": 20},
        "crossed-back": {"batch": 1, "h": 64, "w": 10},
        "batch": {"batch": 4, "h": 32, "w": 12},
    }


def test_two_axes_of_one_range_are_judged_in_either_order() -> None:
    """`if h < w` is the same at every other size that is judged, where the samples are square."""
    found = sizes(signature("x[1,h=8..32,w=8..32]"), numbered((1, 16, 16)))
    assert {(one["h"] > one["w"]) - (one["h"] < one["w"]) for one in found.values()} == {-1, 0, 1}


def test_open_axes_keep_the_samples_sizes_except_in_the_uncertain_odd_case() -> None:
    cases = {case.name: case for case in plan_cases(signature("x[n,h]"), numbered((2, 4), (2, 4)))}
    assert {name: case.sizes for name, case in cases.items()} == {
        "samples": {"n": 2, "h": 4},
        "odd": {"n": 3, "h": 7},
        "batch": {"n": 4, "h": 4},
    }
    assert [name for name, case in cases.items() if not case.certain] == ["odd", "batch"]


def test_ranges_that_were_stated_are_certain() -> None:
    assert all(case.certain for case in plan_cases(signature("x[n=1..8,h=2..9]"), numbered((2, 4))))


def test_a_setting_that_the_samples_have_already_is_not_repeated() -> None:
    spec = signature("x[n=1..2]")
    assert list(sizes(spec, numbered((1,), (2,)))) == ["samples"]


@pytest.mark.parametrize(
    ("text", "batch"),
    [
        ("x[n=1..2,3]", 2),
        ("x[n=3..9:3,3]", 3),
        ("x[n=6..9,3]", 6),
        ("x[n=1..9:2,3]", 3),
        ("x[n=0..0,3]", 0),
    ],
)
def test_the_mixed_batch_is_one_that_is_allowed(text: str, batch: int) -> None:
    spec = signature(text)
    low = spec.inputs[0].dims[0].low
    found = sizes(spec, numbered((low, 3)))
    assert all(spec.dims["n"].allows(one["n"]) for one in found.values())
    assert batch in {one["n"] for one in found.values()}


def test_a_huge_range_costs_nothing() -> None:
    spec = signature(f"x[n=1..{10**15},2]")
    assert sizes(spec, numbered((4, 2)))["odd"]["n"] in (3, 5)


def test_a_batch_mixes_different_samples() -> None:
    spec = signature("x[n=1..8,2]")
    samples = numbered((1, 2), (1, 2), (1, 2))
    feed = derive(samples, 0, spec, {"n": 4})["x"]
    assert feed.tolist() == [[0, 1], [2, 3], [4, 5], [0, 1]]
    assert derive(samples, 1, spec, {"n": 2})["x"].tolist() == [[2, 3], [4, 5]]


def test_a_batch_of_batched_samples_takes_the_first_row_of_each_first() -> None:
    spec = signature("x[n=1..8,1]")
    samples = numbered((3, 1), (3, 1))  # 0 1 2 and 3 4 5
    assert derive(samples, 0, spec, {"n": 4})["x"].ravel().tolist() == [0, 3, 1, 4]
    assert derive(samples, 0, spec, {"n": 7})["x"].ravel().tolist() == [0, 3, 1, 4, 2, 5, 0]


def test_samples_of_different_sizes_are_brought_to_one() -> None:
    spec = signature("x[n=1..8,h=1..9]")
    feed = derive(numbered((1, 2), (1, 6)), 0, spec, {"n": 2, "h": 4})["x"]
    assert feed.tolist() == [[0, 1, 0, 1], [3, 4, 5, 6]]  # tiled; cropped from the middle


def test_without_a_batch_axis_each_feed_is_one_sample() -> None:
    spec = Signature(
        (TensorSpec("x", "float32", (3, Dim("w", 1, 9))),), (TensorSpec("y", "float32", (3,)),)
    )
    samples = numbered((3, 2), (3, 2))
    assert derive(samples, 0, spec, {"w": 3})["x"].tolist() == [[0, 1, 0], [2, 3, 2], [4, 5, 4]]
    assert derive(samples, 1, spec, {"w": 1})["x"].tolist() == [[6], [8], [10]]


def test_scalars_stay_scalars_and_text_stays_text() -> None:
    spec = Signature(
        (
            TensorSpec("x", "float32", (Dim("w", 1, 9),)),
            TensorSpec("s", "float32", ()),
            TensorSpec("t", "str", (Dim("w", 1, 9),)),
        ),
        (),
    )
    arrays: dict[str, Array] = {
        "x": np.ones(2, np.float32),
        "s": np.array(3, np.float32),
        "t": np.array(["a", "b"], object),
    }
    samples = Samples.of_arrays([arrays])
    for case in plan_cases(spec, samples):
        for _, feed in case.feeds():
            assert spec.bind(feed) == case.sizes
            assert feed["s"].shape == ()
    assert derive(samples, 0, spec, {"w": 3})["t"].tolist() == ["a", "b", "a"]


def test_derived_feeds_say_what_they_come_from() -> None:
    cases = plan_cases(signature("x[n=1..8,2]"), numbered((2, 2), (2, 2)))
    named = {case.name: [name for name, _ in case.feeds()] for case in cases}
    assert named["largest"] == ["derived from arrays#0"]
    assert named["smallest"] == ["derived from arrays#0", "derived from arrays#1"]
    assert all(case.derived is (case.name != "samples") for case in cases)


def test_the_work_of_a_case_is_its_number_of_elements() -> None:
    spec = signature("x[n=1..8,3]")
    samples = numbered((2, 3))
    assert Case("largest", True, {"n": 8}, samples, spec).elements == 24
