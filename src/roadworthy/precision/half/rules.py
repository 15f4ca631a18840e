"""The rules: why one node of the main graph stays FP32. The first that applies gives the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir

from roadworthy.core.errors import UnavailableError
from roadworthy.graph.inner import subgraphs
from roadworthy.precision.half.channels import weight_reason
from roadworthy.precision.half.formats import Format, constant_reason, range_reason
from roadworthy.precision.half.operators import HEAVY, operator_reason
from roadworthy.precision.half.patterns import pattern_reasons
from roadworthy.precision.half.quantised import scale_reason
from roadworthy.precision.half.schema import Slots, slots_of
from roadworthy.precision.half.spans import Span, spans
from roadworthy.precision.typed import float_constant, opset_of

NO_RANGE = "a tensor of it has no observed range"


class Rules:
    """The rules for one model, which must be a typed copy.

    1. Bodies (If, Loop, Scan), functions and operators of other domains keep their types.
    2. The operator has no half type in this opset's schema, or a value is no tensor.
    3. What it is part of: a written-out norm, counting, a quantised region (patterns.py).
    4. The operator's arithmetic (operators.py).
    5. It is a QuantizeLinear or DequantizeLinear with a scale that the format doesn't hold
       (quantised.py).
    6. A constant of it is too large, not finite (masks), or mostly too small (formats.py); or an
       output channel of its weights is (channels.py).
    7. A tensor of it is too large or too small on the samples, or was never observed (spans.py).
    """

    def __init__(
        self,
        model: ir.Model,
        form: Format,
        observed: Mapping[str, tuple[float, float]],
        *,
        quantised: bool = False,
    ) -> None:
        self._form = form
        self._opset = opset_of(model)
        self._parts = pattern_reasons(model.graph, form, quantised=quantised)
        self._spans: Mapping[ir.Value, Span] = spans(model.graph, observed)
        self._constants: dict[ir.Value, str] = {}

    def slots(self, node: ir.Node) -> Slots:
        """Return what of a node would turn half."""
        return slots_of(node, self._opset, self._form)

    def reason(self, node: ir.Node) -> str:
        """Return why a node stays FP32; empty when it may run in half.

        Raises:
            UnavailableError: a convolution or product that takes the format in a later opset only.
        """
        if any(True for _ in subgraphs(node)):
            return f"{node.op_type} keeps the types of its bodies"  # case 1
        if node.domain:
            return f"{node.domain} isn't ONNX's own domain: its types aren't known"
        slots = self.slots(node)
        if slots.refusal:
            self._refuse_heavy(node, slots)
            return slots.refusal  # case 2
        for told in (self._parts.get(node, ""), operator_reason(node, self._form)):
            if told:
                return told  # cases 3, 4
        values = list(_values(node, slots))
        return (
            scale_reason(node, self._form)
            or next(filter(None, map(self._constant_reason, values)), "")
            or weight_reason(node, self._form)
            or next(filter(None, map(self._range_reason, values)), "")
        )  # cases 5, 6, 7

    def _refuse_heavy(self, node: ir.Node, slots: Slots) -> None:
        if node.op_type in HEAVY and slots.since is not None:
            raise UnavailableError(
                f"{self._form.name} isn't to be had: {slots.refusal}",
                where=f"{node.op_type} {node.name!r}, output {node.outputs[0].name!r}",
                remedy=f"export at opset {slots.since} or later, which has it, or ask for fp16",
            )

    def _constant_reason(self, value: ir.Value) -> str:
        if value not in self._constants:
            values = float_constant(value)
            self._constants[value] = "" if values is None else constant_reason(values, self._form)
        return self._constants[value]

    def _range_reason(self, value: ir.Value) -> str:
        if float_constant(value) is not None:
            return ""
        span = self._spans.get(value)
        return NO_RANGE if span is None else range_reason(*span, self._form)


def _values(node: ir.Node, slots: Slots) -> Iterator[ir.Value]:
    for index in slots.inputs:
        value = node.inputs[index]
        if value is not None:
            yield value
    for index in slots.outputs:
        yield node.outputs[index]
