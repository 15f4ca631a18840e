"""`(x,)`, `{"x": x}` or `x` become feeds by the names that the network's inputs have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from roadworthy.core.errors import RoadworthyError, SamplesError, UsageError
from roadworthy.source.torch.calling import by_position, convention
from roadworthy.source.torch.example import read_examples
from tests.unit.source.torch.networks import OptionalMask, TwoInputs

X, Y = torch.zeros(2, 4), torch.ones(2, 4)
MASK = torch.tensor([[True, False]])


class Variadic(nn.Module):
    def forward(self, first, *rest):
        return first + sum(rest)


class ThreeOptional(nn.Module):
    def forward(self, a, b=None, *, c=None):
        return a if c is None else a + c


@pytest.mark.parametrize(
    ("module", "example", "names"),
    [
        (TwoInputs(), (X, Y), ["left", "right"]),
        (TwoInputs(), [X, Y], ["left", "right"]),
        (TwoInputs(), {"right": Y, "left": X}, ["left", "right"]),
        (OptionalMask(), X, ["x"]),
        (OptionalMask(), (X,), ["x"]),
        (OptionalMask(), (X, MASK), ["x", "mask"]),
        (nn.Linear(4, 2), (X,), ["input"]),
        (torch.compile(nn.Linear(4, 2), backend="eager"), (X,), ["input"]),
        (Variadic(), (X, Y, Y), ["first", "rest_0", "rest_1"]),
        (ThreeOptional(), {"c": Y, "a": X}, ["a", "c"]),
        (TwoInputs(), (X.numpy(), Y), ["left", "right"]),
    ],
)
def test_names(module, example, names):
    found = read_examples(module, example)
    assert list(found.inputs) == names
    (feed,) = found.feeds
    assert sorted(feed) == sorted(names)
    np.testing.assert_array_equal(feed[names[0]], X)


def test_the_samples_are_copies():
    x = torch.zeros(2, 4)
    feed = read_examples(nn.Linear(4, 2), x).feeds[0]
    x += 1
    assert not feed["input"].any()


def test_specifications_name_inputs_or_rename_them_all():
    found = read_examples(TwoInputs(), (X, Y), inputs=["right[n=1..4,4]"])
    assert found.inputs == ("left", "right[n=1..4,4]")
    found = read_examples(TwoInputs(), (X, Y), [{"left": Y, "right": X}], ["a[n,4]", "b[n,4]"])
    assert found.inputs == ("a[n,4]", "b[n,4]")
    assert [list(feed) for feed in found.feeds] == [["a", "b"]] * 2
    assert found.feeds[1]["b"].sum() == 0
    with pytest.raises(UsageError, match="takes left, right"):
        read_examples(TwoInputs(), (X, Y), inputs=["a[n,4]"])


@pytest.mark.parametrize(
    ("module", "example", "more", "kind", "said"),
    [
        ("model.onnx", X, (), UsageError, "a str can't be compiled"),
        (TwoInputs(), (), (), SamplesError, "empty"),
        (TwoInputs(), 3.0, (), SamplesError, "a float"),
        (TwoInputs(), (X, [Y]), (), SamplesError, "'right' of example 0 is a list"),
        (TwoInputs(), (X, None), (), SamplesError, "NoneType"),
        (TwoInputs(), (X, Y, Y), (), UsageError, "3 inputs were given"),
        (TwoInputs(), (X,), (), UsageError, "also needs right"),
        (TwoInputs(), {"left": X, "wrong": Y}, (), UsageError, "no input 'wrong'"),
        (TwoInputs(), (X, Y), [(X,)], SamplesError, "example 1 has 1 inputs"),
        (TwoInputs(), (X, Y), X, UsageError, "not several"),
        (TwoInputs(), (X, Y), "random", UsageError, "not several"),
        (nn.Linear(4, 2), X.to_sparse(), (), RoadworthyError, "can't be read"),
    ],
)
def test_what_fits_no_network_is_refused(module, example, more, kind, said):
    with pytest.raises(kind, match=said):
        found = read_examples(module, example, more)
        # Whether a required input was left out is the source's to say.
        convention(module, found.inputs)


def test_what_may_be_given_by_position():
    def count(module, *names):
        return by_position(module, convention(module, names))

    assert count(TwoInputs(), "left", "right") == 2
    assert count(TwoInputs(), "a", "b") == 2  # renamed, in order
    assert count(OptionalMask(), "x") == 1
    assert count(OptionalMask(), "x", "scale") == 1  # the second would be the mask
    assert count(ThreeOptional(), "a", "c") == 1  # keyword only
