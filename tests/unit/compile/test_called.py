"""`roadworthy.compile`: a verified engine that is called as the module was.

What is right comes from the network itself, run by PyTorch.
"""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import roadworthy
from tests.unit.compile.made import FP32, Detector, Perceptron, expected, seeded
from tests.unit.source.torch.networks import Embedding, OptionalMask
from tests.unit.source.torch.simulated_gpu import gpu, there

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_it_answers_as_the_network_does(network, engine):
    for rows in (1, 3, 8):
        x = torch.randn(rows, 3)
        y = engine(x)
        torch.testing.assert_close(y, expected(network, x), **FP32)
        torch.testing.assert_close(engine(x=x), y)
        wide = torch.randn(3, rows).T
        torch.testing.assert_close(engine(wide), expected(network, wide), **FP32)


def test_what_it_says_of_itself(engine):
    assert engine.target == "onnxruntime"
    assert str(engine.signature.inputs[0]) == "x[rows=1..8,3]:float32"
    assert engine.certificate["passed"] is True
    assert engine.certificate["latency"] is None
    assert engine.certificate["samples"]["count"] == 2
    assert "onnxruntime" in repr(engine)
    assert "batch" in str(engine.certificate["verdict"]["self_checks"])


def test_results_are_the_callers(engine):
    first = engine(torch.ones(2, 3))
    kept = first.clone()
    engine(torch.zeros(2, 3))
    assert torch.equal(first, kept)
    first += 1


def test_it_is_a_module_in_eval_mode_for_good(network, engine):
    x = torch.randn(2, 3)
    y = expected(network, x)
    assert not list(engine.parameters()) and not list(engine.buffers())
    assert not engine.training
    assert engine.eval() is engine
    with pytest.raises(roadworthy.UsageError, match="training mode"):
        engine.train()
    assert not engine.training
    torch.testing.assert_close(engine.half().double().to("cpu")(x), y, **FP32)
    torch.testing.assert_close(engine.requires_grad_(False)(x), y, **FP32)
    with torch.inference_mode():
        torch.testing.assert_close(engine(x), y, **FP32)


def test_gradients_are_refused_where_they_would_be_lost(engine):
    x = torch.randn(2, 3, requires_grad=True)
    with pytest.raises(roadworthy.UsageError, match="requires a gradient"):
        engine(x)
    with torch.no_grad():
        y = engine(x)
    assert torch.equal(engine(x.detach()), y)
    assert not y.requires_grad
    with pytest.warns(DeprecationWarning), pytest.raises(roadworthy.UsageError, match="tracing"):
        torch.jit.trace(engine, (torch.ones(2, 3),))
    with pytest.raises(roadworthy.UsageError, match="tracing"):
        torch.export.export(engine, (torch.ones(2, 3),))
    with pytest.raises(roadworthy.InputError, match="can't be read") as caught:
        torch.vmap(engine)(torch.ones(2, 2, 3))
    assert "torch.vmap" in caught.value.remedy


