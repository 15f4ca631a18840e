"""The target half, as far as it goes without a GPU: CUDA's absence, parser errors, proof, names."""

import ctypes.util
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

from roadworthy.backends.tensorrt.runtime.arrays import DeviceView
from roadworthy.backends.tensorrt.runtime.builder import parser_error, set_timing_cache
from roadworthy.backends.tensorrt.runtime.config import add_profiles, check_precision, configure
from roadworthy.backends.tensorrt.runtime.cuda import cudart_candidates, load_cuda
from roadworthy.backends.tensorrt.runtime.device import device_index
from roadworthy.backends.tensorrt.runtime.log import Lines
from roadworthy.backends.tensorrt.runtime.port import Port
from roadworthy.backends.tensorrt.runtime.proof import layer_precision, onnx_names, prove


def error(**said):
    return SimpleNamespace(**{name: (lambda value=value: value) for name, value in said.items()})


def layer(formats, kind="CaskConvolution", **more):
    tensors = [{"Name": "t", "Format/Datatype": text} for text in formats]
    return {"Name": "a", "LayerType": kind, "Inputs": tensors[:1], "Outputs": tensors[1:], **more}


FP16 = layer(["Row major linear FP16 format", "Channel major FP16 format where channel % 8 == 0"])
FP32 = layer(["Row major linear FP32", "Row major linear FP32"])


def test_without_libcudart_it_says_what_to_install():
    with pytest.raises(RuntimeError, match=r"libcudart\.so was not found.*pip install"):
        load_cuda(["/nowhere/libcudart.so.13"])


def test_a_library_that_is_no_cuda_is_passed_over():
    libc = ctypes.util.find_library("c") or "libc.so.6"
    with pytest.raises(RuntimeError, match="not found"):
        load_cuda([libc])


def test_candidates_are_found_in_pip_packages_and_named_by_the_user(tmp_path, monkeypatch):
    places = ("nvidia/cu13/lib", "nvidia/cuda_runtime/lib", "torch/lib")
    for place in places:
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "libcudart.so.12").touch()
    monkeypatch.setenv("ROADWORTHY_LIBCUDART", "/mine.so")
    found = cudart_candidates([str(tmp_path)])
    assert found == ["/mine.so", *(str(tmp_path / place / "libcudart.so.12") for place in places)]


@pytest.mark.parametrize(
    ("text", "index"), [(None, 0), ("cuda", 0), ("gpu", 0), ("cuda:2", 2), ("1", 1)]
)
def test_devices(text, index):
    assert device_index(text) == index


@pytest.mark.parametrize("text", ["cpu", "cuda:", "cuda1", "cuda:x", "-1"])
def test_devices_that_are_none(text):
    with pytest.raises(RuntimeError, match="cuda:0"):
        device_index(text)


def test_parser_errors_name_the_node_whatever_the_version():
    spec = {"nodes": [["conv", "Conv"], ["pad", "Pad"]]}
    old = error(desc="Assertion failed: mode ==\n constant", node=1)
    assert parser_error(old, spec) == "node 'pad' (Pad): mode == constant"
    new = error(desc="bad", node=0, node_name="/pad/Pad", node_operator="Pad")
    assert parser_error(new, spec) == "node '/pad/Pad' (Pad): bad"
    assert parser_error(error(desc="bad", node=9), spec) == "node 9: bad"
    assert parser_error(error(desc="", node=-1), spec) == "no reason given"


def test_what_layers_compute_in():
    assert layer_precision(FP16) == "fp16"
    assert layer_precision(FP32) == "fp32"
    assert layer_precision({**FP32, "TacticName": "sm80_xmma_tf32f32"}) == "tf32"
    assert layer_precision(layer(["Int8", "Row major linear FP32"])) == "int8"
    assert layer_precision(layer(["Bool", "Int32"])) == "other"


def test_with_dynamic_shapes_weights_or_the_kernel_tell():
    unknown = ["N/A due to dynamic shapes", "N/A due to dynamic shapes"]
    half = layer(unknown, Weights={"Type": "Half", "Count": 36})
    plain = layer(unknown, Weights={"Type": "Float", "Count": 36})
    assert layer_precision(half) == "fp16"
    assert layer_precision({**plain, "TacticName": "sm80_f32f32_f32f32_ffma"}) == "fp32"
    assert layer_precision({**plain, "TacticName": "sm80_tf32f32_tf32f32"}) == "tf32"
    assert layer_precision(layer(unknown, TacticName="sm80_f16f16_f16f16_f16")) == "fp16"
    assert layer_precision(layer(unknown)) == "other"


