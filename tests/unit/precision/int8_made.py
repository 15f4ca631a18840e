"""What the tests of INT8 need: networks, and tensors as ONNX Runtime computes them unoptimised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from roadworthy.core.progress import silent as quiet
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Array, Feed
from roadworthy.precision.dialect import Dialect, dialect_for
from roadworthy.precision.lower import lower
from roadworthy.precision.placement import Placement, place
from roadworthy.precision.plan import PrecisionPlan
from roadworthy.precision.quantize import named, observe
from roadworthy.precision.scales import make_plan
from roadworthy.precision.typed import typed_copy
from tests.models import network, normal

DIALECTS = ("onnxruntime", "openvino", "tensorrt")

# Between a first and a last layer, which stay in float, three that can be quantised.
CONVNET8 = """g (float[b, 8, h, w] x) => (float[b, 8, h, w] y) {
    first = Conv<pads = [1, 1, 1, 1]>(x, k1)
    r1 = Relu(first)
    c2 = Conv<pads = [1, 1, 1, 1]>(r1, k2, b2)
    r2 = Relu(c2)
    c3 = Conv<pads = [1, 1, 1, 1]>(r2, k3)
    s = Add(c3, r1)
    r3 = Relu(s)
    c4 = Conv(r3, k4)
    y = Conv<pads = [1, 1, 1, 1]>(c4, k5)
}"""


def convnet8_weights() -> dict[str, Array]:
    shapes = {"k1": (8, 8, 3, 3), "k2": (8, 8, 3, 3), "k3": (8, 8, 3, 3), "k4": (8, 8, 1, 1)}
    shapes["k5"] = (8, 8, 3, 3)
    made = {name: normal(*shape, seed=i) * 0.2 for i, (name, shape) in enumerate(shapes.items())}
    return made | {"b2": normal(8, seed=9)}


def convnet8() -> ir.Model:
    return named(network(CONVNET8, convnet8_weights()))


def images(count: int, *shape: int, name: str = "x", seed: int = 100) -> Samples:
    shape = shape or (1, 8, 6, 6)
    return Samples.of_arrays([{name: normal(*shape, seed=seed + i)} for i in range(count)])


def planned(
    model: ir.Model,
    samples: Samples,
    backend: str = "onnxruntime",
    *,
    method: str = "minmax",
    dialect: Dialect | None = None,
    islands: Mapping[str, str] | None = None,
) -> tuple[Placement, PrecisionPlan, ir.Model]:
    """Return placement, plan and lowered graph."""
    chosen = dialect or dialect_for(backend)
    placement = place(model, chosen, islands)
    seen = observe(model, [placement], samples, threads=1, progress=quiet)
    placement = place(model, chosen, islands, seen.rangeless)
    plan = make_plan(model, placement, seen, method)
    return placement, plan, lower(model, plan, chosen)


def run(
    proto: onnx.ModelProto, feed: Feed, wanted: Sequence[str] | None = None
) -> dict[str, Array]:
    """Run in one session, nothing optimised."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = list(wanted or [item.name for item in session.get_outputs()])
    return dict(zip(names, session.run(names, dict(feed)), strict=True))


def every_tensor(proto: onnx.ModelProto, feed: Feed, names: Iterable[str]) -> dict[str, Array]:
    """Return these tensors as further outputs of one session over the whole network."""
    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    there = {value.name for value in shown.graph.output}
    names = list(names)
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    return run(shown, feed, names)


def float_tensors(proto: onnx.ModelProto) -> list[str]:
    """Return the names of all FP32 tensors that nodes of the main graph compute, in order."""
    typed = onnx.shape_inference.infer_shapes(proto)
    dtypes = {
        value.name: value.type.tensor_type.elem_type
        for value in (*typed.graph.value_info, *typed.graph.output)
    }
    return [
        name
        for node in typed.graph.node
        for name in node.output
        if dtypes.get(name) == onnx.TensorProto.FLOAT
    ]


def kinds(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def source_of(node: ir.Node, index: int = 0) -> str:
    """Return the operator that gives a node's input."""
    value = node.inputs[index]
    assert value is not None
    producer = value.producer()
    return producer.op_type if producer is not None else ""


def node_giving(model: ir.Model, name: str) -> ir.Node:
    [found] = [node for node in model.graph if name in {value.name for value in node.outputs}]
    return found


def giving(model: ir.Model, name: str) -> ir.Model:
    """Return a copy that has a tensor among its outputs too."""
    typed = typed_copy(model)
    typed.graph.outputs.append(node_giving(typed, name).outputs[0])
    return typed


def fake_quantised(values: Array, scale: Array, zero: Array, low: int, high: int) -> Array:
    """scale · (clip(round(x / scale) + zero) - zero), in NumPy, in FP32."""
    whole = np.clip(np.rint(values / scale) + zero, low, high)
    return ((whole - zero) * scale).astype(np.float32)
