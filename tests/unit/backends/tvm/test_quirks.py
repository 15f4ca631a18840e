"""What TVM's importer would read wrongly: said otherwise and answered rightly, or refused by name.

ONNX's own data (`tests/conformance`) has most of it; here is what they haven't.
"""

import numpy as np
import onnx_ir as ir
import pytest

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.tvm.compiler import BACKEND
from roadworthy.core.errors import CompileError
from roadworthy.core.target import Target
from roadworthy.graph.signature import signature_of

HEAD = '<ir_version: 9, opset_import: ["": 18]>\n'
INF = float("inf")


@pytest.fixture(scope="module", autouse=True)
def one_worker():
    with BACKEND.one_worker():
        yield


def compiled(text):
    model = ir.from_onnx_text(HEAD + text)
    options = CompileOptions(threads=1, spinning=False)
    return BACKEND.compile(model, signature_of(model), Target.parse("tvm"), options)


def answer(text, **feed):
    with compiled(text).open() as session:
        return session.run(feed)["y"]


REFUSED = {
    "BatchNormalization": (
        "g (float[1,2,3] x, float[2] s) => (float[1,2,3] y) "
        "{ [it] y = BatchNormalization <training_mode=1> (x, s, s, s, s) }"
    ),
    "Dropout": (
        "g (float[4] x) => (float[4] y) <float r = {0.5}, bool t = {1}> { [it] y = Dropout(x,r,t) }"
    ),
    "NonMaxSuppression": (
        "g (float[1,4,4] b, float[1,1,4] s) => (int64[n,3] y) { [it] y = NonMaxSuppression(b, s) }"
    ),
    "RoiAlign": (
        "g (float[1,1,8,8] x, float[2,4] r, int64[2] i) => (float[2,1,1,1] y) "
        '{ [it] y = RoiAlign <mode="max"> (x, r, i) }'
    ),
    "SequenceInsert": (
        "g (float[2] a, float[2] b) => (float[2] y) <int64 p = {-1}> "
        "{ s = SequenceConstruct(a, b) [it] t = SequenceInsert(s, a, p) y = SequenceAt(t, p) }"
    ),
}


@pytest.mark.parametrize("operator", REFUSED)
def test_what_would_be_wrong_is_refused_by_its_name(operator):
    with pytest.raises(CompileError) as caught:
        compiled(REFUSED[operator])
    assert f"TVM would misread {operator} (node 'it'): it " in caught.value.what
    assert "the answers would be wrong" in caught.value.what


def test_a_node_in_a_branch_is_refused_too():
    branch = "{ [it] a = Dropout(x, r, t) }"
    with pytest.raises(CompileError, match="node 'it'"):
        compiled(
            "g (float[4] x, bool c) => (float[4] y) <float r = {0.5}, bool t = {1}> { y = If(c) <"
            f"then_branch = t () => (float[4] a) {branch}, "
            "else_branch = e () => (float[4] b) { b = Relu(x) }> }"
        )


@pytest.mark.parametrize("given", ["r, f", "n, t"])
def test_a_dropout_that_drops_nothing_is_built(given):
    text = (
        "g (float[2] x) => (float[2] y) <float r = {0.5}, "
        "float n = {0}, bool f = {0}, bool t = {1}>"
        f" {{ y = Dropout(x, {given}) }}"
    )
    np.testing.assert_array_equal(answer(text, x=np.float32([1, -2])), [1, -2])


@pytest.mark.parametrize("target", [[2, 4, 1], [1, 1, 3], [7, 2, 1, 1]])
def test_expand_lets_both_widen(target):
    text = "g (float[2,1,3] x, int64[r] s) => (float[2,4,3] y) { y = Expand(x, s) }"
    text = text.replace("[r]", f"[{len(target)}]").replace(
        "[2,4,3]", "[" + "a,b,c,d"[: 2 * len(target) - 1] + "]"
    )
    x = np.random.default_rng(0).random((2, 1, 3), np.float32)
    y = answer(text, x=x, s=np.int64(target))
    np.testing.assert_array_equal(y, x * np.ones(target, np.float32))


def test_expand_of_an_axis_that_varies_is_built_only_where_it_keeps_its_size():
    keeps = (
        "g (float[n,1] x, float[1,m] o) => (float[n,m] y) { a = Shape<end=1>(x) "
        "b = Shape<start=1>(o) s = Concat<axis=0>(a, b) y = Expand(x, s) }"
    )
    x = np.float32([[1], [2]])
    np.testing.assert_array_equal(answer(keeps, x=x, o=np.ones((1, 3), np.float32)), x * np.ones(3))
    for widens in (
        "g (float[n,1] x, float[2,m] o) => (float[n,m] y) { s = Shape(o) [it] y = Expand(x, s) }",
        "g (float[n,1] x, int64[2] s) => (float[n,m] y) { [it] y = Expand(x, s) }",
    ):
        with pytest.raises(CompileError, match=r"misread Expand .node 'it'.*the axes n"):
            compiled(widens)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("detect_negative=0", [False, False, True, False]),
        ("detect_positive=0", [True, False, False, False]),
        ("detect_negative=0, detect_positive=0", [False] * 4),
    ],
)
@pytest.mark.parametrize("dtype", ["float", "double"])
def test_isinf_detects_what_it_is_asked_for(wanted, found, dtype):
    x = np.array([-INF, 1, INF, np.nan], {"float": "float32", "double": "float64"}[dtype])
    assert (
        answer(f"g ({dtype}[4] x) => (bool[4] y) {{ y = IsInf <{wanted}> (x) }}", x=x).tolist()
        == found
    )


@pytest.mark.parametrize(("operator", "wanted"), [("Max", 5), ("Mean", 2), ("Min", -1), ("Sum", 6)])
def test_scalars_are_taken_two_at_a_time(operator, wanted):
    text = f"g (float x, float z) => (float y) <float c = {{2}}> {{ y = {operator}(x, c, z) }}"
    assert answer(text, x=np.array(-1, "f4"), z=np.array(5, "f4")) == wanted
