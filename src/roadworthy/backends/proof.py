"""The one form in which every backend proves what its engines compute in: `Engine.proof`.

"layers"  {dtype: how many of the executed layers compute in it}
"nodes"   {ONNX node: dtype it computes in}, those nodes of which the engine's own account tells it

A layer that only moves tensors isn't counted; its nodes have the dtype of what it moves. A node
without a name goes by its first output.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roadworthy.graph.inner import inner_graphs

if TYPE_CHECKING:
    import onnx

# From the narrowest to the widest. "other" is FP64, integers that stand for themselves, and what an
# engine doesn't tell.
DTYPES = ("fp8", "int8", "fp16", "bf16", "tf32", "fp32", "other")
# Nodes that multiply matrices, and what the layers are called that do so.
_MULTIPLYING = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_MULTIPLIES = re.compile(r"conv|gemm|matmul|fullyconnected|matrixmultiply|attention", re.IGNORECASE)
# Nodes that state a dtype and compute in none.
CONVERSIONS = frozenset(
    {"Cast", "CastLike", "Constant", "DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"}
)


@dataclass(frozen=True, slots=True)
class Layer:
    """One executed layer.

    Attributes:
        kind: the engine's own word for what it does.
        dtype: one of `DTYPES`.
        nodes: the ONNX nodes that it stands for, or does a part of.
        computes: False for one that only moves or describes tensors.
    """

    kind: str
    dtype: str
    nodes: tuple[str, ...]
    computes: bool = True


def standard_form(layers: Iterable[Layer], operators: Mapping[str, str]) -> dict[str, Any]:
    """Return "layers" and "nodes" of a proof.

    1. A node that multiplies matrices computes in the dtype of the layer that does it, whatever
       else became of the node: its bias may be added elsewhere.
    2. Where the layers that a node became don't agree, its dtype isn't known.

    Args:
        layers: the executed ones, but for those that convert between dtypes or layouts.
        operators: the operator of every node of the model, see `operators_of`.
    """
    layers = tuple(layers)
    counts = Counter(layer.dtype for layer in layers if layer.computes)
    claims: dict[str, set[str]] = {}
    for layer in layers:
        for node in layer.nodes:
            operator = operators.get(node)
            if operator is None or operator in CONVERSIONS:
                continue
            if operator not in _MULTIPLYING or _MULTIPLIES.search(layer.kind):
                claims.setdefault(node, set()).add(layer.dtype)
    nodes = {
        node: next(iter(dtypes))
        for node, dtypes in claims.items()
        if len(dtypes) == 1 and dtypes != {"other"}
    }
    return {
        "layers": {dtype: counts[dtype] for dtype in DTYPES if counts[dtype]},
        "nodes": nodes,
    }


def runs_in(proof: Any) -> str:
    """Return a proof in a line: "int8 92 % of MACs (38 layers), fp32 8 % (4)"; "" for none.

    Args:
        proof: `Engine.proof`, also as a certificate keeps it; what isn't of its form is left out.
    """
    layers, shares = (_numbers(proof, key) for key in ("layers", "macs"))
    parts: list[str] = []
    for dtype in [*DTYPES, "unknown"]:
        share, count = shares.get(dtype), layers.get(dtype)
        if dtype == "other" and not share:
            continue
        words = dtype
        if share is not None:
            words += f" {percent(share)}" + " of MACs" * (not parts)
        if count is not None:
            words += f" ({count}{(' layer' if count == 1 else ' layers') * (not parts)})"
        if share is not None or count is not None:
            parts.append(words)
    return ", ".join(parts)


def _numbers(proof: Any, key: str) -> dict[str, float]:
    found = proof.get(key) if isinstance(proof, Mapping) else None
    pairs = found.items() if isinstance(found, Mapping) else ()
    return {str(name): one for name, one in pairs if isinstance(one, int | float)}


def percent(share: float) -> str:
    """Return a share in whole percents; never 0 for what is there, nor 100 for what isn't all."""
    if 0 < share < 0.005:
        return "less than 1 %"
    return "more than 99 %" if 0.995 <= share < 1 else f"{100 * share:.0f} %"


class Behind:
    """What stands between a node and the quantisation of its result in a model.

    A layer that gives the quantised result has fused it, and may not name it.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._nodes = {node.name: node for node in graph.node if node.name}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        # Somebody outside reads these as well.
        self._readers |= {item.name: [] for item in graph.output}

    def fused(self, names: Iterable[str], told: Collection[str]) -> Iterator[str]:
        """Yield the names of these nodes.

        Args:
            names: the nodes that a layer stands for.
            told: what else the layer names; its result is quantised if the QuantizeLinear or its
                scale is among that.
        """
        for name in names:
            node = self._nodes.get(name)
            found: list[str] = []
            while node is not None and node.op_type != "QuantizeLinear":
                readers = self._readers.get(node.output[0], [])
                node = readers[0] if len(readers) == 1 else None
                found += [node.name] if node is not None else []
            if node is not None and found and (node.name in told or node.input[1] in told):
                yield from found[:-1]


def operators_of(graph: onnx.GraphProto) -> dict[str, str]:
    """Return the operator of every node by name, those of branches and bodies too.

    Nodes that share a name can't be told apart and are left out.
    """
    found: dict[str, str] = {}
    twice: set[str] = set()
    for node in _all_nodes(graph):
        name = node.name or next((output for output in node.output if output), "")
        if name in found:
            twice.add(name)
        found[name] = node.op_type
    return {name: operator for name, operator in found.items() if name not in twice}


def _all_nodes(graph: onnx.GraphProto) -> Iterable[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for inner in inner_graphs(node):
            yield from _all_nodes(inner)
