"""Bring an exported model into the form we ship: stated names, versions and shapes, no traces.

1. Inputs and outputs have the signature's names and order; an input that the exporter dropped
   because the network doesn't use it comes back.
2. A symbolic axis has its own name everywhere (`h`, not `s73`); one that came out as a constant is
   a failure.
3. Opset and IR version are at most what was asked for.
4. Stack traces and paths of this machine, which exporters leave as metadata, are removed.
5. The ONNX checker accepts it, with its shape inference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import onnx
import onnx_ir as ir

from roadworthy.core.signature import Dim, Signature, TensorSpec
from roadworthy.graph.checker import check_model

IR_VERSION = 10
"""What ONNX Runtime 1.18 and TensorRT 10 read; opset 18 needs 8."""
_WRAPPER = "network."


class ExportFailure(Exception):  # noqa: N818  # becomes a Candidate's `failure`, never leaves the folder
    """The exporter wrote something that isn't the network that was asked for; says what."""


def finish(model: ir.Model, signature: Signature, opset: int) -> ir.Model:
    """Change `model` in place as the module says, and return it.

    Raises:
        ExportFailure: it has other inputs, outputs, dtypes, axes or versions than asked for.
    """
    _state_versions(model, opset)
    _strip_traces(model)
    _name_weights(model)
    _restore_inputs(model, signature)
    _rename_axes(model, _axis_names(model, signature))
    _state_outputs(model, signature)
    _check(model)
    return model


def _state_versions(model: ir.Model, opset: int) -> None:
    found = model.opset_imports.get("")
    if found is None or found > opset:
        raise ExportFailure(f"the exporter wrote opset {found}, at most {opset} was asked for")
    used = {node.domain for node in model.graph.all_nodes()} | {
        node.domain for function in model.functions.values() for node in function
    }
    for domain in [name for name in model.opset_imports if name and name not in used]:
        del model.opset_imports[domain]
    model.ir_version = min(model.ir_version, IR_VERSION)


def _strip_traces(model: ir.Model) -> None:
    model.metadata_props.clear()
    model.doc_string = None
    graphs: list[ir.Graph | ir.Function] = [*model.graphs(), *model.functions.values()]
    for graph in graphs:
        graph.metadata_props.clear()
        graph.doc_string = None
        for value in _values(graph):
            value.metadata_props.clear()
            value.doc_string = None
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None


def _values(graph: ir.Graph | ir.Function) -> Iterable[ir.Value]:
    yield from graph.inputs
    if isinstance(graph, ir.Graph):
        yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _name_weights(model: ir.Model) -> None:
    """Give weights the names they have in the user's own state dict."""
    taken = {value.name for value in _values(model.graph)}
    for value in list(model.graph.initializers.values()):
        name = (value.name or "").removeprefix(_WRAPPER)
        if name and name not in taken:
            value.name = name
            taken.add(name)


def _restore_inputs(model: ir.Model, signature: Signature) -> None:
    found = {value.name: value for value in model.graph.inputs}
    wanted = [spec.name for spec in signature.inputs]
    strange = [name for name in found if name not in wanted]
    if strange:
        raise ExportFailure(f"the exporter made an input {strange[0]!r} of its own")
    inputs = []
    for spec in signature.inputs:
        value = found.get(spec.name) or ir.Value(name=spec.name)
        if value.dtype is None:
            value.dtype = ir.DataType[_dtype(spec)]
        if value.dtype != ir.DataType[_dtype(spec)]:
            raise ExportFailure(f"input {spec.name!r} came out as {value.dtype}, not {spec.dtype}")
        if value.shape is None:
            value.shape = _shape(spec)
        inputs.append(value)
    model.graph.inputs[:] = inputs


def _axis_names(model: ir.Model, signature: Signature) -> dict[str, str]:
    """Return the exporter's name of each symbolic axis with ours; check the fixed ones."""
    names: dict[str, str] = {}
    for spec, value in zip(signature.inputs, model.graph.inputs, strict=True):
        found = list(value.shape or ())
        if len(found) != len(spec.shape or ()):
            raise ExportFailure(f"input {spec.name!r} came out with {len(found)} axes")
        for position, (axis, got) in enumerate(zip(spec.shape or (), found, strict=True)):
            where = f"axis {position} of input {spec.name!r}"
            if isinstance(axis, Dim) and isinstance(got, int):
                raise ExportFailure(f"{where} ({axis.name}) came out fixed at {got}")
            if isinstance(axis, int) and got != axis:
                raise ExportFailure(f"{where} came out as {got}, not {axis}")
            if isinstance(axis, Dim) and isinstance(got, ir.SymbolicDim) and got.value:
                names[got.value] = axis.name
        value.shape = _shape(spec)
    return names


def _rename_axes(model: ir.Model, names: Mapping[str, str]) -> None:
    """Rename axes in every shape: `s6 + 15` becomes `w + 15`."""
    whole = {old: new for old, new in names.items() if old != new}
    if not whole:
        return
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(old)}(?!\w)" for old in whole))
    for graph in model.graphs():
        for value in _values(graph):
            if value.shape is None:
                continue
            for position, axis in enumerate(value.shape):
                if isinstance(axis, ir.SymbolicDim) and axis.value:
                    renamed = pattern.sub(lambda match: whole[match[0]], axis.value)
                    if renamed != axis.value:
                        value.shape[position] = renamed


def _state_outputs(model: ir.Model, signature: Signature) -> None:
    outputs = model.graph.outputs
    if len(outputs) != len(signature.outputs):
        raise ExportFailure(
            f"the exporter made {len(outputs)} outputs, the network has {len(signature.outputs)}"
        )
    for spec, value in zip(signature.outputs, outputs, strict=True):
        if value.name != spec.name:
            raise ExportFailure(f"output {spec.name!r} came out as {value.name!r}")
        if value.dtype != ir.DataType[_dtype(spec)]:
            raise ExportFailure(f"output {spec.name!r} came out as {value.dtype}, not {spec.dtype}")
        if value.producer() is not None or not value.is_graph_input():
            value.shape = _shape(spec) if spec.shape is not None else None


def _shape(spec: TensorSpec) -> ir.Shape:
    return ir.Shape([axis if isinstance(axis, int) else axis.name for axis in spec.shape or ()])


def _dtype(spec: TensorSpec) -> str:
    special = {"float32": "FLOAT", "float64": "DOUBLE", "str": "STRING"}
    return special.get(spec.dtype, spec.dtype.upper())


def _check(model: ir.Model) -> None:
    try:
        check_model(model, full=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ExportFailure(f"the ONNX checker refuses it: {' '.join(lines[:3])}") from error
