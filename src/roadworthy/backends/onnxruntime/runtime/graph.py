"""The names in an ONNX file, read without onnx, which need not be here."""

from __future__ import annotations

from typing import Dict, Iterator, List, Tuple

Tensors = Dict[str, Tuple[List[str], List[str]]]


def tensors_by_node(model: bytes) -> Tensors:
    """Return inputs and outputs by node name, for the names that only one node has.

    Reads the protocol buffers themselves: ModelProto.graph is field 7, GraphProto.node 1, and
    NodeProto's input, output and name are 1, 2 and 3 (onnx.proto).
    """
    found: Tensors = {}
    twice = {""}
    for graph in (part for field, part in _fields(memoryview(model)) if field == 7):
        for node in (part for field, part in _fields(graph) if field == 1):
            texts: Dict[int, List[str]] = {1: [], 2: [], 3: []}
            for field, part in _fields(node):
                if field in texts:
                    texts[field].append(bytes(part).decode("utf-8", "replace"))
            name = "".join(texts[3])
            if name in found:
                twice.add(name)
            found[name] = texts[1], texts[2]
    return {name: tensors for name, tensors in found.items() if name not in twice}


def _fields(message: memoryview) -> Iterator[Tuple[int, memoryview]]:
    """Yield number and content of a message's fields that have a length."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        size = {0: 0, 1: 8, 5: 4}.get(tag & 7)
        if size is None:
            size, at = _varint(message, at)
            yield tag >> 3, message[at : at + size]
        elif not tag & 7:
            _, at = _varint(message, at)
        at += size


def _varint(message: memoryview, at: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, at
