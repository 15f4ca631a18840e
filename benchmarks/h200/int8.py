"""Account C4: a network in FP32, TF32, FP16 and INT8 on one GPU, in alternating blocks.

Every engine of a table's line is built at the same optimisation level, so that precisions are
compared and not the builder's patience. And INT8 by itself: where Q/DQ best stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import networks
import numpy as np
import torch
from networks import Network
from torch import nn

from h200.bench import Bench, Spec
from h200.engines import account
from h200.pairs import Block, alternate, fresh, ours
from h200.quantised import quantised
from roadworthy.backends.registry import find
from roadworthy.core.errors import RoadworthyError
from roadworthy.precision.dialect import COMPUTE, dialect_for
from roadworthy.precision.lower import lower
from roadworthy.precision.plan import PrecisionPlan, Quantized
from roadworthy.precision.quantize import named
from roadworthy.precision.scoring import literal_answers

PRECISIONS = ("int8", "fp16", "tf32", "fp32")
"""What is most in doubt first."""
_SHIPPED = {"int8": "as shipped", "fp16": "FP16"}


def precisions(bench: Bench, *specs: Spec) -> dict[str, Any]:
    """Time one network at one batch in several precisions, and judge each against PyTorch FP32."""
    return {"precisions": True, **_beside(bench, {spec.precision: spec for spec in specs})}


def placements(bench: Bench, *specs: Spec) -> dict[str, Any]:
    """Time INT8 engines of one network that differ in where Q/DQ stands, beside FP16.

    Layers are told with their times: INT8's gain is lost in what is counted anew between them.
    """
    by_name = {spec.placement or _SHIPPED[spec.precision]: spec for spec in specs}
    found = _beside(bench, by_name)
    network, _ = bench.network(specs[0].network)
    for name, spec in by_name.items():
        if "error" not in found["sides"][name] and not bench.dry:
            with bench.engine(spec).open() as session:
                layers = session.profile({networks.INPUT: network.images(spec.batch)}, 50)
            found["sides"][name]["layers"] = layers
    return {"placements": True, **found}


def _beside(bench: Bench, specs: Mapping[str, Spec]) -> dict[str, Any]:
    """Time engines in alternating blocks, the last as the base of ratios.

    One that can't be built is recorded with the reason, and the others are timed.
    """
    first = next(iter(specs.values()))
    network, module = bench.network(first.network)
    x = network.images(first.batch)
    feed = {networks.INPUT: x}
    found: dict[str, Any] = {
        "network": first.network,
        "batch": first.batch,
        "level": first.level,
        "sides": {},
        "ratios": {},
    }
    with fresh(), ExitStack() as opened:
        wanted = networks.truth(module, network, x)
        sides: dict[str, Block] = {}
        for name, spec in specs.items():
            try:
                engine = bench.engine(spec)
                session = opened.enter_context(engine.open())
                answers = session.run(feed)
            except RoadworthyError as error:
                found["sides"][name] = {"error": str(error)[:1000]}
                continue
            sides[name] = ours(session, feed)
            found["sides"][name] = {
                **account(engine),
                "relative_l2": networks.errors(network, answers, wanted),
            }
            if spec.precision == "int8" and not spec.placement:
                found["quantisation"] = bench.quantised(spec.network).account
        alternate(bench, network, first.batch, sides, found, base=next(reversed(sides), "fp32"))
    failed = [name for name in specs if name not in sides]
    return {**found, **({"error": f"failed: {', '.join(failed)}"} if failed else {})}


# -- whether TensorRT takes a ConvTranspose's weights per channel


def transposed(bench: Bench) -> dict[str, Any]:
    """Quantise the weights of a ConvTranspose per channel of each axis, and as a whole.

    ONNX's axis 1 is the output's channel; NVIDIA says of TensorRT 8 that it reads the scales along
    axis 0 (github.com/NVIDIA/TensorRT, issues 1694 and 2380). It stands between floats, where 8.6
    builds it. Each graph is judged against itself computed literally. The output channels differ
    100-fold in scale: a mix-up shows.
    """
    network = Network("transposed", _transposed, (3, 32, 32), ("y",), trained=True)
    module = network.module().to(bench.device)
    dialect = replace(dialect_for("tensorrt"), compute=COMPUTE)
    made = quantised(network, module, dialect, 8)
    model, signature = networks.exported(network, module, (2, *network.shape))
    feed = {networks.INPUT: network.images(2)}
    wanted = networks.truth(module, network, feed[networks.INPUT])
    backend: Any = find(bench.target.backend)
    options = bench.options(Spec("transposed", "int8", level=1))
    found: dict[str, Any] = {}
    for axis in (1, 0, None):
        graph = lower(named(model), _with_axis(made.plan, module, axis), made.dialect)
        (literal,) = literal_answers(graph, signature, [feed])
        row: dict[str, Any] = {"literal_l2": networks.errors(network, literal, wanted)["y"]}
        try:
            engine = backend.compile(graph, signature, bench.target, options)
            with engine.open() as session:
                answers = session.run(feed)
            row["engine_l2"] = networks.errors(network, answers, wanted)["y"]
            row["layers"] = engine.proof.get("layers")
        except RoadworthyError as error:
            row["refused"] = str(error)[:600]
        found["whole" if axis is None else f"axis {axis}"] = row
        bench.record.say(f"  axis {axis}: {row}")
    return found


def _transposed() -> nn.Module:
    layer = nn.ConvTranspose2d(64, 32, 2, 2)
    with torch.no_grad():
        layer.weight.mul_(torch.logspace(-1, 1, 32).reshape(1, 32, 1, 1))
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), layer, nn.ReLU(), nn.Conv2d(32, 4, 1)
    )


def _with_axis(plan: PrecisionPlan, module: nn.Module, axis: int | None) -> PrecisionPlan:
    """Return the plan with the ConvTranspose's weights scaled along another axis."""
    layer: Any = next(item for item in module.modules() if isinstance(item, nn.ConvTranspose2d))
    values = np.abs(layer.weight.detach().cpu().numpy())
    others = tuple(index for index in range(values.ndim) if index != axis)
    scales = np.atleast_1d(values.max(axis=None if axis is None else others)) / np.float32(127)
    changed: list[Quantized] = []
    for item in plan.tensors:
        if item.weight:
            scale = tuple(float(value) for value in scales)
            item = replace(item, scale=scale, zero_point=(0,) * len(scale), axis=axis)
        changed.append(item)
    if sum(item.weight for item in changed) != 1:
        raise ValueError("the plan has other weights than the ConvTranspose's")
    return replace(plan, tensors=tuple(changed))
