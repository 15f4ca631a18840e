"""TensorRT on a real GPU. Not part of `make test`: `pytest tests/device -m device`.

The target is `place.py`'s. What is expected comes from ONNX Runtime on the CPU. TensorRT chooses
kernels by timing them: what asks which precision runs can fail where many tests share the GPU.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.registry import find
from roadworthy.core.errors import CompileError, InputError, RunError, UnavailableError
from roadworthy.graph.signature import signature_of
from tests import models
from tests.device import networks
from tests.device.place import QUICK, TARGET

pytestmark = pytest.mark.device

FP32 = 1e-5
"""Relative L2 against ONNX Runtime: both FP32, other orders of summation."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def build(model, signature=None, precision="fp32", extra=QUICK):
    options = CompileOptions(precision=precision, extra=tuple(sorted(extra)))
    signature = signature or signature_of(model)
    return find("tensorrt").compile(model, signature, TARGET, options)


def difference(one, other):
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return np.linalg.norm(one - other) / max(np.linalg.norm(other), 1e-30)


def both(model, feeds, signature=None, limit=FP32, **how):
    """Run every feed on TensorRT and on ONNX Runtime; return TensorRT's engine and answers."""
    engine = build(model, signature, **how)
    answers = []
    with engine.open() as session, models.engine(model, signature).open() as judge:
        for feed in feeds:
            found, expected = session.run(feed), judge.run(feed)
            assert list(found) == list(expected)
            for name in expected:
                assert found[name].dtype == expected[name].dtype
                assert found[name].shape == expected[name].shape
                if expected[name].dtype.kind == "f":
                    assert difference(found[name], expected[name]) < limit
                else:
                    np.testing.assert_array_equal(found[name], expected[name])
            answers.append(found)
    return engine, answers


def test_the_place_says_what_it_is():
    found = find("tensorrt").fingerprint(TARGET)
    assert found["runtime"] == "tensorrt"
    assert found["version"].count(".") >= 2
    assert found["device_name"].startswith("NVIDIA")
    assert float(found["compute_capability"]) >= 5


def test_dynamic_batch_and_int64_outputs():
    signature = models.ranged(models.perceptron(), "x[batch=1..8,3]")
    feeds = [{"x": models.normal(n, 3, seed=n)} for n in (1, 3, 8, 2)]
    both(models.perceptron(), feeds, signature)


def test_more_shapes_than_are_kept_each_right_and_owned_by_the_caller():
    signature = models.ranged(models.convnet(), "image[batch=1..4,1,h=8..64,w=8..64]")
    sizes = [(1, 8, 8), (2, 16, 9), (4, 64, 64), (1, 33, 17), (3, 20, 21), (1, 8, 8), (2, 64, 8)]
    feeds = [{"image": models.normal(n, 1, h, w, seed=n + h)} for n, h, w in sizes * 2]
    _, answers = both(models.convnet(), feeds, signature)
    for first, again in zip(answers[:7], answers[7:], strict=True):
        np.testing.assert_array_equal(first["y"], again["y"])
        assert not np.shares_memory(first["y"], again["y"])


def test_two_profiles():
    signature = models.ranged(models.perceptron(), "x[batch=1..64,3]")
    extra = (*QUICK, ("profile", "batch=1..4@1"), ("profile", "batch=5..64@32"))
    feeds = [{"x": models.normal(n, 3, seed=n)} for n in (1, 64, 4, 5, 1)]
    both(models.perceptron(), feeds, signature, extra=extra)


def test_a_size_outside_the_profiles_is_refused_in_words():
    signature = models.ranged(models.perceptron(), "x[batch=1..64,3]")
    engine = build(models.perceptron(), signature, extra=(*QUICK, ("profile", "batch=1..4")))
    with engine.open() as session, pytest.raises(RunError, match="no optimisation profile takes"):
        session.run({"x": models.normal(9, 3)})


@pytest.mark.parametrize(
    "graph",
    [
        "g (int64[4] x) => (int64[4] y) { y = Add(x, x) }",
        "g (float[4] x, float[4] z) => (bool[4] y) { y = Less(x, z) }",
        "g (bool[4] x) => (bool[4] y) { y = Not(x) }",
        "g (float16[4] x) => (float16[4] y) { y = Add(x, x) }",
        "g (int32[4] x) => (int32[4] y) { y = Add(x, x) }",
        "g (float x) => (float y) { y = Mul(x, x) }",
    ],
    ids=lambda graph: graph.split("{")[1].strip(" }"),
)
def test_dtypes(graph):
    model = models.network(graph)
    made = {"float32": models.normal(4), "float16": models.normal(4).astype(np.float16)}
    made |= {"int64": np.array([3, -7, 2**29, 0]), "bool": np.array([True, False, True, True])}
    made |= {"int32": np.array([3, -7, 5, 0], np.int32)}
    feed = {
        s.name: made[s.dtype] if s.shape else np.array(3, np.float32)
        for s in signature_of(model).inputs
    }
    both(model, [feed])


