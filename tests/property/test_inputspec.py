"""`--inputs` reads back what signatures print, and refuses all else in our words."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from roadworthy.core.errors import UsageError
from roadworthy.core.inputspec import parse_inputs
from roadworthy.core.signature import Dim, TensorSpec

AXIS_NAMES = st.from_regex(r"\A[a-zA-Z_][a-zA-Z0-9_]{0,6}\Z")
INPUT_NAMES = st.from_regex(r"\A[a-zA-Z0-9_./:-]{1,12}\Z")


@st.composite
def specs(draw: st.DrawFn) -> TensorSpec:
    names = draw(st.lists(AXIS_NAMES, max_size=4, unique=True))
    axes: list[int | Dim] = []
    for name in names:
        kind = draw(st.sampled_from(["fixed", "open", "range"]))
        low = draw(st.integers(0, 10**6))
        axes.append(
            low if kind == "fixed"
            else Dim(name) if kind == "open"
            else Dim(name, low, low + draw(st.integers(0, 10**6)), draw(st.integers(1, 99)))
        )  # fmt: skip
    return TensorSpec(draw(INPUT_NAMES), "float32", tuple(axes))


@given(specs())
def test_what_a_signature_prints_reads_back(spec: TensorSpec) -> None:
    (read,) = parse_inputs([str(spec)])
    assert (read.name, read.shape, read.dtype) == (spec.name, spec.shape, spec.dtype)


@given(st.text(alphabet="x[]=.:,0123456789² n-h", max_size=24))
@settings(max_examples=300)
def test_any_other_text_is_refused_in_our_words(text: str) -> None:
    try:
        (read,) = parse_inputs([text])
    except UsageError as error:
        assert error.exit_code == 2
    else:
        assert read.name and "[" not in read.name
