"""Arrays go in and come out as they are, or are refused."""

import numpy as np
import onnx_ir as ir
import pytest

from roadworthy.backends.base import Engine
from roadworthy.backends.openvino.runtime import Runner
from roadworthy.core.errors import CompileError, InputError, UnavailableError
from roadworthy.core.signature import Dim, Signature, TensorSpec
from roadworthy.graph.signature import signature_of
from tests.models import convnet, network, normal
from tests.unit.backends.openvino.made import compiled


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**40])
def test_a_64_bit_integer_that_would_be_cut_is_refused(value):
    graph = "g (int64[n] x) => (int64[n] y) { y = Identity(x) }"
    with compiled(network(graph)).open() as session:
        with pytest.raises(InputError, match="cut 64-bit integers to 32 bits"):
            session.run({"x": np.array([0, value])})
        fits = np.array([-(2**31), 2**31 - 1])
        np.testing.assert_array_equal(session.run({"x": fits})["y"], fits)


@pytest.mark.parametrize(("dtype", "why"), [("double", "as float32"), ("string", "memory")])
def test_what_openvino_would_mangle_is_refused_with_the_reason(dtype, why):
    graph = f"g ({dtype}[n] x) => ({dtype}[n] y) {{ y = Identity(x) }}"
    with pytest.raises(UnavailableError, match=why):
        compiled(network(graph))


def test_arrays_that_must_not_be_written_are_not():
    x = normal(3, 5)
    x.flags.writeable = False
    with compiled(network("g (float[n, m] x) => (float[n, m] y) { y = Relu(x) }")).open() as s:
        np.testing.assert_array_equal(s.run({"x": x})["y"], np.maximum(x, 0))


def test_an_input_that_openvino_renames_finds_its_array():
    """`y` is `x` itself: OpenVINO calls the input `y`, and forgets the ratio."""
    graph = "g (float[3] a, float[3] x, float r) => (float[3] y, float[3] z) {"
    graph += " y = Dropout(x, r) z = Neg(a) }"
    feed = {"a": normal(3, seed=1), "x": normal(3, seed=2), "r": np.array(0.3, np.float32)}
    with compiled(network(graph)).open() as session:
        answers = session.run(feed)
    np.testing.assert_array_equal(answers["y"], feed["x"])
    np.testing.assert_array_equal(answers["z"], -feed["a"])


def test_a_renamed_input_that_may_be_either_of_two_is_refused():
    graph = "g (float[3] unused, float[3] x) => (float[3] y) { y = Dropout(x) }"
    with pytest.raises(CompileError, match="any of unused, x could be it"):
        compiled(network(graph))


def test_external_data_is_found():
    from roadworthy.graph.serial import to_files

    (content,) = to_files(convnet(), "model.onnx").values()
    model = ir.serde.deserialize_model(ir.to_proto(convnet()))
    whole = compiled(convnet())
    files = external(model)
    assert len(files) == 2 and len(content) > len(files["model.onnx"])
    split = Engine(whole.target, whole.signature, files, whole.options, whole.fingerprint)
    image = {"image": normal(1, 1, 8, 8)}
    with whole.open() as one, split.open() as two:
        np.testing.assert_array_equal(one.run(image)["y"], two.run(image)["y"])


def external(model: ir.Model) -> dict[str, bytes]:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        ir.save(model, Path(folder, "model.onnx"), external_data="w.data", size_threshold_bytes=0)
        return {name: Path(folder, name).read_bytes() for name in ("model.onnx", "w.data")}


def test_the_signatures_sizes_and_ranges_reach_openvino():
    size = Dim("h", 16, 64, 16)
    signature = Signature(
        (TensorSpec("image", "float32", (1, 1, size, 32)),),
        (TensorSpec("y", "float32", (1, 2, size, 32)),),
    )
    engine = compiled(convnet(), signature=signature)
    spec = {
        "precision": "fp32",
        "shapes": {"image": [1, 1, [16, 64], 32]},
        "inputs": ["image"],
        "outputs": ["y"],
    }
    runner = Runner(engine.files, spec)
    (port,) = runner.compiled.inputs
    assert str(port.get_partial_shape()).strip("<>").endswith("[1,1,16..64,32]")
    runner.close()
    runner.close()
    with engine.open() as session:
        assert session.run({"image": normal(1, 1, 48, 32)})["y"].shape == (1, 2, 48, 32)


def test_a_refusal_names_the_operator_and_not_openvinos_sources():
    model = network("g (float[2, 2] x) => (float y) { y = Det(x) }")
    with pytest.raises(CompileError) as caught:
        compiled(model)
    assert caught.value.what.endswith(": No conversion rule found for operations: Det-21")


def test_two_sessions_of_one_engine_have_their_own_compiled_models():
    """The first opening takes what compiling left; the second can't."""
    engine = compiled(convnet(), signature=signature_of(convnet()))
    image = {"image": normal(1, 1, 8, 8)}
    with engine.open() as one, engine.open() as two:
        np.testing.assert_array_equal(one.run(image)["y"], two.run(image)["y"])