def test_proof_counts_and_leaves_copies_aside():
    proof = prove([FP16, FP32, {**FP32, "LayerType": "Reformat"}], {"precision": "fp16"}, 1)
    assert proof["layers"] == {"fp16": 1, "fp32": 1}
    assert proof["share"] == {"fp16": 0.5, "fp32": 0.5}
    assert proof["copies"] == 1


@pytest.mark.parametrize(
    ("layers", "precision", "said"),
    [
        ([FP32], "fp16", "no layer of the engine runs in it: 1 in fp32"),
        ([FP32], "bf16", "no layer"),
        ([FP16, FP32], "fp32", "run in less: 1 in fp16, 1 in fp32"),
        ([{**FP32, "TacticName": "tf32"}], "fp32", "TF32"),
    ],
)
def test_another_precision_than_asked_for_fails(layers, precision, said):
    with pytest.raises(RuntimeError, match=said):
        prove(layers, {"precision": precision}, 1)


def test_fp16_that_the_graph_itself_states_is_no_surprise():
    spec = {"precision": "fp32", "graph_types": ["float16"]}
    assert prove([FP16, FP32], spec, 1)["layers"]["fp16"] == 1


def test_a_fused_subgraph_is_shown_to_be_fp16_by_the_size_of_its_weights():
    fused = {**FP32, "Name": "{ForeignNode[a...z]}", "LayerType": "Myelin"}
    spec = {"precision": "fp16", "weight_bytes": 10 << 20}
    assert "0.50" in prove([fused], spec, 5 << 20)["by_size"]
    with pytest.raises(RuntimeError, match="no layer"):
        prove([fused], spec, 10 << 20)


def test_layers_are_told_by_their_onnx_nodes():
    marked = {"Name": "c + r", "Metadata": "[ONNX Layer: /c/Conv]\x1e[ONNX Layer: /r/Relu]"}
    assert onnx_names(marked) == ["/c/Conv", "/r/Relu"]
    assert onnx_names({"Name": "/c/Conv + /r/Relu"}) == ["/c/Conv", "/r/Relu"]
    assert onnx_names({"Name": "PWN(/s/Sigmoid, /m/Mul)"}) == ["/s/Sigmoid", "/m/Mul"]
    assert onnx_names({"Name": "{ForeignNode[/a...z]}"}) == ["/a", "z"]
    copy = "Reformatting CopyNode for Input Tensor 0 to /c/Conv + /r/Relu"
    assert onnx_names({"Name": copy}) == ["/c/Conv", "/r/Relu"]
    assert onnx_names({"Name": "(Unnamed Layer* 3) [Shuffle] + /m/MatMul"}) == ["/m/MatMul"]


def test_the_option_that_states_the_values_of_an_input_is_named_in_full():
    sizes = SimpleNamespace(name="sizes", is_shape_tensor=True)
    network = SimpleNamespace(num_inputs=1, get_input=lambda index: sizes)
    with pytest.raises(RuntimeError, match=r"--option 'tensorrt\.values=sizes:MIN;OPT;MAX'"):
        add_profiles(None, network, None, {})


def test_of_a_long_log_the_beginning_and_the_end_are_kept():
    lines = Lines()
    for number in range(4000):
        lines.add("I", str(number))
    assert lines.all == [f"[I] {number}" for number in range(4000)]
    for number in range(4000, 9000):
        lines.add("I", str(number))
    assert lines.all[:1000] == [f"[I] {number}" for number in range(1000)]
    assert lines.all[1000] == "[… 5000 lines are left out here …]"
    assert lines.all[1001:] == [f"[I] {number}" for number in range(6000, 9000)]


def test_errors_lose_tensorrts_file_positions_and_are_told_once():
    lines = Lines()
    lines.add("I", "fine")
    lines.add("E", "6: [runtime.cpp::deserialize::12] Error Code 6: wrong version")
    lines.add("E", "2: [builder.cpp::build::7] Assertion engine failed. ")
    lines.add(
        "E", "[builder.cpp::build::7] Error Code 2: Internal Error (Assertion engine failed. )"
    )
    assert lines.reason("nothing") == "Error Code 6: wrong version; Assertion engine failed."
    assert lines.reason("nothing") == "nothing"
    assert lines.all[0] == "[I] fine"


