"""TensorRT on a real GPU: threads, many feeds, arrays that stay on the GPU, times."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from roadworthy.backends.tensorrt import compiler
from roadworthy.core.errors import InputError
from tests import models
from tests.device import networks
from tests.device.judged import FP32, build, difference
from tests.device.place import TARGET

pytestmark = [pytest.mark.device, pytest.mark.usefixtures("own_cache")]


def told_right(script, engine, folder):
    """Run a script of this folder in the process that has TensorRT; it ends with "right"."""
    plan = folder / "engine.plan"
    plan.write_bytes(engine.files["engine.plan"])
    python = (TARGET.where or f"python={sys.executable}").removeprefix("python=")
    source = Path(compiler.__file__).with_name("runtime")
    done = subprocess.run(
        [python, Path(__file__).with_name(script), source, plan],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.strip().endswith("right"), done.stderr[-2000:]


def test_times_and_layers_come_from_where_the_engine_is():
    signature = models.ranged(models.convnet(), "image[batch=1..2,1,h=32..64,w=32..64]")
    feed = {"image": models.normal(2, 1, 64, 64)}
    with build(models.convnet(), signature).open() as session:
        times = session.runner.time(feed, 20, 3)
        assert {"host", "device", "enqueue", "latency"} <= set(times)
        assert all(len(values) == 20 and min(values) > 0 for values in times.values())
        layers = session.runner.profile(feed, 5)
        assert abs(sum(layer["share"] for layer in layers) - 1) < 0.01
        assert any("Conv" in layer["kind"] or layer["onnx"] for layer in layers)
        expected = session.run(feed)
        np.testing.assert_array_equal(session.run(feed)["y"], expected["y"])


@pytest.mark.parametrize("script", ["device_arrays.py", "device_threads.py"])
def test_in_the_process_that_has_tensorrt(script, tmp_path):
    """Arrays that stay on the GPU; threads with a runner each. The scripts say more."""
    signature = models.ranged(models.convnet(), "image[batch=1..2,1,h=32..64,w=32..64]")
    told_right(script, build(models.convnet(), signature), tmp_path)


def test_threads_with_a_session_each():
    """Each session has a worker of its own here; in one process: `device_threads.py`."""
    signature = models.ranged(models.perceptron(), "x[batch=1..8,3]")
    engine, failures = build(models.perceptron(), signature), []
    feeds = [{"x": models.normal(n, 3, seed=n)} for n in (1, 8, 3, 5, 2)]
    with models.engine(models.perceptron()).open() as judge:
        expected = [judge.run(feed)["y"] for feed in feeds]

    def work(turn):
        try:
            with engine.open() as session:
                for index in range(20):
                    place = (index + turn) % len(feeds)
                    found = session.run(feeds[place])["y"]
                    if difference(found, expected[place]) > FP32:
                        failures.append((turn, index))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_torchs_gpu_tensors_are_read_in_place():
    import torch

    from roadworthy.backends.device import in_place
    from roadworthy.backends.tensorrt import runtime

    class OnlyDlpack:
        def __init__(self, tensor):
            self.tensor = tensor

        def __dlpack_device__(self):
            return self.tensor.__dlpack_device__()

        def __dlpack__(self, stream=None):
            return self.tensor.__dlpack__(stream=stream)

    def view(value):
        return runtime.DeviceView("x", in_place("x", value, None))

    tensor = torch.arange(24, dtype=torch.float16, device="cuda").reshape(2, 3, 4)
    for value in (tensor, OnlyDlpack(tensor), OnlyDlpack(tensor.to(torch.bfloat16))):
        assert view(value).shape == (2, 3, 4)
        assert view(value).dtype.itemsize == 2
    assert view(tensor).address == view(OnlyDlpack(tensor)).address == tensor.data_ptr()
    for value in (tensor.transpose(0, 2), OnlyDlpack(tensor.transpose(0, 2))):
        with pytest.raises(RuntimeError, match="not contiguous"):
            view(value)


def test_many_feeds_overlap_in_the_process_that_has_tensorrt(tmp_path):
    """Against `run`, bit for bit; early ends, failures, two at once. The script says more."""
    model = networks.wide_convnet()
    signature = models.ranged(model, "image[batch=1..4,3,h=32..64,w=32..64]")
    told_right("device_many.py", build(model, signature), tmp_path)


def test_many_feeds_through_sessions_are_run_s_answers():
    signature = models.ranged(models.perceptron(), "x[batch=1..8,3]")
    engine = build(models.perceptron(), signature)
    feeds = [{"x": models.normal(1 + n * n % 8, 3, seed=n)} for n in range(50)]
    bad = {"x": models.normal(2, 4)}
    with engine.open() as session, engine.open() as other:
        expected = [session.run(feed) for feed in feeds]
        pairs = zip(session.run_many(feeds), other.run_many(feeds), strict=True)
        for (one, same), wanted in zip(pairs, expected, strict=True):
            for name in wanted:
                np.testing.assert_array_equal(one[name], wanted[name])
                np.testing.assert_array_equal(same[name], wanted[name])
        answers = session.run_many([*feeds[:3], bad, *feeds])
        assert [next(answers)["y"].shape for _ in range(3)] == [e["y"].shape for e in expected[:3]]
        with pytest.raises(InputError):
            next(answers)
        ended = session.run_many(feeds)
        next(ended)
        ended.close()
        np.testing.assert_array_equal(session.run(feeds[7])["y"], expected[7]["y"])


def test_times_with_copies_beside_computing_are_told_where_the_engine_is():
    """Also of a network that can't overlap: its output's size depends on the data."""
    signature = models.ranged(models.convnet(), "image[batch=1..2,1,h=32..64,w=32..64]")
    sized = models.network("g (float[6] x) => (int64[1, n] y) { y = NonZero(x) }")
    for engine, feed in (
        (build(models.convnet(), signature), {"image": models.normal(2, 1, 64, 64)}),
        (build(sized), {"x": models.normal(6)}),
    ):
        with engine.open() as session:
            assert session.times_itself
            times = session.time(feed, 12, 2)
        assert len(times["overlapped"]) == 12
        assert min(times["overlapped"]) > 0
