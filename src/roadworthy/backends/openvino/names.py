"""What OpenVINO calls a node of the model, and what ONNX does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# What a plugin puts behind a node's name when it makes several steps of the node.
_PORTS = re.compile(r"(\.\d+)+$")


def name_origins(rows: Sequence[dict[str, Any]], files: Mapping[str, bytes]) -> None:
    """Turn "onnx" of the rows of the runtime's `profile` into ONNX nodes.

    Args:
        rows: see `runtime.Runner.profile`.
        files: the engine's; the first is the ONNX file.
    """
    names = onnx_names(files)
    for row in rows:
        row["onnx"] = origins([*row["onnx"], row["name"]], names)


def onnx_names(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the ONNX name of everything that OpenVINO may name after a node of the model.

    OpenVINO names a step as the node, or as the node's output where that is an output of the model
    or the node has no name. A node without a name goes by its first output.

    Args:
        files: the engine's; the first is the ONNX file.
    """
    import onnx

    graph = onnx.load_model_from_string(next(iter(files.values()))).graph
    names: dict[str, str] = {}
    for node in graph.node:
        label = node.name or next((output for output in node.output if output), "")
        for alias in (node.name, *node.output):
            if alias:
                names.setdefault(alias, label)
    return names


def origins(told: Iterable[str], names: Mapping[str, str]) -> list[str]:
    """Return the ONNX nodes that an executed step came from, each once.

    Args:
        told: the names that OpenVINO gives for it.
        names: see `onnx_names`.
    """
    found = (names.get(name) or names.get(_PORTS.sub("", name)) for name in told)
    return list(dict.fromkeys(name for name in found if name))
