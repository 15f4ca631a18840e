"""From a placement and a calibration to a plan: every scale and zero-point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from roadworthy.core.errors import InputError
from roadworthy.core.signature import Array
from roadworthy.precision.calibrate import Calibration
from roadworthy.precision.dialect import Dialect
from roadworthy.precision.methods import Range, covered
from roadworthy.precision.operands import Bias, Weight
from roadworthy.precision.placement import Placement
from roadworthy.precision.plan import PrecisionPlan, Quantized

if TYPE_CHECKING:
    import onnx_ir as ir

# A product of two scales, which a bias is counted in, must be a normal float32 number too.
_SMALLEST_SCALE = 2.0**-62
# FP16 numbers from here on have all their bits; see `half.formats.FP16`.
_SMALLEST_HALF, _LARGEST_HALF = 2.0**-14, 65504.0
# A channel below this share of the largest weight is lost in the rounding of that one to FP16.
_DEAD_BESIDE_HALF = 2.0**-11
# How much of int32's range a quantised bias may use; the products are added to it.
_BIAS_LIMIT = 2.0**30

DROWNED = "its bias is too large beside what it reads: as int32 it would leave no step for weights"


def make_plan(
    model: ir.Model, placement: Placement, calibration: Calibration, method: str
) -> PrecisionPlan:
    """Choose every scale.

    Args:
        model: whose weights are quantised.
        placement: what is to be quantised.
        calibration: has observed every activation of the placement.
        method: see `precision.methods`.

    Raises:
        InputError: the calibration hasn't seen a tensor, or only zeros in it.
    """
    dialect = placement.dialect
    activations = {
        name: _activation(name, placement, calibration, method) for name in placement.activations
    }
    weights = {
        item.tensor: _weight_scale(model, item, placement, activations)
        for item in placement.weights
    }
    biases = {item.tensor: _bias_scale(item, activations, weights) for item in placement.biases}
    return PrecisionPlan(
        "int8",
        dialect.name,
        placement.decisions,
        (*activations.values(), *weights.values(), *biases.values()),
        {
            **calibration.account(),
            "method": method,
            "saturation": _saturation(calibration, placement, activations),
        },
    )


def _activation(
    name: str, placement: Placement, calibration: Calibration, method: str
) -> Quantized:
    """Return what `make_plan` chooses for one activation."""
    dialect, source = placement.dialect, scale_source(name, placement)
    seen = calibration.tensors.get(source)
    if seen is None:
        raise InputError(f"the calibration hasn't seen tensor {source!r}", where="calibration")
    if not seen.has_range:
        raise InputError(
            f"tensor {source!r} is zero on every sample: no scale can be told for it",
            where="calibration",
            remedy="place without it, or give samples on which it isn't zero",
        )
    found = covered(seen, method, symmetric=dialect.is_symmetric, levels=dialect.levels)
    return activation_scale(name, found, dialect)


def drowned(
    model: ir.Model, placement: Placement, calibration: Calibration, method: str
) -> dict[str, str]:
    """Return nodes whose biases would cost them their weights, with the reason.

    For a bias to fit into int32 the steps of its weights may grow (see `_weight_scale`). Where they
    grew beyond the step of the largest weight, all of them would become zero.
    """
    biases: dict[tuple[str, ...], Bias] = {
        (item.activation, item.weight, item.tensor): item for item in placement.biases
    }
    found = {}
    for node in model.graph:
        bias = biases.get(tuple(value.name or "" for value in node.inputs[:3] if value))
        if bias is None:
            continue
        step = _activation(bias.activation, placement, calibration, method).scale[0]
        needed = float(np.abs(weight_array(model, bias.tensor)).max(initial=0.0)) / _BIAS_LIMIT
        largest = float(np.abs(weight_array(model, bias.weight)).max(initial=0.0))
        if 0.0 < largest < needed / step * placement.dialect.weight_limit:
            found[node.name or ""] = DROWNED
    return found


def activation_scale(name: str, covered_range: Range, dialect: Dialect) -> Quantized:
    """Return scale and zero-point of an activation; zero is always exactly representable."""
    low, high = min(covered_range[0], 0.0), max(covered_range[1], 0.0)
    if dialect.is_symmetric:
        scale = max(-low, high) / 127.0
        return Quantized(name, "int8", (_stored(scale, dialect),), (0,))
    scale = _stored((high - low) / 255.0, dialect)
    return Quantized(name, "uint8", (scale,), (int(np.clip(np.rint(-low / scale), 0, 255)),))


def scale_source(name: str, placement: Placement) -> str:
    """Return the tensor whose scale this one takes."""
    seen = {name}
    while name in placement.same_scale and placement.same_scale[name] not in seen:
        name = placement.same_scale[name]
        seen.add(name)
    return name


def _weight_scale(
    model: ir.Model, weight: Weight, placement: Placement, activations: dict[str, Quantized]
) -> Quantized:
    """Symmetric, per channel where its node has an axis for them."""
    values = weight_array(model, weight.tensor)
    axes = tuple(axis for axis in range(values.ndim) if axis != weight.axis)
    largest = np.abs(values).max(axis=axes if weight.axis is not None else None)
    scales = np.atleast_1d(np.asarray(largest, np.float64)) / placement.dialect.weight_limit
    if placement.dialect.is_half and scales.max() >= _SMALLEST_HALF:
        # One dead channel would take the whole operator out of FP16.
        dead = scales <= _DEAD_BESIDE_HALF * scales.max()
        scales[dead] = np.maximum(scales[dead], _SMALLEST_HALF)
    for bias in placement.biases:
        if bias.weight == weight.tensor:
            # A dead channel with a bias: at the product of its tiny scales int32 would overflow.
            needed = np.abs(weight_array(model, bias.tensor)).astype(np.float64) / _BIAS_LIMIT
            if weight.axis is None:
                needed = needed.max()
            scales = np.maximum(scales, needed / activations[bias.activation].scale[0])
    chosen = tuple(_stored(scale, placement.dialect) for scale in scales)
    return Quantized(weight.tensor, "int8", chosen, (0,) * len(chosen), weight.axis, weight=True)


def _bias_scale(
    bias: Bias, activations: dict[str, Quantized], weights: dict[str, Quantized]
) -> Quantized:
    """What the products of input and weight are counted in."""
    factor = activations[bias.activation].scale[0]
    scales = tuple(
        float(np.float32(factor) * np.float32(scale)) for scale in weights[bias.weight].scale
    )
    axis = 0 if len(scales) > 1 else None
    return Quantized(bias.tensor, "int32", scales, (0,) * len(scales), axis, weight=True)


def weight_array(model: ir.Model, name: str) -> Array:
    """Return an initialiser's values.

    Raises:
        InputError: the graph has no such initialiser.
    """
    value = model.graph.initializers.get(name)
    if value is None or value.const_value is None:
        raise InputError(f"the network has no weight {name!r}", where="precision plan")
    return value.const_value.numpy()


def _saturation(
    calibration: Calibration, placement: Placement, activations: dict[str, Quantized]
) -> dict[str, float]:
    """Return the share of values beyond the chosen range, of tensors that have any."""
    shares = {}
    for name, chosen in activations.items():
        histogram = calibration.tensors[scale_source(name, placement)].histogram
        if histogram is None or not histogram.total:
            continue
        scale, zero = chosen.scale[0], chosen.zero_point[0]
        smallest, largest = (0, 255) if chosen.dtype == "uint8" else (-127, 127)
        low, high = (smallest - zero - 0.5) * scale, (largest - zero + 0.5) * scale
        edges = histogram.edges
        beyond = int(histogram.counts[(edges[1:] <= low) | (edges[:-1] >= high)].sum())
        if beyond:
            shares[name] = beyond / histogram.total
    return shares


def _stored(scale: float, dialect: Dialect) -> float:
    """Return a scale as the graph will hold it, so that integers are made with that very number.

    Where FP16 has it at its full precision it is rounded to FP16, else it stays FP32.
    """
    if dialect.is_half and _SMALLEST_HALF <= scale <= _LARGEST_HALF:
        return float(np.float16(scale))
    return float(np.float32(max(scale, _SMALLEST_SCALE)))
