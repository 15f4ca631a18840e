"""What a build is told: the ONNX files as a version reads them, and the spec beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.tensorrt.exchange import travelling
from roadworthy.backends.tensorrt.opset import highest_opset, lowered
from roadworthy.backends.tensorrt.options import TensorRTOptions
from roadworthy.backends.tensorrt.profiles import profiles_of, values_of
from roadworthy.backends.tensorrt.quirks import without_quirks
from roadworthy.core.errors import CompileError
from roadworthy.core.signature import Signature
from roadworthy.graph.serial import to_files, weight_bytes

if TYPE_CHECKING:
    import onnx_ir as ir


def version_of(fingerprint: Mapping[str, str]) -> tuple[int, int]:
    """Return (major, minor) of a fingerprint's TensorRT."""
    major, minor = fingerprint["version"].split(".")[:2]
    return int(major), int(minor)


def build_inputs(
    model: ir.Model,
    signature: Signature,
    options: CompileOptions,
    own: TensorRTOptions,
    fingerprint: Mapping[str, str],
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the files and the spec of `runtime.build`; plain values only.

    Raises:
        CompileError: the model can't be said in an opset that this TensorRT reads, or has a node
            that its parser reads wrongly.
        UsageError: an axis without a range, or values for what is no input.
        UnavailableError: a dtype that TensorRT doesn't take.
    """
    travelling((*signature.inputs, *signature.outputs))
    _refuse_shared_names(signature)
    reader = f"TensorRT {fingerprint['version']}"
    model = with_fixed_axes(model, signature)
    version = version_of(fingerprint)
    model = without_quirks(lowered(model, highest_opset(version), reader), version, reader)
    types, quantized = graph_types(model)
    typing = own.typing
    if typing == "auto":
        typing = "strong" if quantized or types & {"float16", "bfloat16"} else "weak"
    spec = {
        "precision": options.precision,
        "typing": typing,
        "graph_types": sorted(types),
        "quantized": quantized,
        "profiles": profiles_of(signature, own),
        "values": values_of(signature, own),
        "nodes": [[node.name or "", node.op_type] for node in model.graph],
        "workspace": None if own.workspace is None else own.workspace << 20,
        "level": own.level,
        "tactics": [name.upper() for name in own.tactics],
        "aux_streams": own.aux_streams,
        "compatibility": own.compatibility,
        "weight_bytes": weight_bytes(model),
    }
    return to_files(model, "model.onnx"), spec


def _refuse_shared_names(signature: Signature) -> None:
    """TensorRT gives an input that is an output too a name of its own making."""
    inputs = {spec.name for spec in signature.inputs}
    name = next((spec.name for spec in signature.outputs if spec.name in inputs), None)
    if name is not None:
        raise CompileError(
            f"output {name!r} is an input as it came: TensorRT has no tensor that is both",
            where=name,
            remedy="give the output another name in the model, by an Identity",
        )


def with_fixed_axes(model: ir.Model, signature: Signature) -> ir.Model:
    """Return the model with the sizes that the signature fixes and its own inputs leave open.

    TensorRT takes a profile for inputs that are dynamic in the graph, and a signature whose axes
    are all fixed gives none. A fixed size also lets it choose kernels for just that. The given
    model stays; it is returned where there is nothing to fix.
    """
    import onnx_ir as ir

    known = {spec.name: spec.shape for spec in signature.inputs}

    def fixed(value: ir.Value) -> list[Any] | None:
        """Return the shape with those sizes, None where nothing changes."""
        said = known.get(value.name or "")
        if value.shape is None or said is None or len(said) != len(value.shape):
            return None
        new = [
            size if isinstance(size, int) else axis
            for size, axis in zip(said, value.shape, strict=True)
        ]
        return new if new != list(value.shape) else None

    if all(fixed(value) is None for value in model.graph.inputs):
        return model
    copy = model.clone()
    for value in copy.graph.inputs:
        shape = fixed(value)
        if shape is not None:
            value.shape = ir.Shape(shape)
    return copy


def graph_types(model: ir.Model) -> tuple[set[str], bool]:
    """Return the element types below FP32 that the graph states, and whether it is quantised."""
    types: set[str] = set()
    quantized = False
    for graph in model.graphs():
        types |= {_name(value.dtype) for value in graph.initializers.values()}
        types |= {_name(value.dtype) for value in graph.inputs}
        for node in graph:
            quantized = quantized or node.op_type == "QuantizeLinear"
            types |= {_name(value.dtype) for value in node.outputs}
            if node.op_type == "Cast" and "to" in node.attributes:
                types.add(_name(node.attributes["to"].value))
    return types & {"float16", "bfloat16", "int8", "float8_e4m3fn"}, quantized


def _name(dtype: Any) -> str:
    import onnx_ir as ir

    return (
        "" if dtype is None else ir.DataType(int(dtype)).name.lower().replace("float8e", "float8_e")
    )
