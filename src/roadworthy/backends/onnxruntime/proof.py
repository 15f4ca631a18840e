"""What ONNX Runtime's executed nodes compute in, by ONNX node: read from its optimised graph.

A node's type is that of the tensors that it takes, after the casts that ONNX Runtime inserts where
it has no kernel: an FP16 convolution that runs between two of them is FP32.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from roadworthy.backends.onnxruntime.origins import origins_of
from roadworthy.backends.proof import Behind, Layer, operators_of, standard_form
from roadworthy.graph.inner import inner_graphs

if TYPE_CHECKING:
    import onnx

# Operators of ONNX and of ONNX Runtime that compute with 8-bit integers.
_INTEGER = re.compile(
    r"QLinear.*|(Mat[Mm]ul|Conv)Integer.*|DynamicQuantize(MatMul|LSTM)|QGemm|QAttention|"
    r"QEmbedLayerNormalization|QOrdered.*"
)
# They convert between dtypes, layouts or devices.
_CONVERSIONS = frozenset(
    {
        "Cast", "DequantizeLinear", "DynamicQuantizeLinear", "MemcpyFromHost", "MemcpyToHost",
        "QuantizeLinear", "ReorderInput", "ReorderOutput",
    }
)  # fmt: skip
# They move, select or describe tensors.
_MOVERS = frozenset(
    {
        "Concat", "Constant", "ConstantOfShape", "DepthToSpace", "Expand", "Flatten", "Gather",
        "GatherElements", "GatherND", "Identity", "If", "Loop", "Pad", "Reshape", "Scan",
        "ScatterND", "Shape", "Size", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile",
        "Transpose", "Unsqueeze",
    }
)  # fmt: skip
_DTYPES = {
    "FLOAT": "fp32",
    "FLOAT16": "fp16",
    "BFLOAT16": "bf16",
    "INT8": "int8",
    "UINT8": "int8",
    "FLOAT8E4M3FN": "fp8",
    "FLOAT8E5M2": "fp8",
}
# Where the CPU itself computes with half precision; elsewhere a kernel that takes FP16 widens it.
_HALF_MACHINES = ("aarch64", "arm64")


def proof_of(
    told: Mapping[str, Any],
    files: Mapping[str, bytes],
    optimised: bytes | None,
    machine: str,
) -> dict[str, Any]:
    """Return the runtime's proof with "layers" and "nodes".

    Args:
        told: by the runtime's `build`.
        files: the engine's; the first is the ONNX file.
        optimised: the graph that is executed; None where it couldn't be had, or wasn't asked for
            because nothing is optimised: then no layer and no node is told of.
        machine: the fingerprint's.
    """
    if optimised is None:
        return {**told, **standard_form([], {})}
    import onnx

    model = onnx.load_model_from_string(next(iter(files.values())))
    executed = onnx.load_model_from_string(optimised)
    honest_half = told["provider"] != "CPUExecutionProvider" or machine.lower() in _HALF_MACHINES
    nodes = list(_with_types(executed.graph, _opsets(executed), {}, ""))
    rows = [
        {
            "name": node.name,
            "kind": node.op_type,
            # Only a profile counts nodes as ONNX Runtime does.
            "index": len(nodes),
            "inside": inside,
            "inputs": list(node.input),
            "outputs": list(node.output),
        }
        for node, _, inside in nodes
    ]
    behind = Behind(model.graph)
    layers = []
    for (node, taken, _), names in zip(nodes, origins_of(rows, model.graph), strict=True):
        if node.op_type not in _CONVERSIONS:
            dtype = _computes_in(node, taken)
            if dtype in ("fp16", "bf16") and not honest_half:
                dtype = "other"
            if node.op_type.startswith("QLinear"):
                # It gives the result quantised, by the scale that it was told.
                names = [*names, *behind.fused(names, node.input)]
            layers.append(Layer(node.op_type, dtype, tuple(names), node.op_type not in _MOVERS))
    return {**told, **standard_form(layers, operators_of(model.graph))}


def _computes_in(node: onnx.NodeProto, taken: Sequence[str]) -> str:
    """Return the dtype of a node: integer kernels by name, others by the first float they take.

    An operator on 8-bit tensors that isn't such a kernel only moves or compares them.
    """
    if _INTEGER.fullmatch(node.op_type):
        return "int8"
    # A Resize's further inputs describe sizes, in floats too.
    data = taken[:1] if node.op_type == "Resize" else taken
    known = [_DTYPES[kind] for kind in data if kind in _DTYPES]
    floats = [dtype for dtype in known if dtype != "int8"]
    return (floats or known or ["other"])[0]


Types = dict[str, str]
Typed = tuple["onnx.NodeProto", list[str], str]


def _with_types(
    graph: onnx.GraphProto, opsets: Mapping[str, int], around: Mapping[str, str], inside: str
) -> Iterator[Typed]:
    """Yield every node with the element types of its inputs and the node that it lies in."""
    types: Types = {**around}
    for item in (*graph.value_info, *graph.input, *graph.output):
        types[item.name] = _type_name(item.type.tensor_type.elem_type)
    types |= {item.name: _type_name(item.data_type) for item in graph.initializer}
    for node in graph.node:
        taken = [types.get(name, "") for name in node.input]
        for name, kind in zip(node.output, _given(node, taken, opsets), strict=True):
            types.setdefault(name, kind)
        yield node, taken, inside
        for inner in inner_graphs(node):
            yield from _with_types(inner, opsets, types, node.name or node.op_type)


def _given(node: onnx.NodeProto, taken: Sequence[str], opsets: Mapping[str, int]) -> Sequence[str]:
    """Return the element types of a node's outputs, "" where they can't be told.

    1. Conversions state it: a Cast, a zero-point, a scale.
    2. The operator's schema says it, or that it is that of an input.
    3. ONNX Runtime's own operators have no schema here: they give what they take; those on 8-bit
       integers (QLinearConcat names the result's scale first) give such ones.
    """
    import onnx

    attributes = {item.name: item for item in node.attribute}
    if node.op_type == "Cast":
        return [_type_name(attributes["to"].i)]
    if node.op_type == "QuantizeLinear":
        return taken[2:3] or ["UINT8"]
    if node.op_type == "MatMulIntegerToFloat" or (node.op_type == "QGemm" and len(taken) < 8):
        return ["FLOAT"]
    try:
        domain = "" if node.domain == "ai.onnx" else node.domain
        schema = onnx.defs.get_schema(node.op_type, opsets.get(domain, 1), domain)
    except onnx.defs.SchemaError:
        whole = (kind for kind in taken if _DTYPES.get(kind) == "int8")
        first = next(whole, "") if node.op_type.startswith("QLinear") else ""
        return [first or next(iter(taken), "")] * len(node.output)
    if node.op_type == "DequantizeLinear":
        return taken[1:2]
    formals = zip((item.type_str for item in schema.inputs), taken, strict=False)
    said = {formal: kind for formal, kind in formals if kind}
    return [_said(schema, index, said) for index in range(len(node.output))]


def _said(schema: Any, index: int, said: Mapping[str, str]) -> str:
    # The last formal output stands for all further ones of a variadic operator.
    formal = schema.outputs[min(index, len(schema.outputs) - 1)].type_str
    concrete = re.fullmatch(r"tensor\((\w+)\)", formal)
    return _BY_SCHEMA.get(concrete[1], "") if concrete else said.get(formal, "")


_BY_SCHEMA = {"float": "FLOAT", "float16": "FLOAT16", "int8": "INT8", "uint8": "UINT8"}


def _type_name(number: int) -> str:
    import onnx

    return str(onnx.TensorProto.DataType.Name(number))


def _opsets(model: onnx.ModelProto) -> dict[str, int]:
    return {
        "" if item.domain == "ai.onnx" else item.domain: item.version for item in model.opset_import
    }
