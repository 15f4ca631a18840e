"""The precision that was asked for is the one that runs, or there is an error."""

import numpy as np
import pytest

from roadworthy.backends.openvino.runtime import ov
from roadworthy.core.errors import CompileError, UnavailableError
from tests.models import convnet, convnet_weights, engine, network, normal
from tests.unit.backends.openvino.made import NAMED, compiled, cpu_can

IMAGE = {"image": normal(1, 1, 32, 32)}


def relative(ours, theirs) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def test_fp32_is_stated_and_every_floating_step_runs_in_it():
    proof = compiled(convnet()).proof["precision"]
    assert proof["asked"] == "fp32"
    assert proof["share"] == {"f32": 1.0}


def test_fp32_answers_are_fp32s():
    """The plugin's own choice is bf16 where the CPU has it: errors of 1e-3 and more."""
    with compiled(convnet()).open() as ours, engine(convnet()).open() as theirs:
        assert relative(ours.run(IMAGE)["y"], theirs.run(IMAGE)["y"]) < 1e-6


def test_bf16_runs_in_bf16_or_not_at_all():
    if not cpu_can("BF16"):
        with pytest.raises(CompileError, match=r"CPU has no bf16 here, only .*FP32"):
            compiled(convnet(), "bf16")
        return
    lower = compiled(convnet(), "bf16")
    assert lower.proof["precision"]["steps"]["bf16"] >= 2
    with lower.open() as ours, engine(convnet()).open() as theirs:
        assert 1e-4 < relative(ours.run(IMAGE)["y"], theirs.run(IMAGE)["y"]) < 5e-2


def test_fp16_runs_in_fp16_or_not_at_all():
    """A CPU that has bf16 takes that when it is told f16, and says nothing."""
    if cpu_can("FP16"):
        assert compiled(convnet(), "fp16").proof["precision"]["steps"]["f16"] >= 2
        return
    with pytest.raises(CompileError, match=r"CPU has no f16 here, only .*FP32"):
        compiled(convnet(), "fp16")


def test_a_precision_that_nothing_runs_in_is_an_error():
    asked = "fp16" if cpu_can("FP16") else "bf16"
    with pytest.raises(CompileError, match=r"executes no step in it|has no bf16"):
        compiled(network("g (int32[n] x) => (int32[n] y) { y = Neg(x) }"), asked)


def test_a_model_that_is_half_itself_says_so_in_the_proof():
    graph = "g (float16[n, 4] x) => (float16[n, 4] y) { y = MatMul(x, w) }"
    found = compiled(network(graph, {"w": np.eye(4, dtype=np.float16)}))
    with found.open() as session:
        x = normal(3, 4).astype(np.float16)
        np.testing.assert_array_equal(session.run({"x": x})["y"], x)
    assert found.proof["precision"]["asked"] == "fp32"


def test_a_lower_precision_that_nobody_asked_for_is_an_error(monkeypatch):
    """As if a plugin took no notice of the hint."""
    if not cpu_can("BF16"):
        assert ov.Core().get_property("CPU", "INFERENCE_PRECISION_HINT") == ov.Type.f32
        return
    from roadworthy.backends.openvino.runtime import compiling

    real = compiling.properties

    def deaf(device, spec):
        return {**real(device, spec), "INFERENCE_PRECISION_HINT": "bf16"}

    monkeypatch.setattr(compiling, "properties", deaf)
    with pytest.raises(CompileError, match=r"f32 was asked for, but OpenVINO executes .* in bf16"):
        compiled(network(NAMED, convnet_weights()))


@pytest.mark.parametrize("precision", ["tf32", "fp8"])
def test_a_precision_that_openvino_has_not_is_refused(precision):
    with pytest.raises(UnavailableError, match=precision) as caught:
        compiled(convnet(), precision)
    assert "fp32, bf16, fp16" in str(caught.value.remedy)
