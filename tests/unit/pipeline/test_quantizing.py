"""`quantize` writes a file that means what its plan says, or says why not before any work."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from roadworthy.backends import registry
from roadworthy.core.errors import InputError, UnavailableError, UsageError
from roadworthy.pipeline.quantizing import run_quantize
from roadworthy.precision.plan import PrecisionPlan
from tests.models import normal
from tests.unit.pipeline import int8_nets as nets
from tests.unit.precision.int8_made import convnet8, run


@pytest.fixture
def folder(tmp_path):
    nets.write(tmp_path / "m.onnx", nets.MATMUL, nets.matmul_weights())
    nets.write_folder(tmp_path / "samples", nets.feeds())
    return tmp_path


def quantised(folder, out="q.onnx", model="m.onnx", samples="samples", **options):
    options = {"threads": 1, "method": "minmax", **options}
    given = samples if samples == "random" else folder / samples
    return run_quantize(str(folder / model), given, folder / out, **options)


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def test_the_file_answers_nearly_as_the_network_and_its_plan_lies_beside_it(folder):
    outcome = quantised(folder, method="auto")
    assert [file.name for file in outcome.files] == ["q.onnx", "q.plan.json"]
    written = onnx.load(folder / "q.onnx")
    onnx.checker.check_model(written, full_check=True)
    assert "QuantizeLinear" in {node.op_type for node in written.graph.node}
    exact = onnx.load(folder / "m.onnx")
    for feed in nets.feeds(seed=900):
        wanted, got = (run(item, feed)["y"] for item in (exact, written))
        assert np.linalg.norm(got - wanted) < 0.1 * np.linalg.norm(wanted)
        assert not np.array_equal(got, wanted)
    plan = PrecisionPlan.from_json(json.loads((folder / "q.plan.json").read_text()), "q")
    assert plan == PrecisionPlan.from_json(json.loads(json.dumps(outcome.made.plan.to_json())), "")
    assert outcome.to_json()["digest"].startswith("sha256:")
    assert outcome.to_json()["scores"]


NORMALISED = """g (float[1, 8, h, w] x) => (float[1, 8, h, w] y) {
    a = Conv<pads = [1, 1, 1, 1]>(x, k)
    b = Conv<pads = [1, 1, 1, 1]>(a, k)
    n = BatchNormalization(b, scale, shift, mean, var)
    r = Relu(n)
    y = Conv<pads = [1, 1, 1, 1]>(r, k)
}"""


def test_a_normalisation_becomes_part_of_its_convolution_first(folder):
    """Left between them, it would be computed in float, and Q/DQ stand around it."""
    weights = {name: np.abs(normal(8, seed=i)) + 0.5 for i, name in enumerate(("scale", "var"))}
    weights |= {name: normal(8, seed=i) for i, name in enumerate(("shift", "mean"), 2)}
    weights["k"] = normal(8, 8, 3, 3) * 0.2
    nets.write(folder / "bn.onnx", NORMALISED, weights)
    outcome = quantised(folder, model="bn.onnx")
    written = onnx.load(folder / "q.onnx")
    assert "BatchNormalization" not in {node.op_type for node in written.graph.node}
    assert {item["outcome"] for item in outcome.to_json()["passes"]} >= {"kept"}
    exact = onnx.load(folder / "bn.onnx")
    for feed in nets.feeds(seed=900):
        wanted, got = (run(item, feed)["y"] for item in (exact, written))
        assert np.linalg.norm(got - wanted) < 0.1 * np.linalg.norm(wanted)
    # TensorRT will read the file as it is, by the names that are in it.
    quantised(folder, model="bn.onnx", out="c", emit="trt-cache")
    assert "\nb: " in (folder / "c").read_text()


@pytest.mark.parametrize("name", ["m.onnx", "samples/../m.onnx", "kept.json"])
def test_nothing_that_is_read_is_overwritten(folder, name):
    (folder / "kept.json").write_text("")
    before = (folder / "m.onnx").read_bytes()
    with pytest.raises(UsageError, match="would overwrite"):
        quantised(folder, out=name, keep=folder / "kept.json")
    assert (folder / "m.onnx").read_bytes() == before
    assert names(folder) == ["kept.json", "m.onnx", "samples"]


def test_nor_is_the_plan_written_over_it(folder):
    with pytest.raises(UsageError, match=r"would overwrite .*q\.plan\.json"):
        quantised(folder, keep=folder / "q.plan.json")


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"out": "no/q.onnx"}, UsageError, "doesn't exist"),
        ({"out": "samples"}, UsageError, "would overwrite"),
        ({"out": "taken"}, UsageError, "is a folder"),
        ({"method": "foo"}, UsageError, "isn't a calibration method"),
        ({"out": "q.txt"}, UsageError, "isn't named 'q.txt'"),
        ({"emit": "foo"}, UsageError, "can't be written"),
        ({"emit": "trt-cache", "target": "openvino"}, UsageError, "TensorRT's"),
        ({"target": "tvm"}, UnavailableError, "tvm"),
        ({"samples": "random"}, UsageError, "random samples can't calibrate"),
        ({"samples": "nowhere"}, InputError, "don't exist"),
        ({"samples": "wide.npz"}, InputError, r"\[1, 3, 8, 8\]"),
        ({"samples": "nan.npz"}, InputError, "no sample could be used.*nan.npz"),
        ({"model": "old.onnx"}, InputError, "opset 11"),
        ({"model": "plain.onnx", "samples": "p.npz"}, InputError, "nothing in this network"),
        ({"model": "whole.onnx", "samples": "w.npz"}, InputError, "nothing in this network"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(folder, options, kind, says):
    np.savez(folder / "wide.npz", x=normal(1, 3, 8, 8))
    np.savez(folder / "nan.npz", x=np.full((1, 8, 8, 8), np.nan, np.float32))
    np.savez(folder / "p.npz", x=normal(2, 8))
    np.savez(folder / "w.npz", x=np.ones((2, 8), np.int64))
    (folder / "taken").mkdir()
    nets.write(folder / "plain.onnx", nets.PLAIN)
    nets.write(folder / "whole.onnx", nets.WHOLE)
    old = onnx.load(folder / "m.onnx")
    old.opset_import[0].version = 11
    onnx.save(old, folder / "old.onnx")
    before = names(folder)
    with pytest.raises(kind, match=says):
        quantised(folder, **options)
    assert names(folder) == before


def test_a_sample_with_nan_is_left_out_and_named(folder):
    bad = nets.feeds(1)[0]["x"].copy()
    bad[0, 0, 0, 0] = np.nan
    np.savez(folder / "samples" / "s2.npz", x=bad)
    outcome = quantised(folder, method="auto")
    [(name, _)] = outcome.made.plan.account["skipped"].items()
    assert name == "s2.npz"
    assert outcome.made.scores[0].sqnr_db > 10


def test_one_sample_is_enough_and_is_said(folder):
    np.savez(folder / "one.npz", **nets.feeds(1)[0])
    outcome = quantised(folder, samples="one.npz", method="auto")
    assert "calibrated on" in outcome.made.notes[0]
    assert outcome.made.plan.account["count"] == 1


def test_samples_of_several_sizes_and_nodes_without_names(folder):
    model = convnet8()
    for node in model.graph:
        node.name = None
    ir.save(model, folder / "open.onnx")
    sizes = [{"x": normal(1, 8, 6 + 2 * i, 9, seed=i)} for i in range(5)]
    nets.write_folder(folder / "sizes", sizes)
    quantised(folder, model="open.onnx", samples="sizes", method="auto")
    exact, written = onnx.load(folder / "open.onnx"), onnx.load(folder / "q.onnx")
    for feed in sizes:
        wanted, got = (run(item, feed)["y"] for item in (exact, written))
        assert got.shape == wanted.shape
        assert np.linalg.norm(got - wanted) < 0.1 * np.linalg.norm(wanted)


def test_several_inputs_of_several_types(folder):
    graph = """g (float[4, 8] x, int64[4] index) => (float[4, 8] y) {
        a = MatMul(x, w1) b = Gather<axis = 0>(a, index) r = Relu(b)
        c = MatMul(r, w2) d = Relu(c) y = MatMul(d, w1)
    }"""
    nets.write(folder / "two.onnx", graph, {"w1": normal(8, 8), "w2": normal(8, 8, seed=1)})
    feeds = [{"x": normal(4, 8, seed=i), "index": np.roll(np.arange(4), i)} for i in range(4)]
    nets.write_folder(folder / "two", feeds)
    outcome = quantised(folder, model="two.onnx", samples="two")
    assert outcome.made.plan.summary()["nodes"]["int8"] >= 1
    answers = [run(onnx.load(folder / name), feeds[1])["y"] for name in ("two.onnx", "q.onnx")]
    assert np.linalg.norm(answers[0] - answers[1]) < 0.1 * np.linalg.norm(answers[0])


def test_a_kept_calibration_is_taken_up_again(folder):
    kept = folder / "kept.npz"
    first = quantised(folder, keep=kept)
    told = nets.Told()
    again = quantised(folder, out="again.onnx", keep=kept, progress=told)
    assert "calibrate" not in told.said
    assert again.made.plan.tensors == first.made.plan.tensors
    with pytest.raises(InputError):
        quantised(folder, out="other.onnx", keep=kept, target="tensorrt")


def test_a_cache_is_for_tensorrt_and_comes_alone(folder):
    outcome = quantised(folder, out="c.cache", emit="trt-cache")
    assert names(folder) == ["c.cache", "m.onnx", "samples"]
    assert outcome.made.plan.dialect == "tensorrt"
    head, *lines = (folder / "c.cache").read_text().splitlines()
    assert head == "TRT-8600-EntropyCalibration2"
    assert len(lines) == outcome.made.plan.account["tensors"]
    names_of = {name for node in onnx.load(folder / "m.onnx").graph.node for name in node.output}
    assert {line.partition(":")[0] for line in lines} == {"x", *names_of}


def test_for_a_host_that_isnt_there_weights_are_reduced_and_it_is_said(folder, monkeypatch):
    backend = type(registry.find("onnxruntime"))
    here = backend.fingerprint

    def nobody_there(self, target):
        if target.where:
            raise UnavailableError("no route to host")
        return here(self, target)

    monkeypatch.setattr(backend, "fingerprint", nobody_there)
    outcome = quantised(folder, target="onnxruntime@ssh=pi")
    assert any("ssh=pi" in note for note in outcome.to_json()["notes"])
    largest = [
        int(np.abs(onnx.numpy_helper.to_array(item).astype(np.int32)).max())
        for item in onnx.load(folder / "q.onnx").graph.initializer
        if item.data_type == onnx.TensorProto.INT8
    ]
    assert max(largest) == 63


def test_weights_in_a_file_of_their_own(folder):
    model = onnx.load(folder / "m.onnx")
    onnx.save(
        model, folder / "big.onnx", save_as_external_data=True, location="big.data",
        size_threshold=0,
    )  # fmt: skip
    for name in ("m", "big"):
        quantised(folder, model=f"{name}.onnx", out=f"{name}8.onnx")
    [feed] = nets.feeds(1)
    one, other = (run(onnx.load(folder / f"{name}8.onnx"), feed)["y"] for name in ("m", "big"))
    np.testing.assert_array_equal(one, other)
    assert (folder / "big.data").stat().st_size > 0
