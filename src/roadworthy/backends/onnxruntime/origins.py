"""Which ONNX nodes a node that ONNX Runtime executes came from.

A node of the optimised graph computes its output tensors from its input tensors. Where those still
bear the names of the model's tensors, the nodes between them in the model are the ones that it
stands for. Where they don't, only what is certain is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

# They change where or how a tensor lies, not what it is.
_MOVERS = {"ReorderInput", "ReorderOutput", "MemcpyToHost", "MemcpyFromHost"}
# It also puts in nodes of these kinds.
_LAYOUT = {"Cast", "Transpose"}
# ONNX Runtime names a node in its blocked layout after the tensor that it makes.
_BLOCKED = re.compile(r"(.+)_nchwc(_token_\d+)?")
# What it puts behind a name that is taken, and before that of a tensor that it widens to FP32.
_TOKEN = re.compile(r"_token_\d+$")
_WIDENED = "InsertedPrecisionFreeCast_"


def name_origins(rows: Sequence[dict[str, Any]], files: Mapping[str, bytes]) -> None:
    """Fill in "onnx" of the rows of the runtime's `profile`, and take off what only tells that.

    Args:
        rows: see `runtime.Runner.profile`.
        files: the engine's; the first is the ONNX file.
    """
    import onnx

    graph = onnx.load_model_from_string(next(iter(files.values()))).graph
    for row, names in zip(rows, origins_of(rows, graph), strict=True):
        row["onnx"] = names
    for row in rows:
        for key in ("index", "inside", "inputs", "outputs"):
            del row[key]


def origins_of(rows: Sequence[Mapping[str, Any]], graph: onnx.GraphProto) -> list[list[str]]:
    """Return the names of the model's nodes that each executed node stands for.

    Args:
        rows: "name", "kind", "index", "inside", "inputs", "outputs": see `runtime.Runner.profile`.
        graph: the model's.
    """
    executed = _Executed(rows, _Model(graph))
    return [executed.origins(row) for row in rows]


class _Model:
    """What the model says: its nodes, who makes a tensor, and what never changes."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes = list(graph.node)
        self.by_name = {node.name: node for node in self.nodes if node.name}
        self.makers = {
            output: index
            for index, node in enumerate(self.nodes)
            for output in node.output
            if output
        }
        self.fixed = {item.name for item in graph.initializer}
        self.fixed |= {item.values.name for item in graph.sparse_initializer}
        self.tensors = {*self.makers, *self.fixed, *(item.name for item in graph.input)}
        for node in self.nodes:
            if all(name in self.fixed for name in node.input if name) and not _has_graph(node):
                self.fixed.update(node.output)
        # ONNX Runtime makes initialisers of these while it reads, and numbers the others.
        self.numbered = [i for i, node in enumerate(self.nodes) if node.op_type != "Constant"]
        self.nested = {node.name for node in _nested(self.nodes) if node.name}

    def label(self, index: int) -> str:
        """A node's name; without one it goes by its first output."""
        node = self.nodes[index]
        return str(node.name or next((output for output in node.output if output), ""))


