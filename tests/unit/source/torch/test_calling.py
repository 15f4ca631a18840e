"""Inputs go to forward()'s parameters by name, or in order when they have other names."""

import numpy as np
import pytest
import torch
from torch import nn

from roadworthy.core.errors import SamplesError, UsageError
from roadworthy.source.torch.calling import convention
from tests.unit.source.torch.networks import OptionalMask, TwoInputs


class Variadic(nn.Module):
    def forward(self, *tensors):
        return torch.stack(tensors)


class AllOptional(nn.Module):
    def forward(self, x=None, y=None):
        return x


LEFT, RIGHT = torch.full((2,), 5.0), torch.full((2,), 1.0)


@pytest.mark.parametrize(
    ("module", "given", "names"),
    [
        (TwoInputs(), None, ("left", "right")),
        (TwoInputs(), ["a", "b"], ("a", "b")),
        (OptionalMask(), None, ("x",)),
        (OptionalMask(), ["x", "mask"], ("x", "mask")),
        (OptionalMask(), ["image"], ("image",)),
        (AllOptional(), None, ("x",)),
        (Variadic(), ["a", "b", "c"], ("a", "b", "c")),
    ],
)
def test_names_are_the_required_parameters_or_the_given_ones(module, given, names):
    assert convention(module, given).names == names


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_torchscript_module_names_its_inputs_too():
    module = torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2))
    assert convention(module).names == ("input",)


def test_parameter_names_in_another_order_still_mean_the_parameters():
    how = convention(TwoInputs(), ["right", "left"])
    assert torch.equal(how.call(TwoInputs(), (RIGHT, LEFT)), LEFT - 2 * RIGHT)


def test_other_names_are_taken_in_order():
    how = convention(TwoInputs(), ["a", "b"])
    assert torch.equal(how.call(TwoInputs(), (LEFT, RIGHT)), LEFT - 2 * RIGHT)


@pytest.mark.parametrize(
    ("module", "given"),
    [
        (TwoInputs(), ["left"]),
        (TwoInputs(), ["a", "b", "c"]),
        (Variadic(), None),
        (OptionalMask(), ["mask"]),
    ],
)
def test_names_that_do_not_fit_are_a_usage_error(module, given):
    with pytest.raises(UsageError) as caught:
        convention(module, given)
    assert caught.value.remedy


def test_a_feed_with_other_names_or_dtypes_is_a_samples_error():
    how = convention(TwoInputs())
    with pytest.raises(SamplesError, match=r"missing \['right'\], unknown \['rigth'\]"):
        how.tensors({"left": np.ones(2), "rigth": np.ones(2)})
    with pytest.raises(SamplesError, match="dtype"):
        how.tensors({"left": np.array(["text"]), "right": np.ones(2)})
