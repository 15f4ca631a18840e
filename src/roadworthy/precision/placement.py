"""Where Q/DQ goes in a graph, for one dialect, and why not elsewhere.

1. An operator of the dialect's `compute` set runs in INT8, unless one of these reasons holds: its
   weights aren't constants; it is the first or the last one on its way through the network; it has
   tiny channels; it multiplies two activations (attention); the runtime has no kernel for this one
   (`precision.kernels`).
2. A `light` or `through` operator runs in INT8 only between INT8 operators: everything that it
   reads comes from them (of a Concat: something) and everything that reads it is one. So heads that
   mix pixels and probabilities, and outputs, stay in float without being recognised as such.
3. A tensor that is zero on every sample has no range and isn't quantised: what reads it stays in
   float, and so does what gives it where the dialect wants results quantised.
4. What an INT8 operator reads is quantised; where the dialect says so, what it gives too (after the
   activation that fuses with it), and the parts of a Concat whose whole is.
5. Where the dialect wants results quantised, its runtime makes INT8 of whatever stands between
   quantised tensors. What does so for the sake of others is INT8 too: it rounds nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from roadworthy.precision.dialect import COMPUTE, Dialect
from roadworthy.precision.kernels import gives_floats, refusal
from roadworthy.precision.operands import (
    TINY_CHANNELS,
    Bias,
    Weight,
    constants_of,
    is_tiny,
    is_weight,
    operator,
)
from roadworthy.precision.plan import Decision
from roadworthy.precision.typed import is_float, typed_copy

if TYPE_CHECKING:
    import onnx_ir as ir

# Activations that runtimes fuse into the operator before: nothing is quantised in between.
_FUSED = frozenset({"Clip", "Relu"})
# What ONNX Runtime moves a DequantizeLinear behind: then it stands before a product.
_MOVED = frozenset({"Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})

FIRST = "first layer: it reads the input itself, and costs little"
LAST = "last layer: nothing after it can make up for its rounding"
TINY = f"fewer than {TINY_CHANNELS} channels: INT8 gains nothing"
ATTENTION = "both factors are activations (attention): one scale for all heads is too coarse"
VARIABLE = "its weights aren't constants of the graph"
BETWEEN = "not between INT8 operators: INT8 would only add conversions"
NONFINITE = "its weights aren't all finite"
NO_RANGE = "zero, or not finite, on every sample: no range"
ISLAND = "float island: {0}"


@dataclass(frozen=True)
class Placement:
    """What is to be quantised; the scales are still missing.

    Attributes:
        dialect: whose rules these are.
        decisions: every computing node, in order.
        activations: tensors that pass through Q/DQ, in order.
        weights: initialisers that are quantised.
        biases: where the dialect wants them.
        same_scale: tensor to the one whose scale it takes (operators that hand values on).
    """

    dialect: Dialect
    decisions: tuple[Decision, ...]
    activations: tuple[str, ...]
    weights: tuple[Weight, ...]
    biases: tuple[Bias, ...]
    same_scale: Mapping[str, str]


def place(
    model: ir.Model,
    dialect: Dialect,
    islands: Mapping[str, str] | None = None,
    rangeless: frozenset[str] = frozenset(),
) -> Placement:
    """Decide which nodes of a model run in INT8.

    Args:
        model: FP32; nodes have unique names.
        dialect: whose rules.
        islands: nodes that must stay in float, with the reason.
        rangeless: tensors that calibration found to have no range, see `Calibration.rangeless`.
    """
    # Without dtypes no tensor would be known as a float one, and files needn't state them.
    return _Placing(typed_copy(model), dialect, dict(islands or {}), rangeless).result()


class _Placing:
    def __init__(
        self,
        model: ir.Model,
        dialect: Dialect,
        islands: dict[str, str],
        rangeless: frozenset[str],
    ) -> None:
        self.graph = model.graph
        self.dialect = dialect
        self.rangeless = rangeless
        # Why the runtime can't, whatever is around the node.
        self.refused = {node: why for node in self.graph if (why := refusal(node, dialect))}
        self.without_range = {node for node in self.graph if self._lacks_range(node)}
        without = {node.name for node in self.without_range}
        # What can't be quantised at all needs no island.
        self.islands = {name: why for name, why in islands.items() if name not in without}
        self.reasons: dict[str, str] = {}
        self.int8: set[ir.Node] = set()

    def result(self) -> Placement:
        self._compute_nodes()
        self._between()
        activations = dict.fromkeys(value.name or "" for value in self._quantised())
        anyway = self._anyway(activations) if self.dialect.outputs else set()
        joined = self._joined(activations) if self.dialect.joins else {}
        activations |= dict.fromkeys(joined)
        weights, biases = constants_of(filter(self.int8.__contains__, self.graph), self.dialect)
        return Placement(
            self.dialect,
            tuple(self._decisions(self.int8 | anyway)),
            tuple(activations),
            weights,
            biases,
            self._same_scale(activations, joined),
        )

    def _decisions(self, int8: set[ir.Node]) -> Iterator[Decision]:
        for node in self.graph:
            name = node.name or ""
            if node in int8:
                yield Decision(name, node.op_type, "int8")
            elif name in self.islands:
                yield Decision(name, node.op_type, "fp32", ISLAND.format(self.islands[name]))
            elif operator(node) in COMPUTE | self.dialect.light:
                other = NO_RANGE if node in self.without_range else self.refused.get(node, BETWEEN)
                yield Decision(name, node.op_type, "fp32", self.reasons.get(name, other))

    # -- 1. operators with arithmetic

    def _compute_nodes(self) -> None:
        later = self._computing_later()
        earlier = self._computing_earlier()
        for node in self.graph:
            if operator(node) not in COMPUTE:
                continue
            reason = self._why_not(node, earlier, later)
            if reason:
                self.reasons[node.name or ""] = reason
            else:
                self.int8.add(node)

    def _why_not(self, node: ir.Node, earlier: set[ir.Node], later: set[ir.Node]) -> str | None:
        if (node.name or "") in self.islands:
            return ISLAND.format(self.islands[node.name or ""])
        if node.op_type not in self.dialect.compute:
            return self.dialect.left_out
        if node.op_type == "MatMul" and not any(map(is_weight, node.inputs)):
            return ATTENTION
        weight = node.inputs[1]
        if weight is None or not is_weight(weight) or weight.dtype is None:
            return VARIABLE
        if weight.dtype.name != "FLOAT":
            return f"its weights are {weight.dtype.name}"
        if weight.const_value is None or not np.isfinite(weight.const_value.numpy()).all():
            return NONFINITE
        if node not in earlier:
            return FIRST
        if node not in later:
            return LAST
        if node in self.without_range:
            return NO_RANGE
        return TINY if is_tiny(node, weight) else self.refused.get(node)

    def _computing_earlier(self) -> set[ir.Node]:
        """Nodes that have a computing node somewhere before them."""
        found: set[ir.Node] = set()
        for node in self.graph:
            producers = [value.producer() for value in node.inputs if value is not None]
            if any(p is not None and (p in found or operator(p) in COMPUTE) for p in producers):
                found.add(node)
        return found

    def _computing_later(self) -> set[ir.Node]:
        """Nodes that have a computing node somewhere after them."""
        found: set[ir.Node] = set()
        for node in reversed(self.graph):
            users = [user.node for value in node.outputs for user in value.uses()]
            if any(user in found or operator(user) in COMPUTE for user in users):
                found.add(node)
        return found

    # -- 2. operators in between

    def _between(self) -> None:
        eligible = {
            node
            for node in self.graph
            if operator(node) in self.dialect.light | self.dialect.through
            and self._may(node)
            and is_float(node.outputs[0])
            and len(node.outputs) == 1
        }
        region = {node for node in eligible if _keeps_values(node)}
        region |= {node for node in self.graph if operator(node) in _FUSED and self._may(node)}
        while True:
            lost = {node for node in region if not self._lies_between(node, region)}
            if not lost:
                break
            region -= lost
        self.int8 |= region

    def _may(self, node: ir.Node) -> bool:
        return not (node.name in self.islands or node in self.without_range or node in self.refused)

    def _lies_between(self, node: ir.Node, region: set[ir.Node]) -> bool:
        if self._fuses(node, self.int8):
            return True
        inside = self.int8 | region
        reads = [value for value in self._data(node) if value is not None and is_float(value)]
        from_int8 = [value.producer() in inside for value in reads if not is_weight(value)]
        # A Concat costs nothing, so one quantised part is enough reason to quantise the others.
        enough = any(from_int8)
        if operator(node) != "Concat":
            enough = enough and all(from_int8)
        users = [user.node for user in node.outputs[0].uses()]
        return (
            enough
            and not node.outputs[0].is_graph_output()
            and bool(users)
            and all(user in inside for user in users)
        )

    def _fuses(self, node: ir.Node, inside: set[ir.Node]) -> bool:
        """Tell an activation that becomes part of an INT8 operator before it."""
        if operator(node) not in _FUSED or node.inputs[0] is None or node in self.refused:
            return False
        before = node.inputs[0].producer()
        return (
            before is not None
            and before in inside
            and len(node.inputs[0].uses()) == 1
            and not node.inputs[0].is_graph_output()
            and not node.outputs[0].is_graph_output()
        )

    # -- 3. tensors without a range

    def _lacks_range(self, node: ir.Node) -> bool:
        """Tell a node that would read, or give, a tensor in INT8 that has no range."""
        if operator(node) not in COMPUTE | self.dialect.light | self.dialect.through | _FUSED:
            return False
        values = list(self._data(node))
        if self.dialect.outputs:
            values += node.outputs
            # With the activation that fuses with it the node is one.
            users = [user.node for value in node.outputs for user in value.uses()]
            if len(users) == 1 and operator(users[0]) in _FUSED:
                values += users[0].outputs
        return any(value is not None and value.name in self.rangeless for value in values)

    # -- 4. tensors

    def _quantised(self) -> Iterator[ir.Value]:
        for node in self.graph:
            if node not in self.int8:
                continue
            for value in self._data(node):
                if value is None or not is_float(value) or value.is_initializer():
                    continue
                if not self._inside_fusion(value):
                    yield value
            for value in node.outputs if self._gives_integers(node) else ():
                if not self._inside_fusion(value) and not value.is_graph_output():
                    yield value
        if not self.dialect.outputs:
            yield from self._residuals()

    def _gives_integers(self, node: ir.Node) -> bool:
        """Tell whether the result of an INT8 operator is to be quantised for its own sake."""
        if operator(node) in self.dialect.floats and gives_floats(node):
            return any(user.node in self.int8 for user in node.outputs[0].uses())
        return self.dialect.outputs or operator(node) not in COMPUTE | _FUSED

    def _data(self, node: ir.Node) -> Sequence[ir.Value | None]:
        """Return what of a node's inputs is data: not its bias, nor the bounds of a Clip."""
        return node.inputs if operator(node) in self.dialect.light else node.inputs[:1]

    def _inside_fusion(self, value: ir.Value) -> bool:
        users = tuple(value.uses())
        return (
            len(users) == 1 and users[0].node in self.int8 and self._fuses(users[0].node, self.int8)
        )

    def _residuals(self) -> Iterator[ir.Value]:
        """Of an Add of two convolutions' results one is quantised: then the other fuses with it."""
        for node in self.graph:
            if operator(node) != "Add" or None in node.inputs or node.name in self.islands:
                continue
            producers = [value.producer() for value in node.inputs if value is not None]
            if all(producer is not None and producer in self.int8 for producer in producers):
                value = node.inputs[1]
                if value is None or value.is_graph_output() or value.name in self.rangeless:
                    continue
                yield value

    # -- 5. what is INT8 without being asked

    def _anyway(self, quantised: Mapping[str, None]) -> set[ir.Node]:
        """Return nodes that only read quantised tensors, and give one or multiply two of them."""

        def is_quantised(value: ir.Value | None) -> bool:
            return value is not None and (value.name or "") in quantised

        found = set()
        for node in self.graph:
            if node in self.int8 or not self._may(node):
                continue
            result = node.outputs[0]
            users = [user.node for user in result.uses()]
            if len(users) == 1 and self._fuses(users[0], {node}):
                result = users[0].outputs[0]
            given = is_quantised(result) and not result.is_graph_output()
            if operator(node) == "MatMul" and not any(map(is_weight, node.inputs)):
                # It gives floats as well, but not to an activation that then stays in between.
                gives = given or len(users) != 1 or operator(users[0]) not in _FUSED
                if gives and all(is_quantised(_unmoved(one, quantised)) for one in node.inputs):
                    found.add(node)
            elif given and operator(node) in self.dialect.light:
                found |= {node} if all(map(is_quantised, node.inputs)) else set()
        return found

    def _joined(self, activations: Mapping[str, None]) -> dict[str, str]:
        """Return part → whole, of every Concat into a quantised tensor.

        A part of several takes the scale of the last.
        """
        joined: dict[str, str] = {}
        for node in reversed(self.graph):
            whole = node.outputs[0].name or ""
            if operator(node) != "Concat" or whole not in activations.keys() | joined.keys():
                continue
            for part in node.inputs:
                if part is None or part.is_initializer() or part.name in self.rangeless:
                    continue
                # What else reads it, in float, is to read it exactly.
                if part.name in activations or len(part.uses()) == 1:
                    joined.setdefault(part.name or "", whole)
        return joined

    def _same_scale(
        self, activations: Mapping[str, None], joined: Mapping[str, str]
    ) -> dict[str, str]:
        same: dict[str, str] = {}
        for node in self.graph:
            if node not in self.int8 or operator(node) not in self.dialect.through:
                continue
            before, after = node.inputs[0], node.outputs[0]
            if before is not None and {before.name, after.name} <= activations.keys():
                same[after.name or ""] = before.name or ""
        wholes: dict[str, str] = {}
        for part, whole in joined.items():
            while part in same:
                part = same[part]
            wholes.setdefault(part, whole)
        return same | wholes


def _unmoved(value: ir.Value | None, quantised: Mapping[str, None]) -> ir.Value | None:
    """Return the quantised tensor that this one is, moved; or the value itself."""
    while value is not None and (value.name or "") not in quantised:
        node = value.producer()
        if node is None or operator(node) not in _MOVED:
            break
        value = node.inputs[0]
    return value


def _keeps_values(node: ir.Node) -> bool:
    """Resize invents no values only where it takes the nearest one, and none outside."""
    said = [node.attributes.get(name) for name in ("mode", "coordinate_transformation_mode")]
    mode, transformation = (None if item is None else item.value for item in said)
    return node.op_type != "Resize" or (
        mode in (None, "nearest") and transformation != "tf_crop_and_resize"
    )
