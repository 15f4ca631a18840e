"""An engine from elsewhere is refused with what was expected, what was found, and what to do."""

from types import SimpleNamespace

import pytest

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.registry import find
from roadworthy.backends.tensorrt.fingerprint import check, compare
from roadworthy.backends.tensorrt.plan import signature_of_plan
from roadworthy.core.errors import InputError, UnavailableError, UsageError
from roadworthy.core.signature import Signature
from roadworthy.core.target import Target

HERE = {
    "runtime": "tensorrt",
    "version": "8.6.0",
    "device_name": "NVIDIA H200",
    "compute_capability": "9.0",
    "driver": "580.1",
    "cuda": "13.0",
    "system": "Linux",
    "machine": "x86_64",
}


def test_the_same_place_fits():
    assert check(HERE, dict(HERE), "tensorrt") == ()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("version", "8.6.1", "TensorRT: expected 8.6.1, found 8.6.0"),
        ("compute_capability", "8.6", "compute capability: expected 8.6, found 9.0"),
        ("system", "Windows", "system: expected Windows, found Linux"),
        ("machine", "aarch64", "processor: expected aarch64, found x86_64"),
    ],
)
def test_what_binds_a_plan_is_refused(key, value, said):
    with pytest.raises(UnavailableError, match=said) as caught:
        check({**HERE, key: value}, HERE, "tensorrt")
    assert "roadworthy verify BUNDLE --rebuild" in str(caught.value.remedy)


def test_another_gpu_of_the_same_kind_and_another_driver_are_noted():
    notes = check({**HERE, "device_name": "NVIDIA H100", "driver": "550"}, HERE, "tensorrt")
    assert len(notes) == 2


def test_hardware_compatibility_lifts_the_compute_capability():
    built = {**HERE, "compute_capability": "8.0"}
    assert compare(built, HERE, "ampere_plus").fatal == ()
    assert compare(built, {**HERE, "compute_capability": "7.5"}, "ampere_plus").fatal
    assert compare(built, HERE).fatal


def test_here_without_a_gpu_or_tensorrt_it_says_so_and_nothing_crashes():
    support = find("tensorrt").supports(Target.parse("tensorrt"))
    if not support.ok:  # on a machine with a GPU and TensorRT it is ok, and that is right too
        assert "installed" in support.reason or "GPU" in support.reason


def test_unknown_options_and_precisions_are_refused_before_any_worker_starts():
    nothing, target = SimpleNamespace(), Target.parse("tensorrt")
    with pytest.raises(UsageError, match="no option 'wrong'"):
        options = CompileOptions(extra=(("wrong", "1"),))
        find("tensorrt").compile(nothing, Signature((), ()), target, options)
    with pytest.raises(UnavailableError, match="int3"):
        find("tensorrt").compile(nothing, Signature((), ()), target, CompileOptions("int3"))


def test_opening_with_a_bad_option_is_refused_too():
    options = CompileOptions(extra=(("graphs", "perhaps"),))
    engine = Engine(Target.parse("tensorrt"), Signature((), ()), {}, options, HERE)
    with pytest.raises(UsageError, match="perhaps"):
        engine.open()


def test_a_plans_own_account_becomes_a_signature():
    ranges = [[[1, 3], [2, 3], [4, 3]], [[1, 3], [8, 3], [16, 3]]]
    tensors = [
        {"name": "x", "input": True, "dtype": "FLOAT", "shape": [-1, 3], "ranges": ranges},
        {"name": "n", "input": False, "dtype": "INT32", "shape": [-1], "ranges": []},
        {"name": "y", "input": False, "dtype": "HALF", "shape": [2, 2], "ranges": []},
    ]
    found = signature_of_plan(tensors)
    assert str(found) == ("(x[x_axis0=1..16,3]:float32) -> (n[n_axis0]:int32, y[2,2]:float16)")
    with pytest.raises(InputError, match="INT4"):
        signature_of_plan([{**tensors[0], "dtype": "INT4"}])
