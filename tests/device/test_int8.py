"""INT8 by TensorRT on a real GPU: small networks calibrated, lowered, built, judged.

What an INT8 graph means is computed literally, operator by operator, by ONNX Runtime; how far that
is from the FP32 network is what quantisation costs, and TensorRT may cost twice that.
"""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.registry import find
from roadworthy.cli.main import run
from roadworthy.core.errors import CompileError
from roadworthy.core.progress import silent
from roadworthy.core.samples import Samples
from roadworthy.graph.signature import signature_of
from roadworthy.pipeline.dialects import dialect_of
from roadworthy.precision.dialect import dialect_for
from roadworthy.precision.placement import place
from roadworthy.precision.quantize import named, observe, quantize, split
from roadworthy.precision.scoring import literal_answers
from tests import models
from tests.device.place import QUICK, TARGET
from tests.unit.cli.made import Ended

pytestmark = [pytest.mark.device, pytest.mark.usefixtures("own_cache")]

TIMES_LITERAL = 2.0
WIDTH = 64
BATCHES = "image[batch=1..4,3,16,16]"

# What stands between the first and the last convolution, which stay in float; from r0 to t.
PARTS = {
    "convolution": "c1 = Conv<pads=[1,1,1,1]>(r0, k1, b1)  t = Relu(c1)",
    "residual": (
        "c1 = Conv<pads=[1,1,1,1]>(r0, k1, b1)  t1 = Relu(c1)  c2 = Conv<pads=[1,1,1,1]>(t1, k2) "
        "a = Add(c2, r0)  ra = Relu(a)  c3 = Conv<pads=[1,1,1,1]>(ra, k3)  t = Relu(c3)"
    ),
    "two branches added": (
        "c1 = Conv<pads=[1,1,1,1]>(r0, k1, b1)  c2 = Conv<pads=[1,1,1,1]>(r0, k2) "
        "a = Add(c1, c2)  ra = Relu(a)  c3 = Conv<pads=[1,1,1,1]>(ra, k3)  t = Relu(c3)"
    ),
    "concat": (
        "c1 = Conv<pads=[1,1,1,1]>(r0, k1, b1)  t1 = Relu(c1)  c2 = Conv<pads=[1,1,1,1]>(r0, k2) "
        "t2 = Relu(c2)  j = Concat<axis=1>(t1, t2)  c3 = Conv<pads=[1,1,1,1]>(j, wide) "
        "t = Relu(c3)"
    ),
    "pool": (
        "c1 = Conv<pads=[1,1,1,1]>(r0, k1, b1)  t1 = Relu(c1) "
        "m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(t1)  c2 = Conv<pads=[1,1,1,1]>(m, k2) "
        "t = Relu(c2)"
    ),
    # In INT8 8.6 can't build the ConvTranspose between these two.
    "transposed": (
        "c1 = Conv<pads=[1,1,1,1]>(r0, k1, b1)  t1 = Relu(c1) "
        "m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(t1) "
        "u = ConvTranspose<strides=[2,2]>(m, up, b1)  c2 = Conv<pads=[1,1,1,1]>(u, k2) "
        "t = Relu(c2)"
    ),
    "depthwise": (
        "c1 = Conv<pads=[1,1,1,1], group=64>(r0, deep)  t1 = Relu(c1)  c2 = Conv(t1, point) "
        "t = Relu(c2)"
    ),
}
# All of them, as in a UNet with a residual block in it.
PARTS["everything"] = (
    "c1 = Conv<pads=[1,1,1,1]>(r0, k1, b1)  t1 = Relu(c1)  c2 = Conv<pads=[1,1,1,1]>(t1, k2) "
    "a = Add(c2, r0)  ra = Relu(a)  d = Conv<pads=[1,1,1,1], group=64>(ra, deep)  rd = Relu(d) "
    "m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(rd)  c3 = Conv<pads=[1,1,1,1]>(m, k3) "
    "t3 = Relu(c3)  u = ConvTranspose<strides=[2,2]>(t3, up, b1)  j = Concat<axis=1>(u, ra) "
    "c4 = Conv<pads=[1,1,1,1]>(j, wide)  t = Relu(c4)"
)