def test_int64_beyond_int32_is_right_or_refused_never_clamped():
    model = models.network("g (int64[2] x) => (int64[2] y) { y = Identity(x) }")
    value = np.array([2**40, 1])
    with build(model).open() as session:
        try:
            np.testing.assert_array_equal(session.run({"x": value})["y"], value)
        except RunError as error:
            assert "INT32" in error.what


def test_outputs_whose_size_depends_on_the_data():
    model = models.network("g (float[6] x) => (int64[1, n] y) { y = NonZero(x) }")
    feeds = [{"x": np.array(v, np.float32)} for v in ([1, 0, 2, 0, 0, 3], [0] * 6, [1] * 6)]
    both(model, feeds)


def test_an_empty_batch():
    signature = models.ranged(models.perceptron(), "x[batch=0..4,3]")
    both(models.perceptron(), [{"x": models.normal(n, 3)} for n in (0, 2)], signature)


def test_refused_nodes_are_named():
    graph = "g (float[2, 3] x) => (float[3, 3] y) { [guilty] y = Det2(x) }"
    model = models.network(graph.replace("Det2", "Det").replace("float[3, 3]", "float[2]"))
    with pytest.raises(CompileError, match="guilty"):
        build(model)


def test_fp32_is_fp32():
    signature = models.ranged(models.convnet(), "image[batch=1..2,1,h=32..64,w=32..64]")
    engine, _ = both(models.convnet(), [{"image": models.normal(2, 1, 64, 64)}], signature)
    assert engine.proof["layers"] == {"fp32": sum(engine.proof["layers"].values())}


@pytest.mark.parametrize(
    ("axes", "ranges"),
    [((4, 64, 64), ()), (networks.OPEN, ("image[batch=1..4,3,h=32..64,w=32..64]",))],
    ids=["static", "dynamic"],
)
def test_fp16_is_shown_to_be_fp16(axes, ranges):
    """Wide convolutions, timed by the builder (level 3): tensor cores win by far."""
    model = networks.wide_convnet(axes)
    profile = (("profile", "batch=1..4@4,h=32..64@64,w=32..64@64"),) if ranges else ()
    how = {"extra": (("build-cache", "off"), ("level", "3"), *profile)}
    feeds, signature = [{"image": models.normal(4, 3, 64, 64)}], models.ranged(model, *ranges)
    engine, _ = both(model, feeds, signature, precision="fp16", limit=5e-3, **how)
    assert engine.proof["asked"] == "fp16"
    assert engine.proof["layers"].get("fp16", 0) >= 2, engine.proof


def test_fp16_for_which_the_builder_sees_no_use_is_shown_or_refused_clearly():
    signature = models.ranged(models.convnet(), "image[batch=1..2,1,h=32..64,w=32..64]")
    try:
        engine = build(models.convnet(), signature, precision="fp16")
    except CompileError as error:
        assert "fp16 was asked for, but no layer of the engine runs in it" in error.what
        assert "ask for fp32" in error.what
    else:
        assert engine.proof["layers"]["fp16"] >= 1


def test_fp16_that_cannot_be_built_fails():
    model = models.network("g (int32[4] x) => (int32[4] y) { y = Add(x, x) }")
    with pytest.raises(CompileError, match="no layer of the engine runs in it"):
        build(model, precision="fp16")


def test_an_engine_for_another_place_is_refused_before_it_is_loaded():
    engine = build(models.network("g (float[4] x) => (float[4] y) { y = Add(x, x) }"))
    other = replace(engine, fingerprint={**engine.fingerprint, "version": "8.5.3"})
    with pytest.raises(UnavailableError, match=r"expected 8\.5\.3, found"):
        other.open()


def test_a_damaged_plan_gives_tensorrts_reason():
    engine = build(models.network("g (float[4] x) => (float[4] y) { y = Add(x, x) }"))
    plan = engine.files["engine.plan"]
    broken = replace(engine, files={"engine.plan": b"nonsense" + plan[8:]})
    with pytest.raises(CompileError, match="can't load this plan"):
        broken.open()


