"""Half islands that cost more casts than they save work."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from roadworthy.precision.half.operators import HEAVY, INDIFFERENT
from roadworthy.precision.half.schema import Slots
from roadworthy.precision.typed import float_constant

ISLAND = "cheap, between FP32 nodes: the casts would cost more than half saves"


def islands(graph: ir.Graph, half: Mapping[ir.Node, Slots]) -> set[ir.Node]:
    """Return the half nodes that had better stay FP32.

    A group of half nodes, joined by the values that they hand to each other in half, is worth it
    when a convolution or matrix product is among them, or when it has more nodes than casts at
    its edges.
    """
    made = {node.outputs[index]: node for node in half for index in half[node].outputs}
    groups = _groups(half, made)
    casts = dict.fromkeys(groups, 0)
    outputs = set(graph.outputs)
    entered: set[tuple[ir.Node, ir.Value]] = set()
    leader = {node: first for first, members in groups.items() for node in members}
    for node, slots in half.items():
        for index in slots.inputs:
            value = node.inputs[index]
            if value is None or value in made or float_constant(value) is not None:
                continue
            if (leader[node], value) not in entered:
                entered.add((leader[node], value))
                casts[leader[node]] += 1
    for value, node in made.items():
        if value in outputs or any(
            use.node.op_type not in INDIFFERENT
            and (use.node not in half or use.idx not in half[use.node].inputs)
            for use in value.uses()
        ):
            casts[leader[node]] += 1
    return {
        node
        for first, members in groups.items()
        if casts[first] >= len(members) and not any(item.op_type in HEAVY for item in members)
        for node in members
    }


def _groups(
    half: Mapping[ir.Node, Slots], made: Mapping[ir.Value, ir.Node]
) -> dict[ir.Node, list[ir.Node]]:
    """Return the groups by one of their members (union-find with path halving)."""
    parent = {node: node for node in half}

    def find(node: ir.Node) -> ir.Node:
        while parent[node] is not node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for node, slots in half.items():
        for index in slots.inputs:
            value = node.inputs[index]
            if value is not None and value in made:
                parent[find(node)] = find(made[value])
    groups: dict[ir.Node, list[ir.Node]] = {}
    for node in half:
        groups.setdefault(find(node), []).append(node)
    return groups