SIDES = {"pool": 8}
"""Of the output, where it isn't 16."""


def weights():
    """He's scale; the transposed one's output channels differ 10-fold: a mixed-up axis shows."""

    def conv(out, into, side, seed):
        values = models.normal(out, into, side, side, seed=seed)
        return values * np.float32(np.sqrt(2 / (into * side * side)))

    up = models.normal(WIDTH, WIDTH, 2, 2, seed=7) * np.float32(np.sqrt(2 / WIDTH))
    spread = np.logspace(-0.5, 0.5, WIDTH, dtype=np.float32).reshape(1, WIDTH, 1, 1)
    found = {f"k{i}": conv(WIDTH, WIDTH, 3, i) for i in (1, 2, 3)}
    return found | {
        "k0": conv(WIDTH, 3, 3, 10),
        "b1": models.normal(WIDTH, seed=11) * np.float32(0.1),
        "wide": conv(WIDTH, 2 * WIDTH, 3, 12),
        "deep": conv(WIDTH, 1, 3, 13),
        "point": conv(WIDTH, WIDTH, 1, 14),
        "up": up * spread,
        "head": conv(8, WIDTH, 1, 15),
    }


def proto(part, batch="2"):
    body = f"c0 = Conv<pads=[1,1,1,1]>(image, k0) r0 = Relu(c0) {PARTS[part]} y = Conv(t, head)"
    side = SIDES.get(part, 16)
    ends = f"(float[{batch}, 3, 16, 16] image) => (float[{batch}, 8, {side}, {side}] y)"
    graph = f"g {ends} {{ {body} }}"
    used = {name: value for name, value in weights().items() if re.search(rf"\b{name}\b", body)}
    return models.proto(graph, used)


def network(part, batch="2"):
    return ir.from_proto(proto(part, batch))


def images(batch=2, count=12, seed=0):
    return [{"image": models.normal(batch, 3, 16, 16, seed=seed + i)} for i in range(count)]


def lowered(model, signature, dialect):
    """Return the INT8 graph of a network."""
    model = named(model)
    parts = split(Samples.of_arrays(images()))
    calibration = observe(model, [place(model, dialect)], parts.seen, threads=1, progress=silent)
    made = quantize(model, signature, dialect, calibration, parts, progress=silent)
    return made.model


def build(model, signature, extra=QUICK):
    options = CompileOptions(precision="int8", extra=tuple(sorted(extra)))
    return find(TARGET.backend).compile(model, signature, TARGET, options)


def difference(one, other):
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return np.linalg.norm(one - other) / np.linalg.norm(other)


def worst(answers, exact):
    return max(difference(one["y"], other["y"]) for one, other in zip(answers, exact, strict=True))


def answers_of(engine, feeds):
    with engine.open() as session:
        return [session.run(feed) for feed in feeds]


def judged(model, graph, signature, feeds, engine):
    """Return the errors against FP32 of the literal graph and of the engine."""
    exact = list(literal_answers(model, signature, feeds))
    literal = worst(literal_answers(graph, signature, feeds), exact)
    return literal, worst(answers_of(engine, feeds), exact)


@pytest.mark.parametrize("part", PARTS)
def test_int8_answers_as_its_graph_means(part):
    model = network(part)
    signature = signature_of(model)
    graph = lowered(model, signature, dialect_of(TARGET))
    quantised = [node.op_type for node in graph.graph].count("QuantizeLinear")
    assert quantised >= 2, "nothing was quantised: the test would see FP32 only"
    engine = build(graph, signature)
    literal, ours = judged(model, graph, signature, images(seed=100, count=3), engine)
    assert 1e-4 < literal < 0.1
    assert ours <= TIMES_LITERAL * literal
    assert engine.proof["asked"] == "int8"
    assert engine.proof["layers"].get("int8", 0) >= 1, engine.proof


