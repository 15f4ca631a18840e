"""INT8 for a benchmark's network: calibrated once on its own images, lowered for each batch."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import networks
import onnx_ir as ir
from networks import Network
from torch import nn

from roadworthy.core.files import write_text
from roadworthy.core.jsonable import dumps
from roadworthy.core.samples import Samples
from roadworthy.graph.serial import digest, to_files
from roadworthy.precision.dialect import COMPUTE, Dialect
from roadworthy.precision.lower import lower
from roadworthy.precision.placement import place
from roadworthy.precision.plan import PrecisionPlan
from roadworthy.precision.quantize import Quantization, named, observe, quantize, split

SEED = 1000
"""Of the first image to calibrate with; those that engines are judged on have seeds below it."""
COUNTS = {"unet64": 16}
COUNT = 32

_OTHERWISE: dict[str, Callable[[Dialect], Dialect]] = {
    "": lambda dialect: dialect,
    "pools apart": lambda dialect: replace(dialect, through=frozenset()),
    "pools and Concats' parts apart": lambda dialect: replace(
        dialect, through=frozenset(), joins=False
    ),
    "ConvTranspose too": lambda dialect: replace(dialect, compute=COMPUTE),
}
PLACEMENTS = tuple(_OTHERWISE)
"""How TensorRT's dialect could be otherwise; "": as it is shipped."""


def placed(dialect: Dialect, placement: str) -> Dialect:
    """Return a dialect as one of `PLACEMENTS` has it."""
    return _OTHERWISE[placement](dialect)


@dataclass(frozen=True)
class Quantised:
    """What a network's calibration gave.

    Attributes:
        plan: which tensor and node runs in INT8, with the scales; it speaks of names, which are the
            same at every batch.
        dialect: whose.
        account: for the record: method, scores, nodes by dtype, exceptions, seconds.
    """

    plan: PrecisionPlan
    dialect: Dialect
    account: dict[str, Any]

    def lowered(self, model: ir.Model) -> ir.Model:
        """Return the network, exported at any batch, with Q/DQ in it."""
        return lower(named(model), self.plan, self.dialect)


def quantised(
    network: Network, module: nn.Module, dialect: Dialect, count: int | None = None
) -> Quantised:
    """Calibrate at batch 1 on ONNX Runtime on the CPU; the best of all methods is kept.

    The plan is left in the system's temporary folder under what it is of: another program on the
    same machine needn't run the images again.
    """
    count = count or COUNTS.get(network.name, COUNT)
    exported, signature = networks.exported(network, module, (1, *network.shape))
    model = named(exported)
    placement = place(model, dialect)
    about = [
        digest(to_files(model, "model.onnx")),
        *placement.activations,
        str(count),
        str(dialect),
    ]
    mark = hashlib.sha256("\n".join(about).encode()).hexdigest()[:16]
    kept = Path(tempfile.gettempdir(), f"roadworthy-benchmark-{mark}.json")
    if not kept.exists():
        feeds = [{networks.INPUT: network.images(seed=SEED + index)} for index in range(count)]
        parts = split(Samples.of_arrays(feeds, source=f"{network.name}'s images"))
        calibration = observe(model, [placement], parts.seen, progress=_silent)
        made = quantize(model, signature, dialect, calibration, parts, progress=_silent)
        account = _account(made, count, calibration.seconds)
        write_text(kept, dumps({"plan": made.plan.to_json(), "account": account}))
    known = json.loads(kept.read_text(encoding="utf-8"))
    plan = PrecisionPlan.from_json(known["plan"], str(kept))
    return Quantised(plan, dialect, known["account"])


def _account(made: Quantization, images: int, seconds: float) -> dict[str, Any]:
    told = ("dialect", "nodes", "exceptions", "scores", "held_back", "bias_correction", "notes")
    account = made.account()
    return {
        **{name: account[name] for name in told},
        "method": made.plan.account["method"],
        "images": images,
        "calibration_seconds": round(seconds, 1),
    }


def _silent(_what: str, _share: float) -> None:
    """Tell nobody."""
