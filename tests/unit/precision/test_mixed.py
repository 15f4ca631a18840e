"""INT8 with the rest in FP16: the same integers, one dtype around each, and a reason where not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from roadworthy.core.samples import Samples
from roadworthy.core.signature import Array
from roadworthy.graph.signature import signature_of
from roadworthy.precision.half import plan_half
from roadworthy.precision.half.quantised import is_int8
from roadworthy.precision.plan import PrecisionPlan, Quantized
from roadworthy.precision.quantize import named
from roadworthy.precision.scales import activation_scale
from roadworthy.precision.typed import check
from tests.models import network, normal
from tests.unit.precision.half_made import dtypes, reason
from tests.unit.precision.int8_made import CONVNET8, convnet8, convnet8_weights, images
from tests.unit.precision.mixed_made import (
    DQ,
    HALF_SCALES,
    Made,
    Q,
    expect_no_cast_beside_int8,
    integers,
    made,
    networks,
)

NETWORKS = networks()
# What FP16 adds to INT8's error: rounding to 11 bits beside rounding to 8.
ADDED_DB = 0.5


@pytest.fixture(scope="module")
def all_made() -> Mapping[str, Made]:
    return {name: made(*given) for name, given in NETWORKS.items()}


def convnet(changed: Mapping[str, Array], graph: str = CONVNET8) -> ir.Model:
    return named(network(graph, convnet8_weights() | dict(changed)))


def around(model: ir.Model, output: str) -> set[str]:
    """The dtypes of an INT8 operator: of all it reads and gives."""
    [node] = [node for node in model.graph if node.outputs[0].name == output]
    assert is_int8(node)
    values = [*node.inputs, *node.outputs]
    return {value.dtype.name for value in values if value is not None and value.dtype}


@pytest.mark.parametrize("name", NETWORKS)
class TestNetworks:
    def test_the_graph_is_valid_sorted_typed_and_of_the_same_signature(
        self, all_made: Mapping[str, Made], name: str
    ) -> None:
        model = all_made[name].mixed.model
        assert check(model) == ""
        assert signature_of(model) == signature_of(NETWORKS[name][0])
        known = {id(value) for value in (*model.graph.inputs, *model.graph.initializers.values())}
        for node in model.graph:
            assert {id(value) for value in node.inputs if value is not None} <= known
            assert all(value.dtype is not None for value in node.outputs)
            known |= {id(value) for value in node.outputs}

    def test_every_int8_operator_gives_fp16(self, all_made: Mapping[str, Made], name: str) -> None:
        model = all_made[name].mixed.model
        found = [node for node in model.graph if is_int8(node)]
        assert len(found) >= 2
        assert {node.outputs[0].dtype for node in found} == {ir.DataType.FLOAT16}
        expect_no_cast_beside_int8(model)

    def test_the_integers_of_weights_are_the_same(
        self, all_made: Mapping[str, Made], name: str
    ) -> None:
        this = all_made[name]
        wide, mixed = integers(this.wide.model), integers(this.mixed.model)
        assert wide.keys() == mixed.keys() != set()
        for node, values in wide.items():
            np.testing.assert_array_equal(mixed[node], values)
            assert np.abs(values).max() == 127

    def test_it_is_as_near_as_with_fp32_beside_it(
        self, all_made: Mapping[str, Made], name: str
    ) -> None:
        this = all_made[name]
        plain = made(*NETWORKS[name], half_scales=False)
        ours = this.sqnr_db(this.mixed.model)
        assert ours > 15
        assert ours > this.sqnr_db(this.wide.model) - ADDED_DB
        assert ours > plain.sqnr_db(plain.wide.model) - ADDED_DB

    def test_the_plan_names_every_node_that_computes(
        self, all_made: Mapping[str, Made], name: str
    ) -> None:
        this = all_made[name]
        plan = this.mixed.plan
        told = dtypes(plan)
        assert plan.precision == "int8"
        assert set(told) >= {node.name for node in this.network.graph}
        assert set(told.values()) <= {"int8", "fp16", "fp32"}
        int8 = {one.node for one in this.wide.plan.decisions if one.dtype == "int8"}
        assert {node for node, dtype in told.items() if dtype == "int8"} == int8
        assert all(item.reason for item in plan.exceptions)
        assert PrecisionPlan.from_json(plan.to_json(), "here") == plan


def test_what_fp16_does_badly_stays_fp32(all_made: Mapping[str, Made]) -> None:
    plan = all_made["transformer"].mixed.plan
    told = dtypes(plan)
    assert {told[name] for name in ("q", "k", "v", "o", "up", "down")} == {"int8"}
    assert {told[name] for name in ("embed", "qk", "pv", "head")} == {"fp16"}
    assert {told[name] for name in ("norm", "norm2", "softmax")} == {"fp32"}
    assert "attention" in reason(plan, "qk")
    assert "exponentials" in reason(plan, "softmax")


class TestScales:
    def test_they_are_exact_in_fp16_where_it_has_all_its_bits(self) -> None:
        for item in made(*NETWORKS["conv"]).wide.plan.tensors:
            scales = np.array(item.scale, np.float32)
            np.testing.assert_array_equal(scales, scales.astype(np.float16).astype(np.float32))

    @pytest.mark.parametrize("largest", [1e-4, 1e7])
    def test_others_stay_fp32(self, largest: float) -> None:
        item = activation_scale("t", (-largest, largest), HALF_SCALES)
        assert item.scale == (float(np.float32(largest / 127)),)

    def test_of_an_activation_that_is_too_small(self) -> None:
        graph = CONVNET8.replace("c2 = Conv", "t = Mul(r1, small) c2 = Conv").replace(
            "(r1, k2, b2)", "(t, k2)"
        )
        model = convnet({"small": np.float32(1e-4)}, graph)
        this = made(model, images(6))
        plan = this.mixed.plan
        assert "its scale" in reason(plan, "t_QuantizeLinear")
        assert "below fp16's smallest normal number 6.1e-05" in reason(plan, "t_QuantizeLinear")
        assert around(this.mixed.model, "c2") == {"FLOAT"}
        assert around(this.mixed.model, "c4") == {"FLOAT16"}
        expect_no_cast_beside_int8(this.mixed.model)
        assert this.sqnr_db(this.mixed.model) > this.sqnr_db(this.wide.model) - ADDED_DB

    def test_of_weights_that_are_too_small(self) -> None:
        model = convnet({"k3": normal(8, 8, 3, 3, seed=2) * 1e-4})
        this = made(model, images(6))
        assert "below fp16's smallest" in reason(this.mixed.plan, "k3_DequantizeLinear")
        assert around(this.mixed.model, "c3") == {"FLOAT"}
        assert around(this.mixed.model, "c2") == {"FLOAT16"}

    def test_of_a_dead_channel_are_as_small_as_fp16_likes(self) -> None:
        """FP16 loses it beside the others anyway: no reason to leave FP16."""
        weights = normal(8, 8, 3, 3, seed=2) * 0.2
        weights[3], weights[5] = 0.0, normal(8, 3, 3) * 1e-9
        this = made(convnet({"k3": weights}), images(6))
        assert around(this.mixed.model, "c3") == {"FLOAT16"}
        [item] = [item for item in this.wide.plan.tensors if item.tensor == "k3"]
        assert (item.scale[3], item.scale[5]) == (2**-14, 2**-14)
        assert min(item.scale) == 2**-14

    def test_that_are_not_exact_are_never_rounded(self) -> None:
        """A plan of somebody else's: other scales would be other integers."""
        this = made(*NETWORKS["conv"], half_scales=False)
        plan = this.mixed.plan
        assert "isn't exact in fp16" in reason(plan, "k2_DequantizeLinear")
        assert around(this.mixed.model, "c2") == {"FLOAT"}
        assert dtypes(plan)[node_giving(this.mixed.model, "first")] == "fp16"
        assert check(this.mixed.model) == ""
        for node, values in integers(this.wide.model).items():
            np.testing.assert_array_equal(integers(this.mixed.model)[node], values)