@pytest.mark.parametrize("level", ["0", "2"])
def test_int8_of_an_open_batch_is_right_and_shown_at_every_level(level):
    model = network("everything", "batch")
    signature = models.ranged(model, BATCHES)
    graph = lowered(model, signature, dialect_of(TARGET))
    engine = build(graph, signature, (("build-cache", "off"), ("level", level)))
    for batch in (1, 3, 4):
        feeds = images(batch, 2, seed=200 + batch)
        literal, ours = judged(model, graph, signature, feeds, engine)
        assert ours <= TIMES_LITERAL * literal
    assert engine.proof["layers"].get("int8", 0) >= 1, engine.proof


def test_int8_is_not_fp16_under_another_name():
    """The engine's error is that of INT8, not a hundredth of it."""
    model = network("everything")
    signature = signature_of(model)
    graph = lowered(model, signature, dialect_of(TARGET))
    literal, ours = judged(
        model, graph, signature, images(seed=300, count=3), build(graph, signature)
    )
    assert ours > literal / 4


def test_another_backends_dialect_is_right_or_refused_by_name():
    """ONNX Runtime's has uint8 activations with zero-points; TensorRT's INT8 is symmetric."""
    model = network("residual")
    signature = signature_of(model)
    graph = lowered(model, signature, dialect_for("onnxruntime"))
    assert any(value.dtype == ir.DataType.UINT8 for node in graph.graph for value in node.outputs)
    try:
        engine = build(graph, signature)
    except CompileError as error:
        names = [node.name for node in graph.graph if "Linear" in node.op_type]
        said = f"{error} {error.where}"
        assert any(name in said for name in names) or "uint8" in said.lower()
    else:
        literal, ours = judged(model, graph, signature, images(seed=400, count=3), engine)
        assert ours <= TIMES_LITERAL * literal


def test_int8_of_a_graph_that_does_not_state_it_fails_clearly():
    model = network("convolution")
    with pytest.raises(CompileError, match="no QuantizeLinear that states it"):
        build(model, signature_of(model))


def test_a_graph_of_opset_21_is_said_in_what_this_tensorrt_reads():
    """Its Q/DQ have attributes (output_dtype, block_size) that older parsers don't know."""
    model = network("convolution")
    assert model.opset_imports[""] == 21
    signature = signature_of(model)
    graph = lowered(model, signature, dialect_of(TARGET))
    for node in graph.graph:
        if node.op_type == "QuantizeLinear":
            node.attributes["output_dtype"] = ir.AttrInt64("output_dtype", 0)
            node.attributes["saturate"] = ir.AttrInt64("saturate", 1)
    engine = build(graph, signature)
    literal, ours = judged(model, graph, signature, images(seed=500, count=3), engine)
    assert ours <= TIMES_LITERAL * literal


def test_deploy_int8_for_two_targets_from_the_command_line(tmp_path, capfd):
    onnx.save(proto("residual"), tmp_path / "net.onnx")
    (tmp_path / "samples").mkdir()
    for index, feed in enumerate(images()):
        np.save(tmp_path / "samples" / f"s{index:02}.npy", feed["image"])
    words = ["deploy", tmp_path / "net.onnx", "--samples", tmp_path / "samples"]
    words += ["--precision", "int8", "--target", TARGET, "--target", "onnxruntime"]
    words += ["--option", "tensorrt.level=0", "--measure-seconds", "0", "--json"]
    ended = command(capfd, *words, "--out", tmp_path / "net.rw")
    assert ended.code == 0, ended
    found = {item["target"]: item for item in ended.document["result"]["targets"]}
    assert set(found) == {str(TARGET), "onnxruntime"}
    for item in found.values():
        assert item["ok"] is True
        certificate = item["certificate"]
        assert certificate["precision"] == "int8"
        for case in certificate["verdict"]["cases"]:
            (output,) = case["outputs"]
            assert 1e-4 < output["metrics"]["relative_l2"] <= output["tolerance"]["limit"]
    again = command(capfd, "verify", tmp_path / "net.rw", "--json")
    assert again.code == 0, again


def command(capfd, *words):
    capfd.readouterr()
    code = run([str(word) for word in words])
    return Ended(code, *capfd.readouterr())
