"""Building: the engine is the model itself, once it was opened."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List

from .runner import OPTIMISED, Runner


def build(
    files: Dict[str, bytes], spec: Dict[str, Any], say: Callable[[str], None]
) -> Dict[str, Any]:
    """Open the model once, so that a refusal comes now; the engine is the model itself.

    The file `OPTIMISED` among the files isn't part of it: the graph that is really executed,
    without its large weights. Without optimisations that is the model, and nothing is written.
    Where ONNX Runtime can't write it, the log says why.
    """
    log: List[str] = []
    executed: Dict[str, bytes] = {}
    if not spec.get("optimise", True):
        runner = Runner(files, spec)
    else:
        with tempfile.TemporaryDirectory(prefix="roadworthy-") as folder:
            path = Path(folder, OPTIMISED)
            try:
                runner = Runner(files, spec, path)
                executed = {OPTIMISED: path.read_bytes()}
            except Exception as error:  # if the model is at fault, it fails again
                runner = Runner(files, spec)
                log = ["the optimised graph can't be written: %s" % error]
    provider = runner.session.get_providers()[0]
    runner.close()
    return {"files": {**files, **executed}, "log": log, "proof": {"provider": provider}}
