"""From an ONNX model to a Relax module; what TVM can't read is refused by its nodes' names."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np

from .failure import said
from .quirks import MisreadError, said_otherwise


def load_model(files: Dict[str, bytes]) -> Any:
    """Return the model's protobuf with its weights inside, functions inlined, and all nodes named.

    A node without a name goes by its operator and first output.
    """
    onnx = importlib.import_module("onnx")
    with tempfile.TemporaryDirectory(prefix="roadworthy-tvm-") as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        model = onnx.load(str(Path(folder, next(iter(files)))))
    if model.functions:
        model = importlib.import_module("onnx.inliner").inline_local_functions(model)
    for node in _nodes(model.graph):
        node.name = node.name or "%s of %s" % (node.op_type, next(iter(node.output), "nothing"))
        if node.op_type == "Constant":
            _state_as_tensor(onnx, node)
    return model


def _state_as_tensor(onnx: Any, node: Any) -> None:
    """Turn a Constant's value_int, value_floats, … into the `value` that TVM's importer reads."""
    dtypes = {
        **dict.fromkeys(("value_int", "value_ints"), "int64"),
        **dict.fromkeys(("value_float", "value_floats"), "float32"),
    }
    for attribute in node.attribute:
        if attribute.name in dtypes:
            given = onnx.helper.get_attribute_value(attribute)
            tensor = onnx.numpy_helper.from_array(np.array(given, dtypes[attribute.name]))
            attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield all nodes, those of branches and bodies too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g] * attribute.HasField("g") + list(attribute.graphs):
                yield from _nodes(inner)


def refuse_unsupported(model: Any) -> None:
    """Refuse operators that TVM's importer doesn't know, with the names of their nodes."""
    known = importlib.import_module("tvm.relax.frontend.onnx.onnx_frontend")._get_convert_map()
    unknown: Dict[str, List[str]] = {}
    for node in _nodes(model.graph):
        # The importer goes by the name alone, whatever the domain.
        foreign = node.domain not in ("", "ai.onnx")
        if foreign or (node.op_type not in known and node.op_type not in ("If", "Constant")):
            kind = "%s.%s" % (node.domain, node.op_type) if foreign else node.op_type
            unknown.setdefault(kind, []).append(node.name)
    if unknown:
        listed = ["%s (%s)" % (kind, _some(names)) for kind, names in sorted(unknown.items())]
        raise RuntimeError("TVM has no operator for: %s" % "; ".join(listed))


def _some(names: List[str]) -> str:
    shown = ", ".join("node %r" % name for name in names[:5])
    return shown + (" and %d more" % (len(names) - 5) if len(names) > 5 else "")


def imported(model: Any) -> Tuple[Any, List[str]]:
    """Return the Relax module, and the input names in the order that its function takes them."""
    frontend = importlib.import_module("tvm.relax.frontend.onnx.onnx_frontend")
    current: List[str] = []

    class Importer(frontend.ONNXGraphImporter):  # type: ignore[misc,name-defined]  # untyped base
        def _convert_operator(self, op_name: str, inputs: Any, attrs: Any, opset: int) -> Any:
            name = attrs["tvm_custom"]["name"]
            current[:] = ["%s (node %r)" % (op_name, name)]
            converted = said_otherwise(self.bb, op_name, inputs, attrs)
            if converted is None:
                converted = super()._convert_operator(op_name, inputs, attrs, opset)
            else:
                converted = self.bb.normalize(converted)
            current.clear()
            return converted

    domains = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    importer = Importer({}, "float32")
    try:
        module = importer.from_onnx(model.graph, domains[0] if domains else 1)
    except MisreadError as error:
        raise RuntimeError("TVM would misread %s: %s" % (current[0], error)) from error
    except Exception as error:  # the importer raises whatever its Python code runs into
        where = " at %s" % current[0] if current else ""
        raise RuntimeError("TVM can't import the model%s: %s" % (where, said(error))) from error
    return module, list(importer._input_names)


def check_outputs(module: Any, spec: Dict[str, Any]) -> None:
    """Refuse a module whose outputs the importer got wrong, as far as types and shapes tell."""
    returned = module["main"].ret_ty
    types = list(returned.fields) if hasattr(returned, "fields") else [returned]
    for name, dtype, shape, got in zip(spec["outputs"], spec["dtypes"], spec["shapes"], types):
        if not hasattr(got, "dtype") or str(got.dtype) == "":
            continue
        sizes = None if getattr(got, "shape", None) is None else list(got.shape)
        known = [int(size) if hasattr(size, "value") else None for size in sizes or []]
        differs = str(got.dtype) != dtype
        if shape is not None and sizes is not None:
            pairs = list(zip(known, shape))
            differs |= len(known) != len(shape)
            differs |= any(None not in pair and pair[0] != pair[1] for pair in pairs)
        if differs:
            raise RuntimeError(
                "TVM would give output %r as %s%s, the model says %s%s"
                % (name, got.dtype, known, dtype, "" if shape is None else list(shape))
            )
