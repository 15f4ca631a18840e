"""Random small graphs keep their answers through the standard passes."""

from __future__ import annotations

import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st

from roadworthy.core.verdict import Tolerance
from roadworthy.graph.signature import signature_of
from roadworthy.passes.catalogue import standard_passes
from roadworthy.passes.guard import run_guarded
from roadworthy.verify.metrics import compare_pair
from tests.models import engine, network, normal

LIMITS = {name: Tolerance("relative_l2", 1e-5, "two runtimes of FP32") for name in ("y", "z")}
PROBES = [("s0", {"x": normal(3, 4)}), ("s1", {"x": normal(1, 4, seed=1)})]
UNARY = ("Relu", "Neg", "Identity", "Tanh", "Abs", "Dropout")
BINARY = ("Add", "Sub", "Mul", "Max")
# Each makes a value of shape [n, 4] from one or two of that shape.
SHAPED = (
    "{o} = MatMul({a}, w)",
    "{o} = Add({a}, b)",
    "{o} = Mul({a}, ones)",
    "{o} = Add({a}, zeros)",
    "{o}t = Transpose<perm = [1, 0]>({a}) {o} = Transpose<perm = [1, 0]>({o}t)",
    "{o}l, {o}r = Split<axis = 1, num_outputs = 2>({a}) {o} = Concat<axis = 1>({o}r, {o}l)",
    "{o}l = Slice({a}, i0, i2, i1) {o}r = Slice({b}, i2, i4, i1) "
    "{o} = Concat<axis = 1>({o}l, {o}r)",
    "{o}s = Shape({a}) {o}f = Reshape({a}, flat) {o} = Reshape({o}f, {o}s)",
    "{o}k = Constant<value_floats = [0.5, -1.0, 2.0, 0.25]>() {o} = Mul({a}, {o}k)",
    "{o}u = Unsqueeze({a}, i1) {o} = Squeeze({o}u, i1)",
    "{o}c = Cast<to = 11>({a}) {o} = Cast<to = 1>({o}c)",
    "{o}g = Greater({a}, {b}) {o} = Where({o}g, {a}, {b})",
)
WEIGHTS = {"w": normal(4, 4), "b": normal(4), "ones": normal(4) * 0 + 1, "zeros": normal(4) * 0}
CONSTANTS = (
    "i0 = Constant<value_ints = [0]>() i1 = Constant<value_ints = [1]>() "
    "i2 = Constant<value_ints = [2]>() i4 = Constant<value_ints = [4]>() "
    "flat = Constant<value_ints = [-1]>()"
)


@st.composite
def graphs(draw: st.DrawFn) -> str:
    """A graph of [n, 4] values: each node takes any earlier ones, some are never used."""
    values, lines = ["x"], [CONSTANTS]
    for index in range(draw(st.integers(1, 10))):
        a, b = draw(st.sampled_from(values)), draw(st.sampled_from(values))
        form = draw(
            st.one_of(
                st.sampled_from([f"{{o}} = {op}({{a}})" for op in UNARY]),
                st.sampled_from([f"{{o}} = {op}({{a}}, {{b}})" for op in BINARY]),
                st.sampled_from(SHAPED),
            )
        )
        lines.append(form.format(o=f"v{index}", a=a, b=b))
        values.append(f"v{index}")
    for name in ("y", "z"):
        lines.append(f"{name} = Identity({draw(st.sampled_from(values))})")
    return f"g (float[n, 4] x) => (float[n, 4] y, float[n, 4] z) {{ {' '.join(lines)} }}"


@given(graphs())
@settings(max_examples=40)
def test_answers_and_signature_stay_and_the_input_is_left_alone(graph: str) -> None:
    model = network(graph, WEIGHTS)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    after, records = run_guarded(model, standard_passes(), PROBES, LIMITS, lambda what, share: None)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    assert [record.name for record in records] == [item.name for item in standard_passes()]
    assert signature_of(after) == signature_of(model)
    with engine(model).open() as old, engine(after).open() as new:
        for rows in (1, 2, 5):  # sizes that the guard has not seen, too
            feed = {"x": normal(rows, 4, seed=rows)}
            expected, answers = old.run(feed), new.run(feed)
            for name, array in expected.items():
                pair = compare_pair(array, answers[name])
                assert pair.relative_l2 <= 1e-5 and not pair.nonfinite
