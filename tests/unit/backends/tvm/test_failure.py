"""What TVM raises is one line; what our own code raises stays what it is."""

import json

import pytest

from roadworthy.backends.tvm.runtime.contract import check_fits
from roadworthy.backends.tvm.runtime.failure import is_foreign, plainly, said
from roadworthy.backends.tvm.runtime.schedules import _divisor


def test_a_defect_in_any_file_of_the_runtime_is_ours_and_others_are_not():
    with pytest.raises(TypeError) as ours:
        _divisor("nine", 3)
    assert not is_foreign(ours.value)
    with pytest.raises(KeyError) as ours:
        check_fits(None, {})
    assert not is_foreign(ours.value)
    with pytest.raises(ValueError) as theirs:
        json.loads("{")
    assert is_foreign(theirs.value)


def test_a_trace_is_one_line():
    assert said(KeyError("\n  first\n  second")).startswith("KeyError: ")
    with pytest.raises(RuntimeError, match=r"^TVM failed: ValueError: first$"), plainly("failed"):
        raise ValueError("\n first\nsecond")
    with pytest.raises(RuntimeError, match=r"^TVM gave up$"), plainly("failed"):
        raise RuntimeError("TVM gave up")