def node_giving(model: ir.Model, stem: str) -> str:
    [found] = [
        node.name or ""
        for node in model.graph
        if (node.outputs[0].name or "").startswith(stem) and node.op_type == "Conv"
    ]
    return found


class TestTheRestOfAnOperator:
    def test_a_bias_that_does_not_fit(self) -> None:
        model = convnet({"b2": np.full(8, 1e6, np.float32), "k3": np.eye(8, dtype="f").reshape(
            8, 8, 1, 1) * np.ones((1, 1, 3, 3), "f")})  # fmt: skip
        this = made(model, images(6))
        assert around(this.mixed.model, "c2") == {"FLOAT"}
        # The activation that becomes part of it, too: no cast between them.
        [relu] = [node for node in this.mixed.model.graph if node.outputs[0].name == "r2"]
        assert relu.inputs[0] is not None
        assert relu.inputs[0].dtype == ir.DataType.FLOAT

    def test_its_biases_are_fp16_where_they_fit(self) -> None:
        model = made(*NETWORKS["conv"]).mixed.model
        [node] = [node for node in model.graph if node.outputs[0].name == "c2"]
        assert node.inputs[2] is not None
        assert node.inputs[2].dtype == ir.DataType.FLOAT16

    def test_an_input_is_quantised_as_it_is(self) -> None:
        """A cast to FP16 before would only lose bits."""
        graph = """g (float[b, 16] x) => (float[b, 16] y) {
            [q] q = QuantizeLinear(x, s, z) [d] d = DequantizeLinear(q, s, z)
            [wq] wq = QuantizeLinear(w, s, z) [wd] wd = DequantizeLinear(wq, s, z)
            [h] h = MatMul(d, wd) [y] y = MatMul(h, w) }"""
        weights = {"w": normal(16, 16) * 0.3, "s": np.float32(0.03125), "z": np.int8(0)}
        given = network(graph, weights)
        plan = plan_half(given, "fp16", {"x": (-4, 4), "h": (-9, 9), "y": (-9, 9)}, quantised=True)
        assert reason(plan, "q") == "what it quantises is FP32"
        assert (dtypes(plan)["d"], dtypes(plan)["h"]) == ("fp16", "fp16")


