"""What really runs: the inspector's layers by precision, judged against what was asked for."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any, Dict, List, Sequence

# In the order in which a layer that shows several is named: the smallest decides what it computes.
_FORMATS = (
    ("fp8", re.compile(r"\bFP8\b", re.I)),
    ("int8", re.compile(r"\bINT8\b", re.I)),
    ("fp16", re.compile(r"\b(FP16|Half)\b", re.I)),
    ("bf16", re.compile(r"\b(BF16|BFloat16)\b", re.I)),
    ("fp32", re.compile(r"\b(FP32|Float)\b", re.I)),
)
_KERNELS = (
    ("int8", re.compile(r"i8i8|int8|imma", re.I)),
    ("fp16", re.compile(r"f16f16|fp16|hmma|h884|h1688", re.I)),
    ("bf16", re.compile(r"bf16", re.I)),
    ("tf32", re.compile(r"tf32", re.I)),
    ("fp32", re.compile(r"f32f32|fp32|sgemm|ffma", re.I)),
)
# A copy into another layout belongs to the layer that wants it.
_REFORMAT = re.compile(r"^Reformatting CopyNode for (Input|Output) Tensor \d+ to ")
_OPAQUE = re.compile(r"ForeignNode|^__myl|myelin", re.I)


def layer_precision(layer: Dict[str, Any]) -> str:
    """Return what a layer of the inspector computes in: by its tensors, TF32 by its kernel.

    What takes floats and gives 8 bits computes in floats: it quantises its result. With dynamic
    shapes 8.6 may tell no formats ("N/A due to dynamic shapes"); then the type of the weights
    tells, or else the kernel's name.
    """
    taken = _formats(layer.get("Inputs", ()))
    formats = taken + " " + _formats(layer.get("Outputs", ()))
    tactic = str(layer.get("TacticName", ""))
    told = any(pattern.search(taken) for _, pattern in _FORMATS)
    for name, pattern in _FORMATS:
        if pattern.search(taken if told and name in ("fp8", "int8") else formats):
            if name == "fp32" and "tf32" in tactic.lower():
                return "tf32"
            return name
    weights = layer.get("Weights")
    kind = str(weights.get("Type", "")) if isinstance(weights, dict) else ""
    return _by_pattern(_FORMATS, kind, tactic) or _by_pattern(_KERNELS, tactic, tactic) or "other"


def _formats(tensors: Sequence[Any]) -> str:
    return " ".join(str(t.get("Format/Datatype", "")) for t in tensors if isinstance(t, dict))


def is_copy(layer: Dict[str, Any]) -> bool:
    """Tell a layer that computes nothing."""
    return layer.get("LayerType") in ("Reformat", "NoOp", "Constant")


def hides_its_inside(layer: Dict[str, Any]) -> bool:
    """Tell a fused subgraph of which only what it takes and gives is told."""
    return "ForeignNode" in str(layer.get("LayerType", "")) + str(layer.get("Name", ""))


def _by_pattern(patterns: Sequence[Any], text: str, tactic: str) -> str:
    for name, pattern in patterns:
        if pattern.search(text):
            return "tf32" if name == "fp32" and "tf32" in tactic.lower() else str(name)
    return ""


def census(layers: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Count layers per precision; copies and reformats apart, they compute nothing."""
    counts: Dict[str, int] = {}
    opaque: Dict[str, int] = {}
    copies = 0
    for layer in layers:
        if is_copy(layer):
            copies += 1
            continue
        precision = layer_precision(layer)
        counts[precision] = counts.get(precision, 0) + 1
        if _OPAQUE.search(str(layer.get("LayerType", "")) + " " + str(layer.get("Name", ""))):
            opaque[precision] = opaque.get(precision, 0) + 1
    total = sum(counts.values()) or 1
    return {
        "layers": counts,
        "share": {name: round(count / total, 4) for name, count in counts.items()},
        "copies": copies,
        # Fused subgraphs whose inside the inspector doesn't show, by what they take and give.
        "opaque": opaque,
    }


def prove(layers: List[Dict[str, Any]], spec: Dict[str, Any], plan_bytes: int) -> Dict[str, Any]:
    """Return what runs in which precision, or raise when it isn't what was asked for."""
    asked = spec["precision"]
    proof = census(layers)
    proof["asked"] = asked
    counts, in_graph = proof["layers"], spec.get("graph_types", ())
    if asked in ("fp16", "bf16") and not counts.get(asked):
        # Inside a fused subgraph only the size of its weights tells.
        weights = int(spec.get("weight_bytes") or 0)
        halved = proof["opaque"] and weights > 1 << 20 and plan_bytes < 0.75 * weights
        if not halved:
            raise RuntimeError(
                "%s was asked for, but no layer of the engine runs in it: %s; ask for fp32, or "
                "look at the build log" % (asked, _counted(counts))
            )
        proof["by_size"] = "weights take %.2f of their FP32 size" % (plan_bytes / weights)
    if asked == "int8" and not counts.get("int8"):
        raise RuntimeError(
            "int8 was asked for, but no layer of the engine runs in it: %s; look at the build log"
            % _counted(counts)
        )
    smaller = [n for n in ("fp8", "fp16", "bf16", "int8") if counts.get(n)]
    if asked in ("fp32", "tf32") and smaller and not _stated(in_graph, smaller):
        raise RuntimeError(
            "%s was asked for, but layers of the engine run in less: %s" % (asked, _counted(counts))
        )
    if asked == "fp32" and counts.get("tf32"):
        raise RuntimeError("fp32 was asked for, but kernels of the engine use TF32")
    return proof


def _stated(types: Sequence[str], smaller: Sequence[str]) -> bool:
    """Tell whether the graph itself states these types."""
    names = {"fp16": "float16", "bf16": "bfloat16", "int8": "int8", "fp8": "float8_e4m3fn"}
    return all(names[name] in types for name in smaller)


def _counted(counts: Dict[str, int]) -> str:
    return ", ".join("%d in %s" % (n, name) for name, n in sorted(counts.items())) or "none"


def onnx_names(layer: Dict[str, Any]) -> List[str]:
    """Return the ONNX nodes that a layer came from: by its metadata, else by its name.

    A copy into another layout is said to come from what it is made for. Layers that the parser
    added, "(Unnamed Layer* 3) [Shuffle]", come from none that is told.
    """
    marked = re.findall(r"\[ONNX Layer: ([^\]]*)\]", str(layer.get("Metadata", "")))
    if marked:
        return list(OrderedDict.fromkeys(marked))
    name = _REFORMAT.sub("", str(layer.get("Name", "")))
    inside = re.match(r"^\{ForeignNode\[(.*)\]\}$", name)
    if inside:
        return inside.group(1).split("...")
    parts = re.sub(r"^PWN\((.*)\)$", r"\1", name)
    names = [part.strip() for part in re.split(r" \+ |, | \|\| ", parts)]
    names = [re.sub(r"^PWN\(|\)$", "", part) for part in names]
    return [part for part in names if part and not part.startswith("(Unnamed Layer")]
