"""Run a network piece by piece, so that its intermediate tensors can be read one after another.

Making every tensor an output of one session keeps all of them alive until the run ends: on the
example UNet at 512² that is 230 MB a sample, and 4.5 times the time of plain inference (page
faults). Cut into segments that hand their values on, only the living ones exist. Each node is in
one segment, so weights aren't duplicated, and ONNX Runtime optimises within a segment as usual.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from roadworthy.backends.base import Runner
from roadworthy.backends.place import Here
from roadworthy.core.closing import Closing
from roadworthy.core.cpus import usable_cpus
from roadworthy.core.errors import CompileError
from roadworthy.core.signature import Array, Feed
from roadworthy.graph.inner import inner_graphs
from roadworthy.graph.serial import files_with, reference, references, without_weights

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

RUNTIME = "roadworthy.backends.onnxruntime.runtime"
# More lets ONNX Runtime fuse and keep its blocked layouts, and keeps more tensors alive. On the
# example UNet at 512², where plain inference takes 74 ms: 143 ms with 1, 102 with 4.
TENSORS_PER_SEGMENT = 4


@dataclass(frozen=True)
class Segment:
    """Some nodes of the network, in order, as a model of its own.

    Attributes:
        model: the ONNX model; to its large weights it only has references.
        weights: what they refer to, see `without_weights`.
        inputs: what it takes of what was there before.
        outputs: what it gives: observed tensors and what later segments need.
        ends: what nobody needs after it.
    """

    model: onnx.ModelProto
    weights: dict[str, ir.TensorProtocol]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    ends: tuple[str, ...]


class SegmentedNetwork(Closing):
    """A network that shows its intermediate tensors as it runs. Use in a `with` block."""

    def __init__(self, model: ir.Model, tensors: Sequence[str], threads: int | None = None) -> None:
        """Cut the model; nothing runs yet.

        Args:
            model: left as it is.
            tensors: float tensors to be shown; inputs of the network may be among them.
            threads: of one inference.
        """
        self._tensors = frozenset(tensors)
        self._threads = threads
        self._segments = cut(model, self._tensors)
        self._runners: list[Runner] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            for segment in self._segments:
                files = files_with(segment.model, segment.weights, "segment.onnx")
                # The session has its weights: once is enough.
                segment.model.Clear()
                segment.weights.clear()
                runner = open_session(files, self._threads, spinning=False)
                del files
                self._stack.callback(runner.close)
                self._runners.append(runner)
        except BaseException:
            self._stack.close()
            raise
        return self

    def close(self) -> None:
        """Give the memory back."""
        self._runners.clear()
        self._stack.close()

    def run(self, feed: Feed) -> Iterator[dict[str, Array]]:
        """Yield the tensors asked for, by name, as they are computed: those of a segment together.

        The values are the caller's.

        Raises:
            RunError: ONNX Runtime failed.
        """
        live: dict[str, Array] = dict(feed)
        yield self._shown(live)
        for segment, runner in zip(self._segments, self._runners, strict=True):
            made = runner.run({name: live[name] for name in segment.inputs})
            live |= made
            yield self._shown(made)
            made.clear()
            for name in segment.ends:
                live.pop(name, None)

    def _shown(self, values: Feed) -> dict[str, Array]:
        return {name: array for name, array in values.items() if name in self._tensors}


def open_session(
    files: Mapping[str, bytes], threads: int | None, *, spinning: bool = True
) -> Runner:
    """Open a model in ONNX Runtime, in this process; it gives its memory back after each run.

    Args:
        files: as of `to_files`.
        threads: of one inference; None takes what this process may use.
        spinning: see `CompileOptions`.

    Raises:
        CompileError: ONNX Runtime refuses it.
    """
    spec = {"threads": threads or usable_cpus(), "optimise": True, "spinning": spinning}
    return Here(RUNTIME).open(files, {**spec, "arena": False})


def cut(model: ir.Model, tensors: frozenset[str]) -> list[Segment]:
    """Cut a model after every few observed tensors; where a value can't be handed on, later.

    Raises:
        CompileError: a tensor isn't in the graph.
    """
    import onnx

    light, large = without_weights(model)
    proto = onnx.shape_inference.infer_shapes(light)
    graph = proto.graph
    types = {
        value.name: value
        for value in (*graph.value_info, *graph.input, *graph.output)
        if value.type.HasField("tensor_type") and value.type.tensor_type.elem_type
    }
    weights = {item.name: item for item in graph.initializer}
    made = {name for node in graph.node for name in node.output}
    unknown = tensors - made - {value.name for value in graph.input}
    if unknown:
        raise CompileError(f"the network has no tensor {sorted(unknown)[0]!r}", where="calibration")
    groups = _groups(graph, tensors, types)
    last = {name: i for i, group in enumerate(groups) for node in group for name in reads(node)}
    # What the network gives is of no interest here, unless it is observed.
    return [
        _segment(proto, group, index, last, tensors, types, weights, large)
        for index, group in enumerate(groups)
    ]


def _groups(
    graph: onnx.GraphProto, tensors: frozenset[str], types: Mapping[str, Any]
) -> list[list[onnx.NodeProto]]:
    """Return the nodes of every segment."""
    uses = {name: i for i, node in enumerate(graph.node) for name in reads(node)}
    groups: list[list[onnx.NodeProto]] = [[]]
    shown = 0
    open_ends: set[str] = set()
    for index, node in enumerate(graph.node):
        groups[-1].append(node)
        shown += sum(name in tensors for name in node.output)
        # A sequence, or a value of unknown type, can't cross into another model.
        open_ends |= {
            name for name in node.output if name not in types and uses.get(name, -1) > index
        }
        open_ends = {name for name in open_ends if uses[name] > index}
        if shown >= TENSORS_PER_SEGMENT and not open_ends:
            groups.append([])
            shown = 0
    return [group for group in groups if group]


def _segment(
    proto: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    index: int,
    last: Mapping[str, int],
    tensors: frozenset[str],
    types: Mapping[str, Any],
    weights: Mapping[str, Any],
    large: Mapping[str, ir.TensorProtocol],
) -> Segment:
    import onnx

    made = [name for node in nodes for name in node.output if name]
    used = list(dict.fromkeys(name for node in nodes for name in reads(node)))
    inputs = [name for name in used if name not in set(made) and name not in weights]
    outputs = [name for name in made if last.get(name, -1) > index or name in tensors]
    # A model must give something: the last segment may have nothing that anybody asked for.
    outputs = outputs or made[-1:]
    own = [weights[name] for name in used if name in weights]
    graph = onnx.GraphProto(name=f"segment {index}")
    graph.node.extend(nodes)
    graph.input.extend(_loose(types[name]) for name in inputs)
    graph.output.extend(
        _loose(types[name]) if name in types else onnx.ValueInfoProto(name=name) for name in outputs
    )
    graph.initializer.extend(own)
    model = onnx.ModelProto(ir_version=proto.ir_version, graph=graph)
    model.opset_import.extend(proto.opset_import)
    model.functions.extend(proto.functions)
    ends = [name for name in (*inputs, *outputs) if last.get(name, -1) <= index]
    its = {key: large[key] for key in map(reference, references(graph))}
    return Segment(model, its, tuple(inputs), tuple(outputs), tuple(dict.fromkeys(ends)))


def _loose(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """Return the value without its shape: what was inferred needn't hold for every size."""
    from onnx import helper

    return helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, None)


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield every value that a node reads, those that its sub-graphs take from outside too."""
    yield from (name for name in node.input if name)
    for graph in inner_graphs(node):
        inside = {value.name for value in graph.input}
        inside |= {item.name for item in graph.initializer}
        for inner in graph.node:
            yield from (name for name in reads(inner) if name not in inside)
            inside |= set(inner.output)
