"""Networks that are large enough for a GPU to have reasons, small enough to judge on a CPU."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from tests import models

WIDTH = 128
WIDE_LAYERS = 4

OPEN = ("batch", "h", "w")
# An image to two maps of its size; between them WIDE_LAYERS convolutions of WIDTH channels.
_WIDE = "g (float[{0}, 3, {1}, {2}] image) => (float[{0}, 2, {1}, {2}] y) {{ {body} }}"


def wide_convnet_proto(
    axes: tuple[object, object, object] = OPEN, width: int = WIDTH
) -> onnx.ModelProto:
    """Return 3×3 convolutions with ReLU; weights scaled so that the signal keeps its size (He).

    `axes` are batch, height and width, sizes or names; `width` is the number of channels.
    """
    body, weights, last, channels = [], {}, "image", 3
    for layer in range(WIDE_LAYERS + 1):
        scale = np.float32(np.sqrt(2 / (9 * channels)))
        weights[f"k{layer}"] = models.normal(width, channels, 3, 3, seed=layer) * scale
        body.append(
            f"c{layer} = Conv<pads = [1, 1, 1, 1]>({last}, k{layer})  r{layer} = Relu(c{layer})"
        )
        last, channels = f"r{layer}", width
    weights["head"] = models.normal(2, width, 1, 1, seed=99) / np.float32(np.sqrt(width))
    body.append(f"y = Conv({last}, head)")
    return models.proto(_WIDE.format(*axes, body="  ".join(body)), weights)


def wide_convnet(axes: tuple[object, object, object] = OPEN) -> ir.Model:
    """Return the same as an `onnx_ir` model."""
    return ir.from_proto(wide_convnet_proto(axes))
