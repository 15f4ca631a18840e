"""INT8 for a benchmark's network: calibrated once on its own images, lowered for each batch."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networks
import onnx_ir as ir
from networks import Network
from torch import nn

from roadworthy.core.samples import Samples
from roadworthy.graph.serial import digest, to_files
from roadworthy.precision.dialect import Dialect
from roadworthy.precision.lower import lower
from roadworthy.precision.placement import place
from roadworthy.precision.plan import PrecisionPlan
from roadworthy.precision.quantize import named, observe, quantize, split

SEED = 1000
"""Of the first image to calibrate with; those that engines are judged on have seeds below it."""
COUNTS = {"unet64": 16}
COUNT = 32


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

    What was seen is kept under the system's temporary folder by what it is of: a second
    program on the same machine needn't run the images again.
    """
    count = count or COUNTS.get(network.name, COUNT)
    exported, signature = networks.exported(network, module, (1, *network.shape))
    model = named(exported)
    feeds = [{networks.INPUT: network.images(seed=SEED + index)} for index in range(count)]
    parts = split(Samples.of_arrays(feeds, source=f"{network.name}'s images"))
    placement = place(model, dialect)
    about = [digest(to_files(model, "model.onnx")), *placement.activations, str(count)]
    mark = hashlib.sha256("\n".join(about).encode()).hexdigest()[:16]
    keep = Path(tempfile.gettempdir(), f"roadworthy-benchmark-{mark}.npz")
    calibration = observe(model, [placement], parts.seen, keep=keep, progress=_silent)
    made = quantize(model, signature, dialect, calibration, parts, progress=_silent)
    account = made.account()
    kept = ("dialect", "nodes", "exceptions", "scores", "held_back", "bias_correction", "notes")
    return Quantised(
        made.plan,
        dialect,
        {
            **{name: account[name] for name in kept},
            "method": made.plan.account["method"],
            "images": count,
            "calibration_seconds": round(calibration.seconds, 1),
        },
    )


def _silent(_what: str, _share: float) -> None:
    """Tell nobody."""
