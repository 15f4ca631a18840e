"""`--option name=value` for TVM."""

import pytest

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.tvm.options import TvmOptions
from roadworthy.core.errors import UsageError


def parse(*extra):
    return TvmOptions.parse(CompileOptions(extra=extra))


def test_without_options_nothing_is_tuned_and_this_cpu_is_built_for():
    assert parse() == TvmOptions(tuning_seconds=0.0, mcpu=None)


def test_both_options_are_read():
    assert parse(("mcpu", "x86-64-v3"), ("tuning_seconds", "1.5")) == TvmOptions(1.5, "x86-64-v3")


@pytest.mark.parametrize(
    "option",
    [
        ("tuning", "1"),
        ("tuning_seconds", "soon"),
        ("tuning_seconds", "-1"),
        ("tuning_seconds", "inf"),
        ("mcpu", ""),
        ("mcpu", 'x" -mattr='),
    ],
)
def test_anything_else_is_refused_with_what_there_is(option):
    with pytest.raises(UsageError, match=option[0]) as caught:
        parse(option)
    assert "tvm.tuning_seconds=SECONDS" in str(caught.value)
