"""TensorRT on a real GPU: what is built, what it says of its precision, and what is kept of it.

TensorRT chooses kernels by timing them: what asks which precision runs can fail where many tests
share the GPU.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from roadworthy.backends.registry import find
from roadworthy.core.errors import CompileError, UnavailableError
from tests import models
from tests.device import networks
from tests.device.judged import both, build
from tests.device.place import TARGET

pytestmark = [pytest.mark.device, pytest.mark.usefixtures("own_cache")]


def test_the_place_says_what_it_is():
    found = find("tensorrt").fingerprint(TARGET)
    assert found["runtime"] == "tensorrt"
    assert found["version"].count(".") >= 2
    assert found["device_name"].startswith("NVIDIA")
    assert float(found["compute_capability"]) >= 5


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


def test_refused_nodes_are_named():
    graph = "g (float[2, 3] x) => (float[3, 3] y) { [guilty] y = Det2(x) }"
    model = models.network(graph.replace("Det2", "Det").replace("float[3, 3]", "float[2]"))
    with pytest.raises(CompileError, match="guilty"):
        build(model)


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
