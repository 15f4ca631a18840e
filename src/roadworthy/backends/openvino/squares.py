"""A square matrix that is read as it is and transposed gets a copy for each way.

OpenVINO (2026.4) on a CPU packs such weights once and takes them for both ways: its answers are
wrong, with no word. So it does with kernels that a Conv and a ConvTranspose share, which have input
and output channels the other way round. Weights of other shapes can't be mistaken for their
transposes.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

_TRANSPOSES = ("transA", "transB")


def apart(model: ir.Model) -> ir.Model:
    """Return the model, or a copy in which every such matrix is there twice."""
    if not any(_turned(value) for value, _ in _squares(model)):
        return model
    model = model.clone()
    taken = {value.name for graph in model.graphs() for value in _values(graph)}
    for value, tensor in _squares(model):
        turned = _turned(value)
        if not turned:
            continue
        name = f"{value.name}_transposed"
        while name in taken:
            name += "_"
        taken.add(name)
        again = ir.tensor(tensor.numpy(), name=name)
        copy = ir.Value(name=name, type=value.type, shape=value.shape, const_value=again)
        graph = value.graph
        assert graph is not None  # it came from one
        graph.register_initializer(copy)
        for node, index in turned:
            node.replace_input_with(index, copy)
    return model


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _squares(model: ir.Model) -> list[tuple[ir.Value, ir.TensorProtocol]]:
    """Return what is square, matrices or kernels by their channels, but nothing that is given."""
    return [
        (value, tensor)
        for graph in model.graphs()
        for value in _values(graph)
        if not value.is_graph_input()
        and (tensor := ir.convenience.get_const_tensor(value)) is not None
        and len(tensor.shape) >= 2
        and (tensor.shape[-1] == tensor.shape[-2] or tensor.shape[0] == tensor.shape[1])
    ]


def _turned(value: ir.Value) -> list[tuple[ir.Node, int]]:
    """Return the uses that transpose it, none where all or none do."""
    uses = [(use.node, use.idx) for use in value.uses()]
    turned = [use for use in uses if _transposes(*use)]
    return turned if len(turned) < len(uses) else []


def _transposes(node: ir.Node, index: int) -> bool:
    if node.op_type == "Gemm" and index < len(_TRANSPOSES):
        return node.attributes.get_int(_TRANSPOSES[index], 0) != 0
    return node.op_type == "Transpose" or (node.op_type == "ConvTranspose" and index == 1)
