"""The grammar of `--inputs`."""

from __future__ import annotations

import pytest

from roadworthy.core.errors import UsageError
from roadworthy.core.inputspec import InputSpec, parse_inputs
from roadworthy.core.signature import Dim


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        (
            "image:0[batch=1..8,3,h=256..1024:32,w]",
            InputSpec("image:0", (Dim("batch", 1, 8), 3, Dim("h", 256, 1024, 32), Dim("w"))),
        ),
        ("image[1,3,224,224]:float32", InputSpec("image", (1, 3, 224, 224), "float32")),
        ("scope/image:0", InputSpec("scope/image:0")),
        ("x[]", InputSpec("x", ())),
        ("x[]:int64", InputSpec("x", (), "int64")),
        (" x[ n , 3 ] ", InputSpec("x", (Dim("n"), 3))),
        ("x[n=0..0]", InputSpec("x", (Dim("n", 0, 0),))),
        ("x.1[_n=2..2]", InputSpec("x.1", (Dim("_n", 2, 2),))),
        ("x[0]", InputSpec("x", (0,))),
    ],
)
def test_what_can_be_written(text: str, spec: InputSpec) -> None:
    assert parse_inputs([text]) == (spec,)


@pytest.mark.parametrize(
    "text",
    [
        "", "[3]", "x[", "x]", "x[3", "x[3]]", "x[1,,3]", "x[,]", "x[-1]", "x[1.5]", "x[n=1]",
        "x[n=1..]", "x[n=..8]", "x[n=1..8:]", "x[n=1..8:0]", "x[n=8..1]", "x[n=-1..8]", "x[3n]",
        "x[n m]", "x y[3]", "x[3]:", "x[3]float32", "x[²]", "x[٣]", "x[n=1..²]",
        f"x[{'9' * 5000}]", f"x[n=1..{'9' * 5000}]",
    ],
)  # fmt: skip
def test_what_cannot_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_inputs([text])
    assert caught.value.exit_code == 2
    assert "LOW" in str(caught.value.remedy) or "image[" in str(caught.value.remedy)


def test_a_range_stated_once_holds_wherever_the_axis_recurs() -> None:
    a, b = parse_inputs(["a[n,n]", "b[n=1..4]"])
    assert a.shape == (Dim("n", 1, 4), Dim("n", 1, 4))
    assert b.shape == (Dim("n", 1, 4),)


def test_the_same_range_may_be_stated_twice_but_not_two_ranges() -> None:
    assert parse_inputs(["a[n=1..4]", "b[n=1..4]"])
    with pytest.raises(UsageError, match=r"'n'.*1\.\.4.*1\.\.5"):
        parse_inputs(["a[n=1..4]", "b[n=1..5]"])
    with pytest.raises(UsageError, match="'n'"):
        parse_inputs(["a[n=1..4,n=1..8]"])


def test_an_input_is_specified_once() -> None:
    with pytest.raises(UsageError, match="twice"):
        parse_inputs(["a[1]", "a[2]"])


def test_no_specification_is_none() -> None:
    assert parse_inputs([]) == ()