def narrow_port():
    port = object.__new__(Port)
    port.name, port.dtype, port.wanted, port.narrow = "n", np.dtype("i4"), np.dtype("i8"), True
    return port


def test_int64_travels_as_int32_only_where_it_fits():
    port, target = narrow_port(), np.empty(3, np.int32)
    port.into(target, np.array([-(2**31), 0, 2**31 - 1]))
    assert target.tolist() == [-(2**31), 0, 2**31 - 1]
    with pytest.raises(RuntimeError, match="2147483648"):
        port.into(target, np.array([0, 2**31, 1]))
    assert port.out_of(np.array([5], np.int32)).dtype == np.int64
    with pytest.raises(RuntimeError, match="limit of INT32"):
        port.out_of(np.array([2**31 - 1], np.int32))


def test_precisions_that_a_version_does_not_have():
    trt86, trt11 = (SimpleNamespace(__version__=v) for v in ("8.6.0", "11.4.0"))
    with pytest.raises(RuntimeError, match="no bf16"):
        check_precision(trt86, {"precision": "bf16"})
    with pytest.raises(RuntimeError, match="computes in the types that the graph states"):
        check_precision(trt11, {"precision": "fp16", "graph_types": []})
    check_precision(trt11, {"precision": "fp16", "graph_types": ["float16"]})
    check_precision(trt86, {"precision": "fp16", "graph_types": []})


def test_the_inspector_shall_tell_all_that_a_proof_needs():
    trt, config = MagicMock(__version__="8.6.1"), MagicMock()
    configure(trt, config, {})
    assert config.profiling_verbosity is trt.ProfilingVerbosity.DETAILED


def test_arrays_that_are_not_on_a_gpu_are_refused():
    with pytest.raises(RuntimeError, match="no GPU array"):
        DeviceView("x", [1, 2])


def test_where_a_gpu_array_lies_is_read_and_gaps_are_refused():
    said = {"data": (4096, False), "shape": (2, 3), "typestr": "<f4", "version": 3}
    view = DeviceView("x", SimpleNamespace(__cuda_array_interface__=said))
    assert (view.address, view.shape, view.dtype) == (4096, (2, 3), np.float32)
    for strides in ((4, 8), (24, 4)):
        with pytest.raises(RuntimeError, match="not contiguous"):
            DeviceView("x", SimpleNamespace(__cuda_array_interface__={**said, "strides": strides}))


class Timings:
    """The part of an IBuilderConfig that keeps timing caches, as 8.6.0 is on an H200."""

    def __init__(self, lines, said=(), takes=True):
        self.lines, self.said, self.takes, self.used = lines, said, takes, None

    def create_timing_cache(self, content):
        for text in self.said if content else ():
            self.lines.add("E", text)
        return b"" if self.said else content

    def set_timing_cache(self, cache, _ignore_mismatch):
        accepted = self.takes or not cache
        self.used = cache if accepted else self.used
        return accepted


MYELIN = "[myelinCache.h::deserializeFromBuffer::52] "
MYELIN += "Error Code 1: Myelin (Myelin error from unknown graph)"


@pytest.mark.parametrize(
    ("said", "takes", "used", "told"),
    [
        ((), True, b"timings", None),
        ((), False, b"", "it is of another device or version"),
        ((f"1: {MYELIN}", MYELIN), True, b"", "earlier builds: Myelin error from unknown graph"),
    ],
    ids=["read", "another's", "unreadable"],
)
def test_a_timing_cache_that_is_left_aside_is_told_and_is_no_failures_reason(
    said, takes, used, told
):
    lines = Lines()
    config = Timings(lines, said, takes)
    assert set_timing_cache(config, b"timings", lines) is not None
    assert config.used == used
    assert lines.errors == []
    assert not [line for line in lines.all if line.startswith("[E]")]
    assert len(lines.warnings) == (0 if told is None else 1)
    assert all(line.endswith(told) for line in lines.warnings)


def test_without_a_timing_cache_a_new_one_is_begun_in_silence():
    lines = Lines()
    assert set_timing_cache(Timings(lines), None, lines) == b""
    assert lines.all == []
