"""What the parser reads wrongly is said otherwise, with the same answers, or refused by name.

That TensorRT then reads it rightly is shown on a GPU, by ONNX's own data for these operators
(`tests/device/test_conformance_tensorrt.py`).
"""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import shape_inference

from roadworthy.backends.tensorrt.quirks import without_quirks
from roadworthy.core.errors import CompileError
from tests import models

OLD, NEW = (8, 6), (10, 0)


def network(graph, opset=17):
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>\n{graph}')
    return ir.from_proto(shape_inference.infer_shapes(proto))


def written(model, version=OLD):
    made = without_quirks(model, version, "TensorRT 8.6.0")
    onnx.checker.check_model(ir.to_proto(made), full_check=True)
    return made


def same(model, feed):
    """Assert that the rewritten network answers as the given one; return it."""
    made = written(model)
    with models.engine(model).open() as one, models.engine(made).open() as other:
        expected, found = one.run(feed), other.run(feed)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)
    return made


def operators(model):
    return [node.op_type for node in model.graph.all_nodes()]


@given(start=st.integers(-5, 5), end=st.none() | st.integers(-5, 5))
def test_a_part_of_a_shape_is_a_slice_of_the_whole(start, end):
    ends = "" if end is None else f", end = {end}"
    graph = f"g (float[2,3,4] x) => (int64[n] y) {{ y = Shape<start = {start}{ends}>(x) }}"
    made = same(network(graph), {"x": models.normal(2, 3, 4)})
    assert operators(made) == ["Shape", "Slice"]
    assert not made.graph.node(0).attributes


TYPES = {"float": np.float32, "int64": np.int64, "bool": np.bool_, "float16": np.float16}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("k", [None, -2, 0, 1, 9])
def test_an_upper_triangle_is_what_the_lower_one_leaves(dtype, k):
    """Infinite values too: the causal mask is an upper triangle of them."""
    x = models.normal(2, 3, 4) * 5
    if dtype.startswith("float"):
        x[:, 0] = -np.inf
        x[:, :, 1] = np.nan
    given_k, constant = ("", "") if k is None else (", k", f"k = Constant<value = int64 {{{k}}}>()")
    graph = f"g ({dtype}[2,3,4] x) => ({dtype}[2,3,4] y) {{ {constant} y = Trilu(x{given_k}) }}"
    with np.errstate(invalid="ignore"):
        made = same(network(graph), {"x": x.astype(TYPES[dtype])})
    assert [n.attributes["upper"].value for n in made.graph if n.op_type == "Trilu"] == [0]


def test_the_diagonal_may_be_known_at_run_time_only():
    model = network("g (float[3,4] x, int64 k) => (float[3,4] y) { y = Trilu(x, k) }")
    for k in (-1, 2):
        same(model, {"x": models.normal(3, 4), "k": np.array(k)})


@pytest.mark.parametrize(("like", "to"), [("float16", 10), ("int64", 7), ("bool", 9)])
def test_a_cast_to_another_s_type_names_the_type(like, to):
    graph = f"g (float[3] x, {like}[1] z) => ({like}[3] y) {{ y = CastLike(x, z) }}"
    feed = {"x": models.normal(3), "z": np.zeros(1, TYPES[like])}
    (node,) = same(network(graph), feed).graph
    assert (node.op_type, node.attributes["to"].value) == ("Cast", to)


def test_a_lower_triangle_and_a_whole_shape_stay():
    model = network(
        "g (float[3,4] x) => (float[3,4] y, int64[2] s) { y = Trilu<upper = 0>(x) s = Shape(x) }"
    )
    assert without_quirks(model, OLD, "") is model


def test_inside_a_branch_too():
    branch = "then_branch = t () => (int64[n] a) { a = Shape<start = 1>(x) }"
    other = "else_branch = e () => (int64[m] b) { b = Shape<end = 1>(x) }"
    graph = f"g (float[2,3] x, bool c) => (int64[k] y) {{ y = If<{branch}, {other}>(c) }}"
    model = network(graph)
    for value in (True, False):
        same(model, {"x": models.normal(2, 3), "c": np.array(value)})
    assert operators(written(model)).count("Slice") == 2


CONV = """g (float[1,3,8,8] x) => (float[1,4,n,m] y) {{
    s = Constant<value = float {{0.1}}>() z = Constant<value = int8 {{0}}>()
    w = DequantizeLinear(q, s, z) [c] y = {0}(x, w) }}"""


@pytest.mark.parametrize(
    ("kind", "shape", "version"),
    [
        ("Conv", (4, 3, 3, 2), OLD),
        ("ConvTranspose", (3, 4, 2, 3), OLD),
        ("Conv", (4, 3, 1, 1), NEW),
    ],
)
def test_the_kernel_s_shape_is_written_where_its_weights_are_dequantised(kind, shape, version):
    proto = models.proto(CONV.format(kind), {"q": (models.normal(*shape) * 50).astype(np.int8)})
    model = ir.from_proto(proto)
    (node,) = (node for node in written(model, version).graph if node.name == "c")
    assert list(node.attributes["kernel_shape"].value) == list(shape[2:])
    same(model, {"x": models.normal(1, 3, 8, 8)})
    (given,) = (node for node in model.graph if node.name == "c")
    assert "kernel_shape" not in given.attributes, "the given model stays as it was"


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (
            "g (float[4] x, int64[2,1] i, float[2] u) => (float[4] y)"
            ' { [guilty] y = ScatterND<reduction = "add">(x, i, u) }',
            "ignores reduction='add'",
        ),
        (
            "g (float[4] x, int64[2] i, float[2] u) => (float[4] y)"
            ' { [guilty] y = ScatterElements<reduction = "mul">(x, i, u) }',
            "ignores reduction='mul'",
        ),
        (
            "g (float[1,1,4,4,4] x, float[1,2,2,2,3] i) => (float[1,1,2,2,2] y)"
            " { [guilty] y = GridSample(x, i) }",
            "crashes on volumes",
        ),
    ],
    ids=["ScatterND", "ScatterElements", "GridSample"],
)
def test_what_would_be_read_wrongly_is_refused_by_name(graph, why):
    # Operators that ONNX changed since: as of the opset that 8.6 reads, where they have these.
    model = network(graph, 18 if "mul" not in graph else 16)
    with pytest.raises(CompileError, match=why) as caught:
        without_quirks(model, OLD, "TensorRT 8.6.0")
    assert "guilty" in caught.value.what
    assert without_quirks(model, NEW, "TensorRT 10.0.1") is model
