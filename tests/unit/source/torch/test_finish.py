"""What an exporter wrote must be valid ONNX, also where its weights are too many for a message."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from roadworthy.graph.signature import signature_of
from roadworthy.source.torch.finish import ExportFailure, finish
from tests.models import network, normal

GRAPH = "g (float[n, 8] x) => (float[n, 8] y) { a = MatMul(x, w) y = Relu(a) }"


def made() -> ir.Model:
    return network(GRAPH, {"w": normal(8, 8)})


@pytest.mark.parametrize("large", [False, True])
def test_a_graph_that_is_not_valid_is_no_candidate(large: bool, as_large) -> None:
    if large:
        as_large()
    model = made()
    assert finish(model, signature_of(model), 21) is model
    assert model.graph.initializers["w"].const_value.nbytes == 256
    assert [value.name for value in model.graph.inputs] == ["x"]
    wrong = made()
    # 8 rows times 9 columns: only the checker's shape inference sees that.
    wrong.graph.initializers["w"].const_value = ir.tensor(normal(9, 8), name="w")
    wrong.graph.initializers["w"].shape = ir.Shape([9, 8])
    with pytest.raises(ExportFailure, match="checker refuses it"):
        finish(wrong, signature_of(wrong), 21)
