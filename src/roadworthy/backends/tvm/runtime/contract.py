"""What ships: a library, and what must be known to call it, and to refuse to."""

from __future__ import annotations

import platform
from typing import Any, Dict

from .machine import features_here

LIBRARY, CONTRACT = "model.so", "contract.json"


def check_fits(tvm: Any, contract: Dict[str, Any]) -> None:
    """Refuse a library for another kind of machine: it would die of an illegal instruction."""
    for key, here in (("machine", platform.machine()), ("system", platform.system())):
        if contract[key] != here:
            raise RuntimeError(
                "the library was built for %s, this is %s; build it here" % (contract[key], here)
            )
    if contract["tvm"] != str(tvm.__version__):
        raise RuntimeError(
            "the library was built by TVM %s, this is %s; build it anew"
            % (contract["tvm"], tvm.__version__)
        )
    missing = set(contract["features"]) - features_here(tvm)
    if missing:
        raise RuntimeError(
            "the library was built for %s and needs %s, which this CPU hasn't got; build it here, "
            "or with the option mcpu=x86-64-v2" % (contract["mcpu"], ", ".join(sorted(missing)))
        )