def test_below_opset_19_all_of_it_stays_fp32() -> None:
    model, samples = convnet8(), images(6)
    model.graph.opset_imports[""] = 18
    this = made(model, samples)
    assert around(this.mixed.model, "c2") == {"FLOAT"}
    assert "ONNX opset 18 has no FLOAT16 for" in reason(this.mixed.plan, "k2_DequantizeLinear")
    assert this.mixed.model.graph.opset_imports[""] == 18
    expect_no_cast_beside_int8(this.mixed.model)


@pytest.mark.parametrize("opset", [19, 20, 21, 23])
def test_from_opset_19_on_it_is_the_same(opset: int) -> None:
    """ONNX lets a scale's dtype differ from what it scales from 23 on; TensorRT doesn't."""
    model, samples = convnet8(), images(6)
    model.graph.opset_imports[""] = opset
    this = made(model, samples)
    assert around(this.mixed.model, "c2") == {"FLOAT16"}
    assert this.mixed.model.graph.opset_imports[""] == opset
    assert check(this.mixed.model) == ""
    assert this.sqnr_db(this.mixed.model) > 15


def test_without_leave_a_quantised_region_stays_as_it_is() -> None:
    this = made(*NETWORKS["conv"])
    plan = plan_half(this.wide.model, "fp16", this.ranges)
    assert {"fp32"} == {one.dtype for one in plan.decisions if one.op_type in (Q, DQ)}
    assert "quantised region" in reason(plan, node_giving(this.wide.model, "c2"))


def test_a_scale_is_one_number_everywhere() -> None:
    """In the plan, in FP32 and in FP16."""
    this = made(convnet8(), Samples.of_arrays([{"x": normal(1, 8, 6, 6)}]))
    planned: dict[str, Quantized] = {item.tensor: item for item in this.mixed.plan.tensors}
    for model in (this.wide.model, this.mixed.model):
        for tensor, item in planned.items():
            [node] = [node for node in model.graph if node.name == f"{tensor}_{DQ}"]
            scale = node.inputs[1]
            assert scale is not None
            assert scale.const_value is not None
            found = scale.const_value.numpy().astype(np.float64).reshape(-1)
            np.testing.assert_array_equal(found, item.scale)
