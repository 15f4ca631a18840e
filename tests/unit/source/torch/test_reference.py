"""The network judges itself in FP32 and FP64, or says why it can't be trusted to."""

import re

import numpy as np
import pytest
import torch

from roadworthy.core.errors import SamplesError, UsageError
from roadworthy.source.torch.reference import TorchOracle, torch_reference
from tests.unit.source.torch import networks
from tests.unit.source.torch.networks import ConvNet

IMAGE = np.random.default_rng(0).standard_normal((2, 3, 8, 6)).astype(np.float32)
ROWS = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)


def test_fp32_and_fp64_agree_to_rounding_and_no_further():
    reference = torch_reference(ConvNet().eval(), ["image"], {"image": IMAGE}, ["logits"])
    judged = reference.judge.run({"image": IMAGE})["logits"]
    fine = reference.fine.run({"image": IMAGE})["logits"]
    assert (judged.dtype, fine.dtype) == (np.float32, np.float64)
    error = np.linalg.norm(judged - fine) / np.linalg.norm(fine)
    assert 0 < error < 1e-6  # some ten roundings of FP32, eps = 1.2e-7
    assert reference.kind == "source framework" and reference.notes == ()
    assert reference.judge.name.endswith("eager, FP32")
    assert reference.fine.name.endswith("eager, FP64")


def test_answers_are_the_callers_to_keep_and_samples_stay_as_they_are():
    oracle = TorchOracle(ConvNet().eval(), ["image"])
    sample = IMAGE.copy()
    first = oracle.run({"image": sample})["output"]
    kept = first.copy()
    second = oracle.run({"image": sample})["output"]
    second += 1
    oracle.run({"image": sample * 2})
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(sample, IMAGE)


def test_integers_stay_integers_in_fp64():
    module = networks.Embedding().eval()
    feed = {"tokens": np.array([[1, 2, 3]]), "real": np.array([[True, True, False]])}
    reference = torch_reference(module, ["tokens", "real"], feed)
    assert reference.fine.run(feed)["output"].dtype == np.float64


@pytest.mark.parametrize(
    ("module", "available", "note"),
    [
        (networks.DefaultDtype(), True, None),
        (networks.Float32Inside(), False, r"no FP64: RuntimeError.*networks\.py:\d+"),
        (networks.PartlyFloat32(), True, r"FP64 in part: aten\.exp"),
        (networks.TwiceTheSame(), True, None),
    ],
)
def test_fp64_is_had_where_the_networks_code_allows_it(module, available, note):
    reference = torch_reference(module.eval(), ["x"], {"x": ROWS})
    assert (reference.fine is not None) == available
    if note is None:
        assert reference.notes == ()
    else:
        assert len(reference.notes) == 1
        assert re.search(note, reference.notes[0])


def test_an_output_that_stays_float32_is_no_fp64():
    class Stays(torch.nn.Module):
        def forward(self, x):
            return {"a": x, "b": x.float()}

    reference = torch_reference(Stays(), ["x"], {"x": ROWS})
    assert reference.fine is None
    assert reference.notes == ("no FP64: output 'b' stays float32",)


def test_a_random_network_is_an_error_that_names_the_output():
    with pytest.raises(UsageError, match="output 'noisy' differs") as caught:
        torch_reference(networks.Random().eval(), ["x"], {"x": ROWS})
    assert "dropout" in (caught.value.remedy or "")


class Seldom(torch.nn.Module):
    """Draws, and shows it every so many runs."""

    def __init__(self, every):
        super().__init__()
        self.every, self.runs = every, 0

    def forward(self, x):
        self.runs += 1
        return x + (torch.rand(1) + 1) * (self.runs % self.every == 0)


def test_a_network_that_seldom_shows_that_it_draws_random_numbers_is_an_error():
    with pytest.raises(UsageError, match="differs between two runs"):
        torch_reference(Seldom(8), ["x"], {"x": ROWS})


def test_a_network_that_draws_random_numbers_without_showing_it_is_noted():
    (note,) = torch_reference(Seldom(1000), ["x"], {"x": ROWS}).notes
    assert "draws random numbers (aten.rand" in note


def test_a_network_with_memory_is_an_error():
    class Counts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.seen += 1
            return x + self.seen

    with pytest.raises(UsageError, match="differs between two runs"):
        torch_reference(Counts().eval(), ["x"], {"x": ROWS})


def test_a_network_that_writes_into_its_input_is_an_error():
    with pytest.raises(UsageError, match="writes into its input 'x'") as caught:
        torch_reference(networks.WritesInput().eval(), ["x"], {"x": ROWS})
    assert "clone()" in (caught.value.remedy or "")


def test_a_network_that_writes_into_some_of_its_inputs_only_is_an_error():
    class Clamps(torch.nn.Module):
        def forward(self, x):
            return x.clamp_(min=0) * 2

    reference = torch_reference(Clamps(), ["x"], {"x": np.abs(ROWS)})
    with pytest.raises(UsageError, match="writes into its input 'x'"):
        reference.judge.run({"x": -np.abs(ROWS)})


def test_nan_answers_that_repeat_are_no_randomness():
    class Nan(torch.nn.Module):
        def forward(self, x):
            return torch.log(x)

    reference = torch_reference(Nan(), ["x"], {"x": -np.abs(ROWS)})
    assert np.isnan(reference.judge.run({"x": -np.abs(ROWS)})["output"]).all()


def test_settings_of_the_caller_are_restored_even_after_a_failure():
    def settings():
        return (
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.mkldnn.matmul.fp32_precision,
            torch.backends.cudnn.conv.fp32_precision,
        )

    torch.set_float32_matmul_precision("medium")
    asked = settings()
    try:
        oracle = TorchOracle(ConvNet().eval(), ["image"], None, torch.float64, threads=1)
        with pytest.raises(UsageError):  # FP64 in, FP32 weights
            oracle.run({"image": IMAGE})
        TorchOracle(ConvNet().eval(), ["image"], threads=1).run({"image": IMAGE})
        assert settings() == asked and "bf16" in asked
    finally:
        torch.set_float32_matmul_precision("highest")


def test_low_matmul_precision_of_the_caller_does_not_reach_the_reference():
    class Precision(torch.nn.Module):
        def forward(self, x):
            seen.append(torch.backends.mkldnn.matmul.fp32_precision)
            return x @ x.T

    seen: list[str] = []
    torch.set_float32_matmul_precision("medium")
    try:
        TorchOracle(Precision(), ["x"]).run({"x": ROWS})
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == ["ieee"]


def test_an_error_in_forward_names_its_line_and_float64_samples_get_a_hint():
    oracle = TorchOracle(ConvNet().eval(), ["image"])
    with pytest.raises(UsageError, match="running the network failed") as caught:
        oracle.run({"image": IMAGE.astype(np.float64)})
    assert "networks.py" in (caught.value.where or "")
    assert "float64" in (caught.value.remedy or "")
    with pytest.raises(SamplesError, match="missing"):
        oracle.run({"picture": IMAGE})


def test_what_forward_prints_does_not_reach_standard_output(capsys):
    TorchOracle(networks.Talks(), ["x"]).run({"x": ROWS})
    captured = capsys.readouterr()
    assert captured.out == "" and "talks" in captured.err
