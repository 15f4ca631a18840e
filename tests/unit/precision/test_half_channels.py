"""Weights are judged by output channel: what follows may scale a tiny one up again."""

from __future__ import annotations

import numpy as np
import pytest

from roadworthy.core.signature import Array
from roadworthy.precision.half import plan_half, to_half
from roadworthy.precision.half.channels import weight_reason
from roadworthy.precision.half.formats import BF16, FP16
from tests.models import network, normal
from tests.unit.precision.half_made import ranges_of, relative, run

# Operator, shape of its weights, and where the weights of its third output channel are.
OPERATORS = {
    "Conv(x, w)": ((4, 8, 3, 3), np.s_[2]),
    "Conv<group = 8>(x, w)": ((8, 1, 3, 3), np.s_[2]),
    "ConvTranspose(x, w)": ((8, 4, 3, 3), np.s_[:, 2]),
    # Two groups of two channels each: the third is the first of the second group.
    "ConvTranspose<group = 2>(x, w)": ((8, 2, 3, 3), np.s_[4:, 0]),
    "MatMul(x, w)": ((8, 4), np.s_[:, 2]),
    "MatMul(w, x)": ((4, 8), np.s_[2]),
    "Gemm(x, w)": ((8, 4), np.s_[:, 2]),
    "Gemm<transB = 1>(x, w)": ((4, 8), np.s_[2]),
    "Gemm<transA = 1>(w, x)": ((8, 4), np.s_[:, 2]),
}


def told(operator: str, weights: Array, form=FP16) -> str:
    model = network(f"g (float[a, b, c, d] x) => (float[e, f, g, h] y) {{ y = {operator} }}",
                    {"w": weights})  # fmt: skip
    return weight_reason(model.graph[-1], form)


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_tiny_output_channel_keeps_its_node_in_fp32(operator) -> None:
    shape, third = OPERATORS[operator]
    weights = normal(*shape)
    assert told(operator, weights) == ""
    weights[third] *= 2e-8
    count = 8 if "group = 8" in operator else 4
    said = told(operator, weights)
    assert said.startswith(f"1 of {count} channels of its weights is too small for fp16: ")
    # It has the exponents of FP32.
    assert told(operator, weights, BF16) == ""


@pytest.mark.parametrize("operator", OPERATORS)
def test_zeros_are_exact_and_a_few_tiny_weights_are_nothing(operator) -> None:
    shape, third = OPERATORS[operator]
    weights = normal(*shape)
    weights[third] = 0.0
    assert told(operator, weights) == ""
    weights = normal(*shape)
    weights.reshape(-1)[::7] = 1e-9
    assert told(operator, weights) == ""


def test_several_channels_are_counted() -> None:
    weights = normal(8, 4)
    weights[:, [0, 3]] *= 1e-9
    assert told("MatMul(x, w)", weights).startswith("2 of 4 channels of its weights are too small")


def test_a_channel_that_is_scaled_up_again_isnt_lost() -> None:
    """By the relative L2 of the whole tensor it went unseen, and the answers were wrong by 0.1."""
    small, scale = normal(8, 8, 3, 3) * 0.2, np.ones((1, 8, 1, 1), np.float32)
    small[3] *= 1e-7
    scale[0, 3] = 3e4
    last = normal(8, 8, 1, 1, seed=1) * 0.2
    last[:, 3] *= 300
    model = network(
        """g (float[n, 8, h, w] x) => (float[n, 8, h, w] y) {
            a = Conv<pads = [1, 1, 1, 1]>(x, small) b = Mul(a, scale) y = Conv(b, last)
        }""",
        {"small": small, "scale": scale, "last": last},
    )
    feed = {"x": normal(1, 8, 8, 8, seed=2)}
    plan = plan_half(model, "fp16", ranges_of(model, feed))
    kinds = {item.node: item.dtype for item in plan.decisions}
    assert kinds["a"] == "fp32"
    assert kinds["y"] == "fp16"
    assert relative(run(to_half(model, plan), feed)["y"], run(model, feed)["y"]) < 2e-3