class _Executed:
    """The executed nodes, and which of the model's tensors theirs are."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], model: _Model) -> None:
        self._model = model
        self._same: dict[str, str] = {}
        self._made = {output for row in rows for output in row["outputs"]}
        for row in rows:
            self._follow(row)
        for row in reversed(rows):
            if row["kind"] in _MOVERS and row["outputs"]:
                self._learn(row["inputs"][0], self._known(row["outputs"][0]))
        for row in rows:
            self._follow(row)
        self._counts_as_we_do = all(
            self._numbered(row) is not None for row in rows if self._is_numbered(row)
        )
        self._known_made = {self._known(output) for output in self._made} - {None}

    def _known(self, tensor: str) -> str | None:
        """The model's tensor that this one is, in whatever layout or width."""
        if tensor in self._model.tensors:
            return tensor
        narrow = tensor.removeprefix(_WIDENED)
        return narrow if narrow in self._model.tensors else self._same.get(tensor)

    def _learn(self, tensor: str, known: str | None) -> None:
        if known is not None and tensor not in self._model.tensors:
            self._same.setdefault(tensor, known)

    def _follow(self, row: Mapping[str, Any]) -> None:
        """Name the tensors that a node makes.

        1. A node in blocked layout is named after its output.
        2. A mover's output is its input.
        3. A node of the model that is still there makes what it made.
        """
        blocked = _BLOCKED.fullmatch(row["name"])
        if blocked and self._known(blocked[1]):
            for output in row["outputs"][:1]:
                self._learn(output, self._known(blocked[1]))
        elif row["kind"] in _MOVERS:
            for output in row["outputs"][:1]:
                self._learn(output, self._known(row["inputs"][0]))
        elif row["name"] in self._model.by_name:
            node = self._model.by_name[row["name"]]
            if node.op_type == row["kind"] and len(node.output) == len(row["outputs"]):
                for output, known in zip(row["outputs"], node.output, strict=True):
                    self._learn(output, known or None)

    def origins(self, row: Mapping[str, Any]) -> list[str]:
        """Return the names of the model's nodes that this one stands for, in the model's order."""
        if row["inside"]:
            return [row["name"]] if row["name"] in self._model.nested else []
        outputs = [self._known(tensor) for tensor in row["outputs"]]
        inputs = [self._known(tensor) for tensor in row["inputs"] if tensor in self._made]
        given = {self._known(tensor) for tensor in row["inputs"]} - {None}
        if row["kind"] in _MOVERS and set(outputs) <= given:
            return []
        makers = [self._model.makers[name] for name in outputs if name in self._model.makers]
        if not makers or None in outputs:
            return self._itself(row)
        between = set() if None in inputs else self._between({*outputs} - {None}, given)
        return [self._model.label(index) for index in sorted(between or makers)]

    def _itself(self, row: Mapping[str, Any]) -> list[str]:
        """A node whose tensors don't tell: by its name, or by its number if it never had a name."""
        if row["name"] in self._model.by_name:
            return [row["name"]]
        name = _TOKEN.sub("", row["name"])
        if name in self._model.by_name and self._model.by_name[name].op_type in row["kind"]:
            # Rewritten while the old one was still there, such as a Conv to a QLinearConv.
            return [name] if row["kind"] not in _LAYOUT else []
        index = self._numbered(row) if self._is_numbered(row) else None
        return [self._model.label(index)] if self._counts_as_we_do and index is not None else []

    def _is_numbered(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a node has no name, and a number that one of the model's may have."""
        nameless = row["name"] == f"{row['kind']}_{row['index']}" and not row["inside"]
        fresh = row["name"] not in self._model.by_name
        return nameless and fresh and row["index"] < len(self._model.numbered)

    def _numbered(self, row: Mapping[str, Any]) -> int | None:
        """Return the model's node of a number, if it is of that kind and has no name either."""
        index = self._model.numbered[row["index"]]
        node = self._model.nodes[index]
        return index if node.op_type == row["kind"] and not node.name else None

    def _between(self, outputs: set[str | None], inputs: set[str | None]) -> set[int]:
        """Return the model's nodes on the ways from some tensors to others.

        The ways end at what other nodes make when the graph is executed, and at what is constant.
        """
        model = self._model
        ends = (inputs | self._known_made | model.fixed) - outputs
        candidates: set[int] = set()
        waiting: list[str | None] = list(outputs)
        while waiting:
            index = model.makers.get(waiting.pop() or "")
            if index is not None and index not in candidates:
                candidates.add(index)
                waiting += [name for name in model.nodes[index].input if name not in ends]
        reached, found = set(inputs), set()
        for index in sorted(candidates):  # ONNX keeps nodes in an order in which they can run
            if reached.intersection(model.nodes[index].input):
                found.add(index)
                reached.update(model.nodes[index].output)
        return found


def _has_graph(node: onnx.NodeProto) -> bool:
    """Tell whether a node has a graph in it, which may read any tensor around it."""
    return any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)


def _nested(nodes: Iterable[onnx.NodeProto]) -> Iterable[onnx.NodeProto]:
    """Yield the nodes of the graphs within these nodes, at any depth."""
    for node in nodes:
        for attribute in node.attribute:
            graphs = [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
            for graph in graphs:
                yield from graph.node
                yield from _nested(graph.node)
