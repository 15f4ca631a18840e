"""Signatures are found by running; feeds are made fit to export with."""

import numpy as np
import pytest
import torch

from roadworthy.core.errors import SamplesError, UsageError
from roadworthy.core.inputspec import parse_inputs
from roadworthy.source.torch.reference import TorchOracle
from roadworthy.source.torch.shapes import example_feed, input_specs, signature_of
from tests.unit.source.torch import networks


def signature(module, feed, *texts):
    names = list(feed)
    oracle = TorchOracle(module.eval(), names)
    return signature_of(oracle.run, input_specs(names, parse_inputs(texts), feed), feed)


def zeros(*shape):
    return np.zeros(shape, np.float32)


def test_without_specs_everything_is_as_the_sample():
    found = signature(networks.ConvNet(), {"image": zeros(1, 3, 8, 9)})
    assert str(found) == "(image[1,3,8,9]:float32) -> (output[1,4,8,9]:float32)"


def test_output_axes_that_follow_an_input_axis_carry_its_name_and_range():
    found = signature(
        networks.ConvNet(), {"image": zeros(1, 3, 8, 8)}, "image[n=1..4,3,h=4..64:2,w]"
    )
    assert str(found) == (
        "(image[n=1..4,3,h=4..64:2,w]:float32) -> (output[n=1..4,4,h=4..64:2,w]:float32)"
    )
    assert found.batch_dim.name == "n"


def test_an_axis_that_changes_in_another_way_is_an_open_axis_of_its_own():
    class Half(torch.nn.Module):
        def forward(self, x):
            return x[:, ::2], x.sum()

    found = signature(Half(), {"x": zeros(2, 9)}, "x[n,w]")
    assert str(found.outputs[0]) == "output_0[n,output_0_1]:float32"
    assert str(found.outputs[1]) == "output_1[]:float32"


def test_a_fixed_axis_that_happens_to_be_as_large_is_not_confused():
    class Fixed(torch.nn.Module):
        def forward(self, x):
            return x.new_zeros(x.shape[0], 8)

    found = signature(Fixed(), {"x": zeros(8, 8)}, "x[n,w]")
    assert str(found.outputs[0]) == "output[n,8]:float32"


def test_a_step_of_the_network_is_found_by_trying_round_sizes():
    class MultipleOf32(torch.nn.Module):
        def forward(self, x):
            return x.reshape(x.shape[0], 32, -1)

    assert signature(MultipleOf32(), {"x": zeros(2, 64)}, "x[n,w]").outputs[0].shape[1] == 32


def test_a_stated_size_that_the_network_refuses_is_a_usage_error():
    class Exactly(torch.nn.Module):
        def forward(self, x):
            return x.reshape(-1, 5, 7)

    with pytest.raises(UsageError, match="runs with w=35, but not with") as caught:
        signature(Exactly(), {"x": zeros(2, 35)}, "x[2,w=30..39]")
    assert "--inputs" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("other[1,2]", UsageError),
        ("x[n]", SamplesError),
        ("x[n,5]", SamplesError),
        ("x[n,4]:int64", SamplesError),
        ("x[n=3..3,4]", UsageError),
    ],
)
def test_specs_that_do_not_fit_the_sample_are_refused(text, error):
    with pytest.raises(error):
        signature(networks.DictOut(), {"x": zeros(3, 4)}, text)


def test_the_example_has_distinct_allowed_sizes_of_at_least_two():
    feed = {"image": np.arange(3 * 20 * 20, dtype=np.float32).reshape(1, 3, 20, 20)}
    specs = input_specs(["image"], parse_inputs(["image[n=1..8,3,h=16..64:4,w=16..64:4]"]), feed)
    image = example_feed(feed, specs)["image"]
    batch, _, height, width = image.shape
    assert batch == 2 and len({batch, 3, height, width}) == 4
    assert height % 4 == 0 and width % 4 == 0 and {height, width} <= set(range(16, 65))
    np.testing.assert_array_equal(image[0], image[1])  # tiled from the only sample


def test_one_axis_name_gets_one_size_in_every_input():
    feed = {"left": zeros(1, 4), "right": zeros(1, 4)}
    specs = input_specs(list(feed), parse_inputs(["left[n,4]", "right[n,4]"]), feed)
    example = example_feed(feed, specs)
    assert example["left"].shape == example["right"].shape == (2, 4)
    found = signature(networks.TwoInputs(), feed, "left[n,4]", "right[n,4]")
    assert str(found.outputs[0]) == "output[n,4]:float32"


def test_an_empty_sample_cannot_be_tiled():
    feed = {"x": zeros(0, 4)}
    with pytest.raises(SamplesError, match="empty"):
        example_feed(feed, input_specs(["x"], parse_inputs(["x[n,4]"]), feed))
