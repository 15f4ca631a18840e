"""JSON: strict text of anything that has a form, and the same text for the same value."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from roadworthy.core.jsonable import dumps, number, plain

TEXT = st.text(st.characters(), max_size=8)  # lone surrogates too
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXT,
    st.floats(width=32).map(np.float32), st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.booleans().map(np.bool_),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(TEXT, inner, max_size=4),
        st.frozensets(st.integers(), max_size=4),
        st.sets(TEXT, max_size=4),
    ),
    max_leaves=12,
)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@given(VALUES)
def test_the_text_is_strict_json_in_utf8_and_reads_back_as_the_plain_value(value: object) -> None:
    text = dumps(value)
    assert text.endswith("\n")
    back = json.loads(text.encode("utf-8"), parse_constant=refuse)
    assert back == plain(value)
    assert plain(back) == back


@given(st.sets(TEXT, min_size=2))
def test_a_set_has_one_form_whatever_its_order(values: set[str]) -> None:
    other: set[str] = set()
    other.update(sorted(values, reverse=True))
    assert dumps(values) == dumps(other) == dumps(frozenset(values))


@given(st.floats())
def test_every_float_reads_back(value: float) -> None:
    back = number(json.loads(dumps(value)))
    assert back == value or (math.isnan(back) and math.isnan(value))
