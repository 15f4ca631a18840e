"""The public face: open a network, and leave the user's own object exactly as it was."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from roadworthy.core.errors import MissingExtraError, UsageError
from roadworthy.source import torch as source_torch
from roadworthy.source.torch import from_module, open_torch
from tests.unit.source.torch.networks import ConvNet, OptionalMask, Talks

IMAGE = np.ones((1, 3, 8, 8), np.float32)


def test_the_users_module_is_left_exactly_as_it_was():
    module = ConvNet().half()
    module.norm.eval()
    module.conv.weight.requires_grad_(False)
    module.conv.bias.grad = torch.ones_like(module.conv.bias)
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    source = from_module(module)
    source.reference({"image": IMAGE})
    list(source.candidates(source.signature({"image": IMAGE}), {"image": IMAGE}))
    assert module.training and module.drop.training and not module.norm.training
    assert not module.conv.weight.requires_grad and module.norm.weight.requires_grad
    assert torch.equal(module.conv.bias.grad, torch.ones(4).half())
    assert len(module._forward_hooks) == 1
    for name, value in module.state_dict().items():
        assert value.dtype is before[name].dtype and torch.equal(value, before[name])
    assert source.notes == ("the network held float16 values: computed in float32",)


def test_a_source_counts_its_parameters_and_names_its_inputs(tmp_path):
    (tmp_path / "net.py").write_text("from torch import nn\ndef make(): return nn.Linear(3, 2)\n")
    source = open_torch(f"{tmp_path / 'net.py'}:make")
    assert source.parameter_count == 8 and source.input_names == ("input",)
    assert source.with_inputs(["x"]).input_names == ("x",)
    with pytest.raises(UsageError):
        source.with_inputs(["x", "y"])


def test_an_optional_input_is_used_when_it_is_named():
    source = from_module(OptionalMask()).with_inputs(["x", "mask"])
    feed = {"x": np.ones((2, 4), np.float32), "mask": np.zeros((2, 2), bool)}
    assert not source.reference(feed).judge.run(feed)["output"].any()


def test_a_module_that_cannot_be_copied_is_a_usage_error():
    module = nn.Linear(2, 2)
    module.kept = module(torch.ones(1, 2))  # not a leaf: torch refuses to copy it
    with pytest.raises(UsageError, match="can't be copied") as caught:
        from_module(module)
    assert "attributes" in (caught.value.remedy or "")


def test_the_timed_call_runs_the_network_and_restores_the_threads():
    source = from_module(ConvNet())
    threads = torch.get_num_threads()
    call = source.run_callable({"image": IMAGE}, threads + 1)
    seen = []
    source.module.relu.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    call = source.run_callable({"image": IMAGE}, threads + 1)
    result = call()
    assert seen == [threads + 1] and torch.get_num_threads() == threads
    expected = source.reference({"image": IMAGE}).judge.run({"image": IMAGE})["output"]
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_what_a_timed_run_caches_does_not_spoil_a_later_export():
    class Caches(nn.Module):
        grid = None

        def forward(self, x):
            if self.grid is None:
                self.grid = torch.ones_like(x)
            return x + self.grid

    feed = {"x": np.ones((2, 2), np.float32)}
    source = from_module(Caches())
    source.run_callable(feed, 1)()
    assert source.module.grid is None


def test_the_copy_for_timing_shares_the_weights():
    source = from_module(ConvNet())
    call = source.run_callable({"image": IMAGE}, 1)
    first = call().clone()
    with torch.no_grad():
        source.module.conv.bias.add_(100.0)
    assert not torch.equal(first, call())


def test_without_torch_the_remedy_is_one_command(monkeypatch):
    real = source_torch.importlib.util.find_spec
    monkeypatch.setattr(
        source_torch.importlib.util,
        "find_spec",
        lambda name, package=None: None if name == "torch" else real(name, package),
    )
    with pytest.raises(MissingExtraError) as caught:
        open_torch("net.py:make")
    assert caught.value.remedy == 'pip install "roadworthy[torch]"'
    with pytest.raises(MissingExtraError):
        from_module(Talks())


def test_importing_the_folder_does_not_import_torch():
    code = "import sys, roadworthy.source.torch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_weights_beside_a_pt2_make_no_sense(tmp_path):
    with pytest.raises(UsageError, match="has its weights inside"):
        open_torch("model.pt2", tmp_path / "w.pth")
