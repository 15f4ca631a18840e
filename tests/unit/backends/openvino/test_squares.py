"""Square matrices that are read both ways: OpenVINO takes one for its transpose."""

from __future__ import annotations

import numpy as np
import pytest

from roadworthy.backends.openvino.squares import apart
from roadworthy.backends.registry import find
from roadworthy.core.target import Target
from roadworthy.graph.signature import signature_of
from tests.models import PLAIN, network, normal

X, W = normal(1, 4), normal(4, 4, seed=1)
HEAD = "g (float[1, 4] x) => (float[1, 4] y)"
GEMM = HEAD + "{ a = MatMul(x, w)  y = Gemm<transB = 1>(a, w) }"
TRANSPOSE = HEAD + "{ a = MatMul(x, w)  t = Transpose(w)  y = MatMul(a, t) }"
CONSTANT = """g (float[1, 2] x) => (float[1, 2] y) {
    k = Constant<value = float[2, 2] {1.0, 2.0, 3.0, 4.0}>()
    k_transposed = MatMul(x, k)  y = Gemm<transB = 1>(k_transposed, k)
}"""


@pytest.mark.parametrize("graph", [GEMM, TRANSPOSE], ids=["Gemm", "Transpose"])
def test_openvino_tells_a_matrix_from_its_transpose(graph: str) -> None:
    model = network(graph, {"w": W})
    engine = find("openvino").compile(model, signature_of(model), Target("openvino"), PLAIN)
    with engine.open() as session:
        np.testing.assert_allclose(session.run({"x": X})["y"], X @ W @ W.T, rtol=1e-4)
    assert list(model.graph.initializers) == ["w"]  # ours stays as it is


def test_a_constant_is_a_weight_too_and_names_stay_apart() -> None:
    copied = apart(network(CONSTANT))
    assert list(copied.graph.initializers) == ["k_transposed_"]
    engine = find("openvino").compile(copied, signature_of(copied), Target("openvino"), PLAIN)
    k = np.array([[1, 2], [3, 4]], np.float32)
    with engine.open() as session:
        np.testing.assert_allclose(session.run({"x": X[:, :2]})["y"], X[:, :2] @ k @ k.T, rtol=1e-4)


@pytest.mark.parametrize("kernel", [(3, 3), (3,), (1, 3)], ids=str)
def test_openvino_tells_a_convs_kernel_from_a_transposed_ones(kernel: tuple[int, ...]) -> None:
    sizes = ", ".join("6" * len(kernel))
    model = network(
        f"g (float[1, 16, {sizes}] x) => (float[1, 16, {sizes}] y)"
        " { a = Conv(x, w)  y = ConvTranspose(a, w) }",
        {"w": normal(16, 16, *kernel, seed=1)},
    )
    x = normal(1, 16, *[6] * len(kernel))
    signature, answers = signature_of(model), []
    for name in ("onnxruntime", "openvino"):
        engine = find(name).compile(model, signature, Target(name), PLAIN)
        with engine.open() as session:
            answers.append(session.run({"x": x})["y"])
    np.testing.assert_allclose(answers[1], answers[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("graph", "weights", "left"),
    [
        (GEMM, {"w": W}, ["w", "w_transposed"]),
        (HEAD + "{ a = MatMul(x, w)  y = MatMul(a, w) }", {"w": W}, ["w"]),
        (HEAD + "{ y = Gemm<transB = 1>(x, w) }", {"w": W}, ["w"]),
        (GEMM, {"w": normal(4, 3)}, ["w"]),
        (GEMM.replace("x)", "x, float[4, 4] w)", 1), {"w": W}, ["w"]),
    ],
    ids=["both ways", "as it is", "transposed", "not square", "an input"],
)
def test_only_what_can_be_mistaken_is_copied(graph, weights, left) -> None:
    assert list(apart(network(graph, weights)).graph.initializers) == left