def test_the_build_cache_answers_for_its_own_model_only():
    model = models.network("g (float[4] x) => (float[4] y) { y = Add(x, x) }")
    other = models.network("g (float[4] x) => (float[4] y) { y = Mul(x, x) }")
    level = (("level", "0"),)
    first, again = build(model, extra=level), build(model, extra=level)
    assert first.files == again.files
    x = {"x": np.array([2, 3, 4, 5], np.float32)}
    with build(other, extra=level).open() as session:
        np.testing.assert_array_equal(session.run(x)["y"], [4, 9, 16, 25])


def test_operators_newer_than_the_parser_are_said_in_older_ones():
    """8.6 reads opset 17; of these Gelu came with 20, GroupNormalization's form with 21."""
    graph = """g (float[2,8,6,6] x) => (float[2,288] y) {
        n = GroupNormalization<num_groups = 4>(x, s, b) u = Gelu(n)
        t = Gelu<approximate = "tanh">(u) m = Mish(t) f = Flatten(m) y = RMSNormalization(f, r) }"""
    scales = {"s": models.normal(8, seed=1), "b": models.normal(8, seed=2)}
    proto = models.proto(graph, {**scales, "r": models.normal(288, seed=3)})
    proto.opset_import[0].version = 23
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    both(model, [{"x": models.normal(2, 8, 6, 6, seed=n)} for n in range(2)])


def test_the_timing_cache_of_a_build_is_loaded_by_the_next_or_the_log_says_why_not():
    """8.6.0 was seen to refuse its own on an H200."""
    extra = (("build-cache", "off"), ("level", "1"))
    feeds = [{"image": models.normal(2, 1, 16, 16)}]
    signature = models.ranged(models.convnet(), "image[batch=1..2,1,h=8..16,w=8..16]")
    first, _ = both(models.convnet(), feeds, signature, extra=extra)
    again, _ = both(models.convnet(), feeds, signature, extra=extra)
    assert not [line for line in first.log if "can't use the timing cache" in line]
    assert not [line for line in again.log if line.startswith("[E]")]
    assert len([line for line in again.log if "can't use the timing cache" in line]) <= 1


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


def test_a_plan_file_is_described_and_run(tmp_path):
    from roadworthy.backends.tensorrt.plan import adopt

    signature = models.ranged(models.perceptron(), "x[batch=1..8,3]")
    engine = build(models.perceptron(), signature)
    path = tmp_path / "old.plan"
    path.write_bytes(engine.files["engine.plan"])
    adopted = adopt(path, TARGET)
    assert str(adopted.signature.inputs[0]) == "x[x_axis0=1..8,3]:float32"
    feed = {"x": models.normal(5, 3)}
    with adopted.open() as session, engine.open() as known:
        np.testing.assert_array_equal(session.run(feed)["y"], known.run(feed)["y"])


@pytest.mark.parametrize("script", ["device_arrays.py", "device_threads.py"])
def test_in_the_process_that_has_tensorrt(script, tmp_path):
    """Arrays that stay on the GPU; threads with a runner each. The scripts say more."""
    from roadworthy.backends.tensorrt import compiler

    signature = models.ranged(models.convnet(), "image[batch=1..2,1,h=32..64,w=32..64]")
    plan = tmp_path / "engine.plan"
    plan.write_bytes(build(models.convnet(), signature).files["engine.plan"])
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
    from roadworthy.backends.tensorrt import compiler

    model = networks.wide_convnet()
    signature = models.ranged(model, "image[batch=1..4,3,h=32..64,w=32..64]")
    plan = tmp_path / "engine.plan"
    plan.write_bytes(build(model, signature).files["engine.plan"])
    python = (TARGET.where or f"python={sys.executable}").removeprefix("python=")
    source = Path(compiler.__file__).with_name("runtime")
    done = subprocess.run(
        [python, Path(__file__).with_name("device_many.py"), source, plan],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.strip().endswith("right"), done.stderr[-2000:]


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


def test_a_model_with_open_axes_that_are_all_fixed_by_inputs():
    signature = models.ranged(models.convnet(), "image[2,1,32,48]")
    engine, _ = both(models.convnet(), [{"image": models.normal(2, 1, 32, 48)}], signature)
    with engine.open() as session, pytest.raises(InputError):
        session.run({"image": models.normal(1, 1, 32, 48)})
