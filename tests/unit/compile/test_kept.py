"""An engine as a torch module: saved, loaded, copied, closed."""

from __future__ import annotations

import copy
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn

import roadworthy
from roadworthy.core.errors import BundleError
from tests.unit.compile.made import FP32, expected

LOAD = """
import sys, numpy as np, torch, roadworthy
engine = roadworthy.EngineModule()
engine.load_state_dict(torch.load("net.pth", weights_only=True))
np.save("found.npy", engine(torch.from_numpy(np.load("x.npy"))).numpy())
parent = torch.nn.Sequential(torch.nn.Linear(3, 3), roadworthy.EngineModule())
parent.load_state_dict(torch.load("parent.pth", weights_only=True))
with torch.no_grad():
    np.save("parent.npy", parent(torch.from_numpy(np.load("x.npy"))).numpy())
"""


def test_a_fresh_process_loads_it_without_unpickling(network, engine, tmp_path):
    x = torch.randn(4, 3)
    parent = nn.Sequential(nn.Linear(3, 3), engine)
    assert sorted(parent.state_dict()) == ["0.bias", "0.weight", "1._extra_state"]
    torch.save(engine.state_dict(), tmp_path / "net.pth")
    torch.save(parent.state_dict(), tmp_path / "parent.pth")
    np.save(tmp_path / "x.npy", x.numpy())
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected(network, x), **FP32)
    wanted = expected(nn.Sequential(parent[0], network), x)
    np.testing.assert_allclose(np.load(tmp_path / "parent.npy"), wanted, **FP32)


def test_its_state_is_the_bundle(engine, state, tmp_path):
    assert state.dtype is torch.uint8
    engine.save(tmp_path / "net.rw")
    assert (tmp_path / "net.rw").read_bytes() == state.numpy().tobytes()
    assert roadworthy.verify_bundle(tmp_path / "net.rw").exit_code == 0
    again = roadworthy.EngineModule.load(tmp_path / "net.rw")
    x = torch.randn(2, 3)
    assert torch.equal(again(x), engine(x))
    with roadworthy.load(tmp_path / "net.rw") as model:
        (found,) = model.run({"x": x.numpy()}).values()
    np.testing.assert_array_equal(found, engine(x))


def test_any_bundle_may_be_loaded(tmp_path):
    """One from an ONNX file answers by its outputs' names; a folder is as good as a zip."""
    import onnx

    from tests import models

    onnx.save(models.proto(models.PERCEPTRON, models.perceptron_weights()), tmp_path / "net.onnx")
    feed = {"x": models.normal(4, 3)}
    options = {"measure_seconds": 0.0, "threads": 1}
    roadworthy.deploy(f"{tmp_path}/net.onnx", feed, out=tmp_path / "folder", **options)
    engine = roadworthy.EngineModule.load(tmp_path / "folder")
    found = engine(torch.from_numpy(feed["x"]))
    assert list(found) == ["y", "label"]
    wanted = models.perceptron_in_numpy(feed)
    np.testing.assert_allclose(found["y"], wanted["y"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found["label"], wanted["label"])
    engine.save(tmp_path / "again.rw")
    assert roadworthy.verify_bundle(tmp_path / "again.rw").exit_code == 0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: torch.cat([s[:5000], s[5000:5001] ^ 1, s[5001:]]), "damaged|differs|form"),
        (lambda s: s[:-1], "cut short"),
        (lambda s: s[:0], "holds no engine"),
        (lambda s: s.to(torch.int16), "not the bytes"),
        (lambda s: s.reshape(1, -1), "not the bytes"),
        (lambda s: {"bundle": s}, "is a dict"),
    ],
)
def test_a_damaged_state_is_refused_and_the_old_engine_stays(engine, state, spoil, said):
    x = torch.randn(2, 3)
    module = roadworthy.EngineModule()
    module.load_state_dict({"_extra_state": state})
    with pytest.raises(BundleError, match=said):
        module.load_state_dict({"_extra_state": spoil(state)})
    assert torch.equal(module(x), engine(x))
    with pytest.raises(RuntimeError, match="_extra_state"):
        module.load_state_dict({})


def test_bytes_that_change_under_it_are_found_before_they_run(state):
    packed = state.clone()
    module = roadworthy.EngineModule()
    module.load_state_dict({"_extra_state": packed})
    packed ^= 1
    with pytest.raises(BundleError):
        module(torch.ones(2, 3))


def test_an_empty_one_says_so(tmp_path):
    module = roadworthy.EngineModule()
    assert "no engine" in repr(module)
    for use in (
        lambda: module(torch.ones(2, 3)),
        lambda: module.signature,
        lambda: module.certificate,
        lambda: module.save(tmp_path / "net.rw"),
    ):
        with pytest.raises(roadworthy.UsageError, match="no engine"):
            use()
    assert not list(tmp_path.iterdir())
    with pytest.raises(BundleError, match="holds no engine"):
        roadworthy.EngineModule().load_state_dict(module.state_dict())


def test_a_failed_save_leaves_what_was_there(engine, tmp_path):
    (tmp_path / "net.rw").write_text("mine")
    for name in ("net.rw", "net.bin", "nowhere/net.rw"):
        with pytest.raises(roadworthy.UsageError):
            engine.save(tmp_path / name)
    assert (tmp_path / "net.rw").read_text() == "mine"
    assert [item.name for item in tmp_path.iterdir()] == ["net.rw"]


def test_it_is_copied_and_pickled(engine, tmp_path):
    x = torch.randn(2, 3)
    y = engine(x)
    twin = copy.deepcopy(engine)
    assert twin.state_dict()["_extra_state"].data_ptr() == engine.get_extra_state().data_ptr()
    assert torch.equal(twin(x), y)
    assert torch.equal(copy.copy(engine)(x), y)
    torch.save(nn.Sequential(engine), tmp_path / "whole.pt")
    whole = torch.load(tmp_path / "whole.pt", weights_only=False)
    assert torch.equal(whole(x), y)


def test_every_thread_has_a_session_of_its_own(network, engine):
    inputs = [torch.randn(4, 3) for _ in range(4)]
    failures, barrier = [], threading.Barrier(4)

    def work(x):
        try:
            wanted = expected(network, x)
            barrier.wait(30)
            for _ in range(50):
                torch.testing.assert_close(engine(x), wanted, **FP32)
        except BaseException as error:
            failures.append(error)

    network.eval()
    threads = [threading.Thread(target=work, args=(x,)) for x in inputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


def test_sessions_are_closed_with_their_thread_or_module(state, monkeypatch):
    from roadworthy.backends.session import Session

    closed = []
    close = Session.close
    monkeypatch.setattr(Session, "close", lambda self: (closed.append(self), close(self))[1])
    module = roadworthy.EngineModule()
    module.load_state_dict({"_extra_state": state})
    thread = threading.Thread(target=module, args=(torch.ones(1, 3),))
    thread.start()
    thread.join(30)
    assert len(closed) == 1
    module(torch.ones(1, 3))
    assert len(closed) == 1
    del module
    assert len(closed) == 2
