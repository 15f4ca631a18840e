"""What a lowered module's functions compute in, read from their arithmetic."""

from __future__ import annotations

import importlib
from typing import Any, Collection, Dict, Set

# Narrow to wide: a function that widens what it reads computes in the wider.
_FLOATS = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float64": "other"}
# What a CPU must have to compute with FP16; LLVM widens it for others.
_HALF_FEATURES = {"avx512fp16", "fullfp16"}


def dtypes_of(tvm: Any, module: Any, features: Collection[str]) -> Dict[str, int]:
    """Count a module's functions by the dtype that they compute in.

    Those without floating arithmetic aren't counted: they move tensors, or count with integers.
    "other" is FP64, and halves on a CPU without instructions for them.

    Args:
        tvm: the package.
        module: lowered to loop nests.
        features: of the CPU that it is compiled for, in LLVM's words.
    """
    counts: Dict[str, int] = {}
    for function in module.functions.values():
        if isinstance(function, tvm.tirx.PrimFunc):
            given = _given(tvm, function)
            floats = [ours for theirs, ours in _FLOATS.items() if theirs in given]
            if floats:
                dtype = floats[-1]
                if dtype == "bf16" or (dtype == "fp16" and not _HALF_FEATURES & set(features)):
                    dtype = "other"
                counts[dtype] = counts.get(dtype, 0) + 1
    return counts


def _given(tvm: Any, function: Any) -> Set[str]:
    """Return the dtypes that a function's operations give; those of its indices are integers."""
    names = ("Add", "Div", "Max", "Min", "Mul", "Sub")
    operations = (tvm.ir.Call, *(getattr(tvm.tirx, name) for name in names))
    given: Set[str] = set()

    def visit(node: Any) -> None:
        # A call may be a function such as exp, or a choice, as padding makes.
        if isinstance(node, operations) and not _is_choice(tvm, node):
            given.add(str(getattr(node.ty, "dtype", "")))

    importlib.import_module("tvm_ffi.structural").structural_walk(function.body, visit)
    return given


def _is_choice(tvm: Any, node: Any) -> bool:
    return isinstance(node, tvm.ir.Call) and getattr(node.op, "name", "") == "tirx.if_then_else"
