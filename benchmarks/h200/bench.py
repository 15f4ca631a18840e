"""What every step shares: the target, the networks on their device, the engines built so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import networks
import torch
from networks import Network
from torch import nn

from h200.quantised import Quantised, placed, quantised
from h200.record import Record
from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.registry import find
from roadworthy.core.signature import Dim
from roadworthy.core.target import Target
from roadworthy.pipeline.dialects import dialect_of


@dataclass(frozen=True)
class Spec:
    """One engine: a network in a precision, at a shape.

    Attributes:
        network: its name.
        precision: "fp32", "tf32", "fp16" or "int8".
        batch: the static batch.
        level: TensorRT's builder optimisation level; None is its default, 3.
        axes: input axes that vary, with their ranges, instead of the static shape.
        profile: TensorRT's `profile` option, where the optimum is stated.
        placement: where Q/DQ stands, one of `quantised.PLACEMENTS`; "": as shipped.
    """

    network: str
    precision: str
    batch: int = 1
    level: int | None = None
    axes: tuple[tuple[int, Dim], ...] = ()
    profile: str | None = None
    placement: str = ""

    @property
    def key(self) -> str:
        """What it is called in the record."""
        shape = ",".join(str(dim) for _, dim in self.axes) or f"batch {self.batch}"
        level = "" if self.level is None else f", level {self.level}"
        placed = f", {self.placement}" if self.placement else ""
        return f"{self.network} {self.precision}, {shape}{level}{placed}"


@dataclass
class Bench:
    """Target, device, record; `dry` means ONNX Runtime, this CPU, and small networks."""

    target: Target
    dry: bool
    record: Record
    _engines: dict[Spec, Engine] = field(default_factory=dict)
    _networks: dict[str, tuple[Network, nn.Module]] = field(default_factory=dict)
    _quantised: dict[tuple[str, str], Quantised] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """Where PyTorch works."""
        return "cpu" if self.dry else "cuda"

    def shape(self, name: str) -> tuple[int, int, int]:
        """Return one image's shape."""
        whole = networks.NETWORKS[name].shape
        return (whole[0], 64, 96) if self.dry else whole

    def network(self, name: str) -> tuple[Network, nn.Module]:
        """Return a network and its module in FP32 on the device; a small one in a dry run."""
        if name not in self._networks:
            network = networks.NETWORKS[name]
            if self.dry:
                network = replace(network, make=networks.TINY[name], shape=self.shape(name))
            self._networks[name] = network, network.module().to(self.device)
        return self._networks[name]

    def options(self, spec: Spec) -> CompileOptions:
        """Return the options to build with; ONNX Runtime has FP32 and INT8 only and no levels."""
        if self.dry:
            precision = "int8" if spec.precision == "int8" else "fp32"
            return CompileOptions(precision=precision, threads=1)
        extra = [("level", str(spec.level))] if spec.level is not None else []
        extra += [("profile", spec.profile)] if spec.profile else []
        return CompileOptions(precision=spec.precision, extra=tuple(extra))

    def engine(self, spec: Spec) -> Engine:
        """Build an engine, or return the one built before."""
        if spec not in self._engines:
            network, module = self.network(spec.network)
            axes: Mapping[int, Dim] = dict(spec.axes)
            # Batch 2 where it varies: at 1 a tracer may take it for a constant.
            batch = 2 if 0 in axes else spec.batch
            model, signature = networks.exported(network, module, (batch, *network.shape), axes)
            if spec.precision == "int8":
                model = self.quantised(spec.network, spec.placement).lowered(model)
            backend: Any = find(self.target.backend)
            built = backend.compile(model, signature, self.target, self.options(spec))
            self._engines[spec] = built
        return self._engines[spec]

    def quantised(self, name: str, placement: str = "") -> Quantised:
        """Calibrate a network for the target, or return what that gave before."""
        if (name, placement) not in self._quantised:
            network, module = self.network(name)
            count = 8 if self.dry else None
            dialect = placed(dialect_of(self.target), placement)
            made = quantised(network, module, dialect, count)
            self._quantised[name, placement] = made
            self.record.say(f"  calibrated: {made.account['scores']}")
        return self._quantised[name, placement]

    def sync(self) -> None:
        """Wait for the device."""
        if not self.dry:
            torch.cuda.synchronize()
