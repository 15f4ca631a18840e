"""The Python face: it raises what the command line would exit with, and leaves no traces."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import roadworthy
from tests.unit.cli import made

QUICK = {"measure_seconds": 0.0}


@pytest.fixture
def network(tmp_path):
    return made.write_network(tmp_path)


def build():
    """A network as its user holds it: in training mode, with gradients."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 1)
    )
    module[0].weight.grad = torch.ones_like(module[0].weight)
    module.train()
    return module


def state(module):
    values = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    return values, [item.training for item in module.modules()], module[0].weight.grad.clone()


def test_a_module_in_memory_is_left_as_it_was(tmp_path):
    import torch

    module = build()
    values, training, gradient = state(module)
    ended = roadworthy.deploy(
        module,
        samples=[{"input": image} for image in made.images(3)],
        out=tmp_path / "net.rw",
        **QUICK,
    )
    assert ended.exit_code == 0
    after, training_after, gradient_after = state(module)
    assert all(torch.equal(values[name], after[name]) for name in values)
    assert values.keys() == after.keys()
    assert training == training_after
    assert torch.equal(gradient, gradient_after)
    assert module[0].weight.requires_grad
    assert not module._forward_hooks
    assert not module._forward_pre_hooks
    with roadworthy.load(tmp_path / "net.rw") as model:
        feed = {"input": made.images(1, seed=5)[0]}
        (got,) = model.run(feed).values()
        with torch.no_grad():
            expected = module.eval()(torch.from_numpy(feed["input"])).numpy()
        assert np.abs(got - expected).max() < 1e-4


def test_what_is_wrong_is_raised(network):
    model = made.write_net_onnx(network / "net.onnx", made.weights())
    feeds = [{"image": image} for image in made.images()]
    with pytest.raises(roadworthy.BudgetError):
        roadworthy.deploy(model, feeds, budget="mvre=1e-12", **QUICK)
    with pytest.raises(roadworthy.UnavailableError):
        roadworthy.deploy(model, feeds, targets=["onnxruntime:cuda"], **QUICK)
    with pytest.raises(roadworthy.InputError):
        roadworthy.deploy(model, {"image": made.images()[0][..., :7]}, **QUICK)
    with pytest.raises(roadworthy.WrongAnswersError):
        roadworthy.deploy(f"{network}/net.py:parity", feeds, inputs="image[1,3,h=4..16,8]", **QUICK)
    with pytest.raises(roadworthy.UsageError, match="no option 'target'"):
        roadworthy.deploy(model, feeds, target="onnxruntime:cuda")
    for source in (5, None, "model", object()):
        with pytest.raises(roadworthy.UsageError):
            roadworthy.deploy(source, feeds, **QUICK)


def test_a_bundle_is_verified_and_loaded(network):
    model = made.write_net_onnx(network / "net.onnx", made.weights())
    path = network / "net.rw"
    roadworthy.deploy(model, {"image": made.images()[0]}, out=path, **QUICK)
    assert roadworthy.verify_bundle(path).exit_code == 0
    loaded = roadworthy.load(path)
    assert loaded.signature.inputs[0].name == "image"
    assert loaded.certificate["passed"] is True
    assert loaded.contract is None
    with pytest.raises(roadworthy.InputError, match="no preprocess"):
        loaded.preprocess("image.png")
    with pytest.raises(roadworthy.InputError):
        loaded.run({"image": made.images()[0].astype(np.float64)})
    loaded.close()
    loaded.close()
    with pytest.raises(roadworthy.UsageError, match="closed"):
        loaded.run({"image": made.images()[0]})
    with pytest.raises(roadworthy.UsageError, match="no engine"):
        roadworthy.load(path, "openvino")
    with pytest.raises(roadworthy.InputError):
        roadworthy.load(network / "nowhere.rw")


def test_results_are_the_callers(network):
    model = made.write_net_onnx(network / "net.onnx", made.weights())
    path = network / "net.rw"
    roadworthy.deploy(model, {"image": made.images()[0]}, out=path, **QUICK)
    with roadworthy.load(path) as loaded:
        first = loaded.run({"image": made.images()[0]})["output"]
        kept = first.copy()
        loaded.run({"image": made.images()[1]})
        assert np.array_equal(first, kept)


def test_from_a_script_without_a_main_guard(tmp_path):
    """Timing starts processes; none of them may run the user's script again."""
    (tmp_path / "script.py").write_text(
        "import roadworthy, torch, numpy as np\n"
        "print('the script runs')\n"
        "net = torch.nn.Conv2d(3, 2, 1)\n"
        "ended = roadworthy.deploy(\n"
        "    net, samples={'input': np.ones((1, 3, 8, 8), np.float32)}, out='net.rw',\n"
        "    measure_seconds=0.3, threads=1,\n"
        ")\n"
        "print(ended.results[0].certificate.comparison.ratio > 0)\n"
    )
    ended = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["the script runs", "True"]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["net.rw", "script.py"]
