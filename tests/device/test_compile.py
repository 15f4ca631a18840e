"""`roadworthy.compile` with tensors on a real GPU. Not part of `make test`: see `test_tensorrt`.

A TensorRT in another interpreter gets them through the host. That tensors are left in place where
the engine is in this process is shown with a runner written in torch, which takes and gives arrays
as TensorRT's does (`device_arrays.py` tests that one): no interpreter that is known has both.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import roadworthy
from roadworthy.backends.base import Engine
from roadworthy.backends.session import Session
from roadworthy.bundle.writer import write_bundle
from roadworthy.core.errors import RunError
from tests.unit.bundle import made

pytestmark = pytest.mark.device

HALF = 5e-3
"""Relative L2 of a small network in FP16, as in `test_tensorrt`."""
SIDE = 256
"""Of images with work enough for FP16 to be the fastest by far: TensorRT chooses by timing, and at
64 it took TF32 for every layer once, beside other work on the GPU."""


class Net(nn.Module):
    """Wide enough for TensorRT to see a use for FP16."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 128, 3, padding=1), nn.Conv2d(128, 4, 1)
        self.middle = nn.Conv2d(128, 128, 3, padding=1)

    def forward(self, image, mask):
        y = self.last(torch.relu(self.middle(torch.relu(self.first(image)))))
        return {"y": y, "seen": [torch.where(mask, y, torch.zeros_like(y))]}


@pytest.fixture
def without_tf32():
    """Torch's own switches; they are no plain attributes, so monkeypatch can't take them back."""
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolution.allow_tf32
    matmul.allow_tf32 = convolution.allow_tf32 = False
    yield
    matmul.allow_tf32, convolution.allow_tf32 = before


@pytest.mark.parametrize(("precision", "limit"), [("fp32", 1e-5), ("fp16", HALF)])
@pytest.mark.usefixtures("without_tf32", "own_cache")
def test_tensorrt_answers_as_the_module_does_on_the_gpu(precision, limit):
    from tests.device.place import TARGET

    torch.manual_seed(0)
    module = Net().cuda().eval()
    image = torch.randn(2, 3, SIDE, SIDE, device="cuda")
    mask = torch.rand(2, 1, SIDE, SIDE, device="cuda") > 0.5
    engine = roadworthy.compile(
        module,
        (image, mask),
        target=str(TARGET),
        precision=precision,
        options=["tensorrt.level=3", "tensorrt.build-cache=off"],
    )
    again = roadworthy.EngineModule()
    again.load_state_dict(copy.deepcopy(engine.state_dict()))
    image = torch.randn(2, 3, SIDE, SIDE, device="cuda")
    with torch.no_grad():
        wanted = module(image, mask)
    if TARGET.where is None:
        answers = engine(image, mask), again(image=image, mask=mask)
    else:
        with pytest.warns(UserWarning, match="in this process"):
            answers = engine(image, mask), again(image=image, mask=mask)
    for found in answers:
        for one, other in ((found["y"], wanted["y"]), (found["seen"][0], wanted["seen"][0])):
            assert one.device == other.device
            assert (one - other).norm() <= limit * other.norm()
    assert engine(image.cpu(), mask.cpu())["y"].device.type == "cpu"


def test_an_engine_on_the_cpu_takes_cuda_tensors_through_the_host(engine):
    x = torch.randn(1, 8, device="cuda")
    with pytest.warns(UserWarning, match="only an engine of TensorRT") as warned:
        y = engine(x)
    assert warned[0].filename == __file__
    assert y.device == x.device
    torch.testing.assert_close(y, 2 * x + 1)
    with pytest.raises(roadworthy.UsageError, match="gradient"):
        engine(x.requires_grad_())
    assert engine.to("cuda").half()(x.detach()).device == x.device
    state = {name: value.cuda() for name, value in engine.state_dict().items()}
    again = roadworthy.EngineModule()
    again.load_state_dict(state)
    with pytest.warns(UserWarning, match="copied to the host"):
        assert torch.equal(again(x.detach()), y)


