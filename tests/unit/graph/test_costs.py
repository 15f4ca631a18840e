"""Multiply-accumulates by node; the outside truth is PyTorch's counter, and published numbers."""

import io

import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from roadworthy.graph.costs import costs
from tests.models import convnet, network, normal, perceptron
from tests.unit.test_benchmark_networks import networks as benchmark_networks

networks = benchmark_networks


class Mixed(nn.Module):
    """Every operator that is counted: strides, groups, dilation, batches of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(8, 12, (3, 1), groups=4, dilation=2)
        self.along = nn.Conv1d(12, 6, 5)
        self.up = nn.ConvTranspose2d(8, 4, 3, stride=2, output_padding=1)
        self.linear = nn.Linear(6, 10)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a = self.first(x).relu()
        line = self.along(self.grouped(a).mean(3))
        rows = self.linear(line.transpose(1, 2))
        return self.up(a), rows @ rows.transpose(1, 2)


def flops(module: nn.Module, x: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    return int(counter.get_total_flops())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 32, 20), (3, 41, 27)])
def test_pytorch_counts_the_same(batch: int, height: int, width: int) -> None:
    module, file = Mixed().eval(), io.BytesIO()
    axes = {0: "batch", 2: "height", 3: "width"}
    torch.onnx.export(
        module, (torch.ones(2, 3, 32, 32),), file, dynamo=False, input_names=["x"],
        dynamic_axes={"x": axes},
    )  # fmt: skip
    model = ir.from_proto(onnx.load_model_from_string(file.getvalue()))
    found = costs(model, {"batch": batch, "height": height, "width": width})
    assert not found.unknown
    assert 2 * found.total == flops(module, torch.ones(batch, 3, height, width))


def test_resnet50_costs_what_is_published(networks) -> None:
    """4.09 billion at 224 x 224, convolutions and the last layer: torchvision's documentation."""
    network = networks.NETWORKS["resnet50"]
    with torch.device("meta"):
        module = network.make().eval()
    with FlopCounterMode(display=False) as counter:
        module(torch.ones(1, 3, 224, 224, device="meta"))
    module = network.make().eval()
    model, _ = networks.exported(network, module, (1, 3, 64, 64), {0: networks.BATCHES[0]})
    model.graph.inputs[0].shape = ir.Shape(["batch", 3, "height", "width"])
    found = costs(model, {"batch": 1, "height": 224, "width": 224})
    assert not found.unknown
    assert round(found.total / 1e9, 2) == 4.09
    assert 2 * found.total == counter.get_total_flops()


def test_every_node_has_its_own() -> None:
    found = costs(convnet(), {"batch": 2, "h": 5, "w": 7})
    # outputs x channels of the kernel x its taps
    assert found.macs == {"c": 2 * 4 * 5 * 7 * 1 * 9, "r": 0, "y": 2 * 2 * 5 * 7 * 4 * 1}


def test_the_model_keeps_its_own_shapes() -> None:
    model = convnet()
    costs(model, {"batch": 2, "h": 5, "w": 7})
    assert str(model.graph.inputs[0].shape[0]) == "batch"


def test_matrices_cost_rows_times_columns_times_depth() -> None:
    assert costs(perceptron(), {"batch": 10}).macs == {
        "h": 10 * 3 * 8, "r": 0, "y": 10 * 8 * 2, "label": 0,
    }  # fmt: skip


def test_gemm_reads_its_depth_where_it_is() -> None:
    graph = "g (float[5, 3] a) => (float[3, 4] y) { y = Gemm<transA = 1>(a, w) }"
    assert costs(network(graph, {"w": normal(5, 4)}), {}).macs == {"y": 3 * 4 * 5}


def test_a_size_that_isnt_given_is_said_and_not_guessed() -> None:
    found = costs(convnet(), {"batch": 1, "h": 5})
    assert found.macs == {"r": 0}
    assert found.unknown == dict.fromkeys(("c", "y"), "the shapes aren't known")


def test_what_runs_in_a_branch_or_isnt_counted_is_said() -> None:
    graph = """g (float[n, 3] x, bool b) => (float[n, 8] y, float t) {
        y = If(b) <then_branch = t () => (float[n, 8] p) { [inner] p = MatMul(x, w) },
                   else_branch = e () => (float[n, 8] q) { [other] q = MatMul(x, w) }>
        [trace] t = Einsum<equation = "ij,ij->">(x, x)
    }"""
    found = costs(network(graph, {"w": normal(3, 8)}), {"n": 2})
    assert set(found.unknown) == {"inner", "other", "trace"}
    assert "inside If y" in found.unknown["inner"]
    assert found.macs == {"y": 0}


def test_integers_cost_as_much() -> None:
    graph = """g (uint8[1, 2, 4, 4] x) => (int32[1, 3, 4, 4] y) { y = ConvInteger(x, w) }"""
    model = network(graph, {"w": normal(3, 2, 1, 1).astype("int8")})
    assert costs(model, {}).macs == {"y": 3 * 16 * 2}
