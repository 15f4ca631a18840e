"""`to_half`: a plan becomes casts and half constants in the graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from roadworthy.core.errors import InputError, RoadworthyError, UnavailableError
from roadworthy.graph.inner import subgraphs
from roadworthy.precision.half.formats import Format, format_of, rounded
from roadworthy.precision.half.operators import INDIFFERENT
from roadworthy.precision.half.schema import DTYPE_ATTRIBUTES, Slots, slots_of
from roadworthy.precision.plan import PrecisionPlan
from roadworthy.precision.typed import (
    FLOAT,
    check,
    float_constant,
    fresh,
    infer,
    inner_nodes,
    node_names,
    opset_of,
    typed_copy,
    value_names,
)


def to_half(model: ir.Model, plan: PrecisionPlan) -> ir.Model:
    """Return a copy of the model that runs as the plan says.

    1. Inputs and outputs keep names, dtypes and shapes; casts stand behind and before them.
    2. A value is cast once per dtype, before its first user; never back to where it came from.
    3. A constant is converted once. Where half and FP32 nodes use it, it is stored twice: 50 %
       more bytes for it, but no cast at run time.
    4. Bodies of If, Loop and Scan see the values around them in FP32, as before.

    The result is sorted as the model was, has its opset, and passes ONNX's checker.

    Raises:
        InputError: the plan is of another model, or the model isn't valid itself.
        UnavailableError: the plan asks for half where the operator has none in this opset.
        UsageError: the plan is for another precision.
    """
    form = format_of(plan.precision)
    result = typed_copy(model)
    _Lowering(result, form, _half_slots(result, plan, form)).run()
    infer(result)
    _check(result, model)
    return result


def _half_slots(model: ir.Model, plan: PrecisionPlan, form: Format) -> dict[ir.Node, Slots]:
    dtypes = {item.node: item.dtype for item in plan.decisions}
    names = node_names(model)
    strangers = dtypes.keys() - set(names.values())
    if strangers:
        raise InputError(
            f"the plan decides about {len(strangers)} nodes that the model doesn't have",
            where=f"node {min(strangers)!r}",
            remedy="plan this very model again",
        )
    found = {}
    for node in model.graph.all_nodes():
        if dtypes.get(names[node]) != form.name:
            continue
        slots = slots_of(node, opset_of(model), form)
        if node.graph is not model.graph:
            slots = Slots(refusal=f"nodes inside a body stay FP32, {node.op_type} is in one")
        if slots.refusal:
            raise UnavailableError(
                f"the plan asks for {form.name}, but {slots.refusal}",
                where=f"node {names[node]!r}",
                remedy="leave this node in fp32",
            )
        found[node] = slots
    return found


def _check(result: ir.Model, model: ir.Model) -> None:
    complaint = check(result)
    if not complaint:
        return
    before = check(model)
    if before:
        raise InputError(
            f"the model isn't valid ONNX: {before}",
            where="the model, before any cast",
            remedy="export it again, or repair what the checker names",
        )
    raise RoadworthyError(
        f"the half graph isn't valid ONNX: {complaint}",
        where="roadworthy.precision.half",
        remedy="report this with the model; meanwhile use fp32",
    )


class _Lowering:
    """One model being changed in place."""

    def __init__(self, model: ir.Model, form: Format, half: Mapping[ir.Node, Slots]) -> None:
        self._graph = model.graph
        self._form = form
        self._half = half
        # These values come out in half; what they are cast to, and others are, by value.
        self._native = {node.outputs[i] for node, slots in half.items() for i in slots.outputs}
        self._narrow: dict[ir.Value, ir.Value] = {}
        self._wide: dict[ir.Value, ir.Value] = {}
        self._values = value_names(model)
        self._nodes = {node.name for node in model.graph.all_nodes() if node.name}

    def run(self) -> None:
        """Rewire every node, then the outputs, then set the types."""
        for node in list(self._graph):
            self._rewire(node)
            for inner in inner_nodes(node):
                for index, value in enumerate(inner.inputs):
                    if value in self._native and inner.op_type not in INDIFFERENT:
                        inner.replace_input_with(index, self._in_float(value, node))
            for holder in (node, *inner_nodes(node)):
                for body in subgraphs(holder):
                    self._rewire_outputs(body, node)
            if node in self._half:
                _retype_attribute(node, self._half[node], self._form)
        self._rewire_outputs(self._graph, None)
        for value in self._native:
            value.type = ir.TensorType(self._form.dtype)
        self._drop_replaced()

    def _rewire(self, node: ir.Node) -> None:
        half_inputs = self._half[node].inputs if node in self._half else ()
        for index, value in enumerate(node.inputs):
            if value is None:
                continue
            if index in half_inputs:
                if value not in self._native:
                    node.replace_input_with(index, self._in_half(value, node))
            elif value in self._native and node.op_type not in INDIFFERENT:
                node.replace_input_with(index, self._in_float(value, node))

    def _rewire_outputs(self, graph: ir.Graph, before: ir.Node | None) -> None:
        for index, value in enumerate(graph.outputs):
            if value in self._native:
                graph.outputs[index] = self._in_float(value, before)

    def _in_half(self, value: ir.Value, before: ir.Node) -> ir.Value:
        if value not in self._narrow:
            source = self._widened(value)
            if source is not None:
                self._narrow[value] = source
                return source
            values = float_constant(value)
            name = fresh(f"{value.name}_{self._form.name}", self._values)
            if values is None:
                self._narrow[value] = self._cast(value, self._form.dtype, name, before)
            else:
                tensor = ir.tensor(rounded(values, self._form), dtype=self._form.dtype, name=name)
                made = ir.Value(
                    name=name,
                    type=ir.TensorType(tensor.dtype),
                    shape=ir.Shape(values.shape),
                    const_value=tensor,
                )
                self._graph.register_initializer(made)
                self._narrow[value] = made
        return self._narrow[value]

    def _widened(self, value: ir.Value) -> ir.Value | None:
        """Return the half value that the model itself has cast to this one, if it did."""
        cast = value.producer()
        if cast is None or cast.op_type != "Cast" or cast.domain or cast.inputs[0] is None:
            return None
        return cast.inputs[0] if cast.inputs[0].dtype == self._form.dtype else None

    def _in_float(self, value: ir.Value, before: ir.Node | None) -> ir.Value:
        if value not in self._wide:
            name = value.name or "value"
            if value in set(self._graph.outputs):
                # The model's output keeps its name, so the half value takes another one.
                value.name = fresh(f"{name}_{self._form.name}", self._values)
            else:
                name = fresh(f"{name}_fp32", self._values)
            self._wide[value] = self._cast(value, FLOAT, name, before)
        return self._wide[value]

    def _cast(
        self, value: ir.Value, dtype: ir.DataType, name: str, before: ir.Node | None
    ) -> ir.Value:
        shape = None if value.shape is None else value.shape.copy()
        made = ir.Value(name=name, type=ir.TensorType(dtype), shape=shape)
        cast = ir.Node(
            "",
            "Cast",
            [value],
            [ir.AttrInt64("to", int(dtype))],
            outputs=[made],
            name=fresh(f"{name}_cast", self._nodes),
        )
        if before is None:
            self._graph.append(cast)
        else:
            self._graph.insert_before(before, cast)
        return made

    def _drop_replaced(self) -> None:
        """Remove constants and the model's own widening casts that nobody uses any more."""
        outputs = set(self._graph.outputs)
        for value in self._narrow:
            replaced = float_constant(value) is not None or self._widened(value) is not None
            if value.uses() or value in outputs or not replaced:
                continue
            producer = value.producer()
            if producer is not None:
                self._graph.remove(producer, safe=True)
            elif value.name is not None:
                del self._graph.initializers[value.name]


def _retype_attribute(node: ir.Node, slots: Slots, form: Format) -> None:
    name = DTYPE_ATTRIBUTES.get(node.op_type)
    if name is None or not slots.outputs or node.domain:
        return
    if node.op_type != "ConstantOfShape":
        node.attributes[name] = ir.AttrInt64(name, int(form.dtype))
        return
    # Its default is an FP32 zero.
    old = node.attributes[name].as_tensor().numpy() if name in node.attributes else np.zeros(1)
    tensor = ir.tensor(rounded(np.asarray(old, np.float32), form), dtype=form.dtype)
    node.attributes[name] = ir.AttrTensor(name, tensor)