class Seen:
    """A GPU array and nothing else of a tensor."""

    def __init__(self, tensor):
        self.__cuda_array_interface__ = tensor.__cuda_array_interface__


class OnTheGpu:
    """y = 2·x + 1, as in `made`."""

    def __init__(self):
        self.calls = []
        self.device_refusal = ""
        self.fails = None

    def run(self, feed):
        self.calls.append("run")
        return {"y:0": 2 * feed["image"] + 1}

    def run_device(self, feed, outputs=None, stream=None):
        if self.fails is not None:
            raise self.fails
        self.calls.append(stream)
        # For torch an external stream 0 is a new one, which the default stream doesn't wait for.
        queue = torch.cuda.ExternalStream(stream) if stream else torch.cuda.default_stream()
        with torch.cuda.stream(queue):
            x = torch.as_tensor(Seen(feed["image"]), device="cuda")
            y = torch.as_tensor(Seen(outputs["y:0"]), device="cuda")
            torch.add(2 * x, 1, out=y)
        return dict(outputs)

    def close(self):
        pass


@pytest.fixture
def runner(monkeypatch):
    runner = OnTheGpu()
    monkeypatch.setattr(Engine, "open", lambda engine: Session(engine.signature, runner))
    return runner


@pytest.fixture
def engine(tmp_path):
    write_bundle(tmp_path / "net.rw", made.content())
    return roadworthy.EngineModule.load(tmp_path / "net.rw")


def test_cuda_tensors_stay_on_the_gpu(engine, runner):
    for rows in (3, 8, 3):
        x = torch.randn(1, rows, device="cuda")
        y = engine(x)
        assert y.device == x.device
        assert torch.equal(y, 2 * x + 1)
    strided = torch.randn(1, 16, device="cuda")[:, ::2]
    assert torch.equal(engine(strided), 2 * strided + 1)
    assert "run" not in runner.calls
    assert torch.equal(engine(torch.ones(1, 3)), torch.full((1, 3), 3.0))
    assert runner.calls[-1] == "run"


def test_work_is_queued_on_torchs_current_stream(engine, runner):
    x = torch.zeros(1, 4, device="cuda")
    # CUDA loads a kernel when it is first launched, and may wait for all work to do so.
    engine(x)
    x.fill_(0)
    runner.calls.clear()
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(4_000_000_000)  # longer than the call: out of order would see zeros
        x.fill_(3)
        y = engine(x)
    assert runner.calls == [stream.cuda_stream]
    assert not stream.query()  # the call didn't wait
    stream.synchronize()
    assert torch.equal(y, torch.full_like(x, 7))


def test_what_cannot_run_in_place_goes_through_the_host(engine, runner):
    runner.device_refusal = "'image' is a shape, which TensorRT keeps in host memory"
    x = torch.randn(1, 4, device="cuda")
    with pytest.warns(UserWarning, match="'image' is a shape"):
        engine(x)
    for _ in range(2):
        y = engine(x)
        assert y.device == x.device
        torch.testing.assert_close(y, 2 * x + 1)
    assert runner.calls == ["run", "run", "run"]


def test_what_fails_on_the_gpu_is_raised_and_changes_nothing(engine, runner):
    runner.fails = RunError("out of memory")
    x = torch.randn(1, 4, device="cuda")
    with pytest.raises(RunError, match="out of memory"):
        engine(x)
    runner.fails = None
    assert torch.equal(engine(x), 2 * x + 1)
    assert "run" not in runner.calls


def test_inputs_that_do_not_fit_are_refused_on_the_gpu_too(engine, runner):
    for wrong in (
        torch.ones(1, 9, device="cuda"),
        torch.ones(2, 3, device="cuda"),
        torch.ones(1, 3, device="cuda", dtype=torch.float16),
    ):
        with pytest.raises(roadworthy.InputError):
            engine(wrong)
    assert not runner.calls