def test_torch_compile_leaves_it_as_it_is(network, engine):
    whole = nn.Sequential(nn.Linear(3, 3), engine, nn.Linear(2, 2))
    compiled = torch.compile(whole, backend="eager")
    with torch.no_grad():
        for rows in (2, 3, 5):
            x = torch.randn(rows, 3)
            torch.testing.assert_close(compiled(x), whole(x))
        with pytest.raises(roadworthy.InputError, match="shape"):
            compiled(torch.randn(9, 3))


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((torch.ones(2, 4),), {}, "shape"),
        ((torch.ones(9, 3),), {}, "shape"),
        ((torch.ones(3),), {}, "shape"),
        ((torch.ones(2, 3).double(),), {}, "dtype float64"),
        ((torch.ones(2, 3).half(),), {}, "dtype float16"),
        ((np.ones((2, 3), np.float32),), {}, "ndarray, not a tensor"),
        ((), {}, "missing"),
        ((torch.ones(2, 3),), {"x": torch.ones(2, 3)}, "twice"),
        ((torch.ones(2, 3),), {"mask": torch.ones(2, 3)}, "unknown"),
        ((torch.ones(2, 3),) * 2, {}, "by position"),
        ((torch.ones(2, 3, device="meta"),), {}, "can't be read"),
        ((torch.ones(2, 3).to_sparse(),), {}, "sparse_coo"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(engine, args, kwargs, said):
    with pytest.raises(roadworthy.InputError, match=said) as caught:
        engine(*args, **kwargs)
    assert caught.value.where
    assert caught.value.remedy


def test_inputs_on_several_devices_are_refused():
    engine = roadworthy.compile(
        seeded(Embedding), (torch.tensor([[1, 2]]), torch.tensor([[True, False]])), threads=1
    )
    with pytest.raises(roadworthy.InputError, match="several devices") as caught:
        engine(torch.tensor([[1, 2]]), torch.tensor([[True, False]], device="meta"))
    assert "cpu" in caught.value.where
    assert "meta" in caught.value.where


def test_results_have_the_networks_structure():
    module = seeded(Detector)
    x, mask = torch.randn(2, 4), torch.tensor([[True, False, True, True]])
    engine = roadworthy.compile(module, (x, mask), threads=1)
    again = roadworthy.EngineModule()
    again.load_state_dict(engine.state_dict())
    x = torch.randn(2, 4)
    wanted = expected(module, x, mask)
    for found in (engine(x, mask), engine(x, mask=mask), again(mask=mask, image=x)):
        assert list(found) == ["boxes", "aux", "loss", 0]
        assert found["loss"] is None
        assert isinstance(found["aux"], list) and isinstance(found["aux"][0], tuple)
        torch.testing.assert_close(found["boxes"].corners, wanted["boxes"].corners, **FP32)
        assert torch.equal(found["boxes"].labels, wanted["boxes"].labels)
        torch.testing.assert_close(found["aux"], wanted["aux"], **FP32)
        torch.testing.assert_close(found[0], wanted[0], **FP32)


def test_inputs_by_keyword_may_leave_optional_ones_out():
    module = seeded(OptionalMask)
    x, mask = torch.randn(2, 4), torch.tensor([[True, False]])
    engine = roadworthy.compile(module, {"mask": mask, "x": x}, threads=1)
    torch.testing.assert_close(engine(x, mask), expected(module, x, mask), **FP32)
    alone = roadworthy.compile(module, x, threads=1)
    torch.testing.assert_close(alone(x), expected(module, x), **FP32)
    with pytest.raises(roadworthy.InputError, match="by position"):
        alone(x, mask)


def test_integers_and_masks():
    module = seeded(Embedding)
    tokens, real = torch.tensor([[1, 2, 9]]), torch.tensor([[True, True, False]])
    engine = roadworthy.compile(module, (tokens, real), threads=1)
    tokens = tokens.flip(1)
    torch.testing.assert_close(engine(tokens, real), expected(module, tokens, real), **FP32)
    with pytest.raises(roadworthy.InputError, match="dtype int32"):
        engine(tokens.int(), real)


def test_the_example_unet():
    spec = importlib.util.spec_from_file_location("unet_model", EXAMPLES / "unet" / "model.py")
    code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(code)
    from safetensors.torch import load_file

    module = code.unet()
    module.load_state_dict(load_file(EXAMPLES / "unet" / "unet.safetensors"))
    engine = roadworthy.compile(module, (torch.rand(1, 1, 64, 64),), threads=2)
    x = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(engine(x), expected(module, x), rtol=1e-3, atol=1e-4)


def test_what_is_wrong_is_raised(network):
    x = torch.ones(1, 3)
    with pytest.raises(roadworthy.UnavailableError):
        roadworthy.compile(network, (x,), target="onnxruntime:cuda")
    with pytest.raises(roadworthy.UnavailableError):
        roadworthy.compile(network, (x,), precision="fp16")
    with pytest.raises(roadworthy.BudgetError):
        roadworthy.compile(network, (torch.randn(1, 3),), budget="mvre=1e-12")
    with pytest.raises(roadworthy.UsageError, match="no option 'nosuch'"):
        roadworthy.compile(network, (x,), options=["onnxruntime.nosuch=1"])
    with pytest.raises(roadworthy.UsageError, match="running the network failed"):
        roadworthy.compile(network, (torch.ones(1, 4),))
    with pytest.raises(roadworthy.UsageError, match="can't be compiled"):
        roadworthy.compile(Perceptron, (x,))


def test_an_export_that_disagrees_is_refused():
    class Parity(nn.Module):
        def forward(self, x):
            return x * 2 if x.shape[1] % 2 else x

    with pytest.raises(roadworthy.WrongAnswersError):
        roadworthy.compile(Parity(), (torch.randn(1, 6),), inputs="x[1,n=2..9]")


def test_a_result_that_cannot_be_put_together_is_refused():
    class KeyedByTuples(nn.Module):
        def forward(self, x):
            return {(1, 2): x * 2}

    with pytest.raises(roadworthy.UsageError, match="put together again"):
        roadworthy.compile(KeyedByTuples(), (torch.randn(2),))


def test_cuda_tensors_through_the_host_are_told_to_who_called(engine):
    x = torch.randn(2, 3)
    twin = copy.deepcopy(engine)
    with pytest.MonkeyPatch.context() as patch, gpu(patch):
        with pytest.warns(UserWarning, match="CUDA tensors are copied to the host") as warned:
            y = twin(there(x, "cuda:0"))
        assert [warning.filename for warning in warned] == [__file__]
        assert y.device == torch.device("cuda:0")
        assert torch.equal(twin(there(x, "cuda:0")).held, y.held)
    assert torch.equal(engine(x), y.held)
