"""What engines are compared with: the user's module, run in each of PyTorch's ways."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from roadworthy.backends import registry
from roadworthy.backends.torch.baselines import MODES, Setting, runnable
from roadworthy.core.errors import RunError, UnavailableError, UsageError
from roadworthy.core.target import Target

X = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def small() -> nn.Module:
    return Small().eval()


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours.float() - theirs).norm() / theirs.norm())


def test_eager_is_the_module_itself():
    module = small()
    with torch.no_grad():
        want = module(X)
    call = runnable(module, [X], Setting())
    torch.testing.assert_close(call(), want, rtol=0, atol=0)
    assert not call().requires_grad


def test_inputs_are_its_own():
    x = X.clone()
    call = runnable(small(), [x], Setting())
    want = call().clone()
    x.zero_()
    torch.testing.assert_close(call(), want, rtol=0, atol=0)


def test_autocast_computes_in_less_and_leaves_the_module_alone():
    module = small()
    with torch.no_grad():
        want = module(X)
    got = runnable(module, [X], Setting(precision="bf16"))()
    assert got.dtype == torch.bfloat16
    assert 1e-4 < relative(got, want) < 5e-2
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert not torch.is_autocast_enabled("cpu")


def test_what_is_compiled_is_called_as_the_module_is(monkeypatch):
    """Dynamo is real; its own code generator stays out, which takes half a minute on a CPU."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval()
    x = torch.randn(3, 4)
    call = runnable(module, [x], Setting("compile"))
    with torch.no_grad():
        torch.testing.assert_close(call(), module(x))


def test_what_is_compiled_for_one_precision_is_not_used_for_another(monkeypatch):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    calls = [runnable(small(), [X], Setting("compile", name)) for name in ("fp16", "bf16", "fp32")]
    dtypes = [call().dtype for call in calls]
    assert dtypes == [torch.float16, torch.bfloat16, torch.float32]


def test_what_dynamo_would_leave_uncompiled_is_an_error(monkeypatch):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=1):
        runnable(small(), [X], Setting("compile", "fp32"))
        with pytest.raises(RunError, match="RecompileLimit"):
            runnable(small(), [X], Setting("compile", "bf16"))


def test_what_cannot_be_compiled_says_so_before_it_is_timed(monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=broken))
    with pytest.raises(RunError, match=r"no C\+\+ compiler") as caught:
        runnable(small(), [X], Setting("compile"))
    assert "eager doesn't" in str(caught.value.remedy)


def test_threads_are_set_for_the_run_alone():
    before = torch.get_num_threads()
    threads = 1 if before > 1 else 2
    seen = []

    def invoke(module, tensors):
        seen.append(torch.get_num_threads())
        return module(*tensors)

    runnable(small(), [X], Setting(), threads, invoke)()
    assert set(seen) == {threads}
    assert torch.get_num_threads() == before


def test_a_module_that_fails_says_so_before_it_is_timed():
    with pytest.raises(RunError, match="RuntimeError") as caught:
        runnable(small(), [torch.zeros(1, 3, 8, 8)], Setting())
    assert caught.value.where == "PyTorch eager, FP32"


def test_a_module_in_training_is_no_baseline():
    with pytest.raises(UsageError, match="training mode"):
        runnable(Small(), [X], Setting())


def test_a_gpu_that_is_not_there_is_said():
    if torch.cuda.is_available():
        assert runnable(small(), [X], Setting(device="cuda"))().device.type == "cuda"
        return
    with pytest.raises(UnavailableError, match="no CUDA device"):
        runnable(small(), [X], Setting(device="cuda"))


@pytest.mark.parametrize(
    ("mode", "precision", "device"),
    [
        ("max", "fp32", "cpu"),
        ("eager", "int8", "cpu"),
        ("eager", "tf32", "cpu"),
        ("cuda-graph", "fp32", "cpu"),
        ("reduce-overhead", "fp32", "cpu"),
    ],
)
def test_a_setting_that_is_none(mode, precision, device):
    with pytest.raises(UsageError):
        Setting(mode, precision, device)


def test_each_setting_has_a_name_of_its_own():
    names = {
        Setting(mode, precision, "cuda").name
        for mode in MODES
        for precision in ("fp32", "tf32", "bf16", "fp16")
    }
    assert len(names) == 16
    assert Setting("compile", "fp16", "cuda").name == "PyTorch torch.compile, FP16 autocast, cuda"


@pytest.mark.parametrize("text", ["torch", "torch:compile"])
def test_as_a_target_it_is_refused_with_the_reason(text):
    support = registry.find("torch").supports(Target.parse(text))
    assert not support.ok
    assert "baseline" in support.reason and support.remedy


def test_outputs_are_tensors_that_numpy_reads():
    assert np.isfinite(runnable(small(), [X], Setting())().numpy()).all()
