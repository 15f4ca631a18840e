"""From an ONNX model to a shared library."""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import shutil
import warnings
from typing import Any, Callable, Dict

from .compiler import Compiler
from .contract import CONTRACT, LIBRARY
from .machine import features_of, import_tvm, set_threads, target_for
from .model import check_outputs, imported, load_model, refuse_unsupported


def build(
    files: Dict[str, bytes], spec: Dict[str, Any], say: Callable[[str], None]
) -> Dict[str, Any]:
    """Compile an ONNX model into a shared library.

    Args:
        files: the model, and its external data by name.
        spec: "threads" (None takes what this process may use), "optimise", "mcpu" (None: this CPU),
            "tuning_seconds", and of the outputs in order "outputs" (names), "dtypes", "shapes"
            (None for what isn't known).
        say: told each phase.

    Returns:
        "files": the library, and the contract that a `Runner` needs to call it; "log"; "proof".
    """
    tvm = import_tvm()
    _need_linker()
    model = load_model(files)
    refuse_unsupported(model)
    threads = set_threads(tvm, spec)
    target = target_for(tvm, spec.get("mcpu") or "", threads)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), target:
        warnings.simplefilter("ignore")
        say("importing the model")
        module, names = imported(model)
        check_outputs(module, spec)
        compiler = Compiler(tvm, target, say)
        library = compiler.compile(
            module, bool(spec["optimise"]), float(spec.get("tuning_seconds") or 0.0)
        )
    contract = {
        "inputs": names,
        "outputs": list(spec["outputs"]),
        "dtypes": list(spec["dtypes"]),
        "machine": platform.machine(),
        "system": platform.system(),
        "mcpu": str(target.attrs["mcpu"]),
        "features": sorted(features_of(tvm, target)),
        "tvm": str(tvm.__version__),
    }
    return {
        "files": {LIBRARY: library, CONTRACT: json.dumps(contract, indent=1).encode()},
        "log": compiler.log,
        "proof": dict(compiler.proof, device="cpu", mcpu=contract["mcpu"], threads=threads),
    }


def _need_linker() -> None:
    if not any(shutil.which(name) for name in ("g++", "clang++", "c++", os.environ.get("CXX", ""))):
        raise RuntimeError(
            "TVM links its libraries with a C++ compiler, and there is none: install g++ or clang"
        )
