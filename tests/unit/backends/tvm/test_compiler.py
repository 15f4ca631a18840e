"""TVM, built and run in a worker: right answers from its scheduled loops, and plain refusals."""

import json
import os

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.tvm import compiler
from roadworthy.backends.tvm.compiler import BACKEND, _spec
from roadworthy.core.cpus import usable_cpus
from roadworthy.core.errors import CompileError, UnavailableError
from roadworthy.core.target import Target
from roadworthy.graph.signature import signature_of

TVM = Target.parse("tvm")
HEAD = '<ir_version: 9, opset_import: ["": 17, "my.own": 1]>\n'

# The body, x's shape, the weight's: shapes that tile evenly and shapes that don't, rows computed in
# vectors and rows summed over.
NETWORKS = {
    "convolution": ("y = Conv <pads=[1,1,1,1]> (x, k)", (1, 16, 12, 20), (32, 16, 3, 3)),
    "strides": ("y = Conv <pads=[1,2,0,1], strides=[2,3]> (x, k)", (1, 3, 17, 23), (16, 3, 5, 3)),
    "odd channels": ("y = Conv (x, k)", (2, 7, 5, 11), (13, 7, 1, 1)),
    "depthwise": ("y = Conv <group=16, pads=[1,1,1,1]> (x, k)", (1, 16, 9, 9), (16, 1, 3, 3)),
    "transposed": ("y = ConvTranspose <strides=[2,2]> (x, k)", (1, 32, 8, 6), (32, 16, 2, 2)),
    "transposed, overlapping": (
        "y = ConvTranspose <strides=[2,3], pads=[1,0,2,1], output_padding=[1,2]> (x, k)",
        (1, 5, 7, 4),
        (5, 16, 5, 4),
    ),
    "transposed, dilated": (
        "y = ConvTranspose <strides=[2,2], dilations=[2,1]> (x, k)",
        (1, 4, 5, 5),
        (4, 8, 3, 3),
    ),
    "transposed, stride 1": ("y = ConvTranspose (x, k)", (1, 8, 5, 5), (8, 16, 3, 3)),
    "matrices": ("y = MatMul (x, k)", (3, 50, 64), (64, 96)),
    "activation": ("c = Conv (x, k) r = Relu(c) y = Add(r, r)", (1, 8, 6, 6), (16, 8, 1, 1)),
    "pooled": (
        "c = Conv (x, k) y = MaxPool <kernel_shape=[2,2], strides=[2,2]> (c)",
        (1, 8, 6, 6),
        (16, 8, 1, 1),
    ),
    "normalised rows": ("m = MatMul (x, k) y = Softmax <axis=-1> (m)", (40, 64), (64, 300)),
}


@pytest.fixture(scope="module", autouse=True)
def one_worker():
    with BACKEND.one_worker():
        yield


def compiled(model, **options):
    model = model if isinstance(model, ir.Model) else ir.from_onnx_text(HEAD + model)
    options = CompileOptions(**{"threads": 2, **options})
    return BACKEND.compile(model, signature_of(model), TVM, options)


def with_weights(name):
    """A model in which `k` is a weight, an input for it, and what ONNX Runtime answers."""
    body, shape, kernel = NETWORKS[name]
    random = np.random.default_rng(0)
    x, k = (random.standard_normal(size).astype(np.float32) for size in (shape, kernel))
    sizes = ", ".join(map(str, shape))
    axes = ", ".join(f"o{axis}" for axis in range(len(shape)))
    proto = onnx.parser.parse_model(
        f"{HEAD}g (float[{sizes}] x) => (float[{axes}] y) <float[1] k = {{0.0}}> {{ {body} }}"
    )
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(k, "k"))
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return ir.from_proto(proto), x, session.run(None, {"x": x})[0]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("optimise", [True, False], ids=["scheduled", "plain"])
def test_answers_are_those_of_onnx_runtime(name, optimise):
    model, x, want = with_weights(name)
    with compiled(model, optimise=optimise).open() as session:
        y = session.run({"x": x})["y"]
    np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("filters", [16, 5])
def test_axes_that_vary_are_answered_at_every_size(filters):
    weights = np.random.default_rng(0).standard_normal((filters, 3, 3, 3)).astype(np.float32)
    proto = onnx.parser.parse_model(
        f"{HEAD}g (float[n, 3, h, w] x) => (float[n, {filters}, h, w] y) <float[1] k = {{0.0}}>"
        " { c = Conv <pads=[1,1,1,1]> (x, k) y = Relu(c) }"
    )
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "k"))
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    with compiled(ir.from_proto(proto)).open() as ours:
        for size in ((1, 8, 8), (2, 33, 47), (1, 5, 1)):
            x = np.random.default_rng(1).standard_normal((size[0], 3, *size[1:]), np.float32)
            want = session.run(None, {"x": x})[0]
            np.testing.assert_allclose(ours.run({"x": x})["y"], want, rtol=1e-4, atol=1e-4)


def test_the_proof_counts_what_was_scheduled_and_how():
    model, _, _ = with_weights("convolution")
    proof = compiled(model).proof
    assert proof["layers"].keys() == {"fp32"}
    assert set(proof["nodes"].values()) == {"fp32"}
    assert proof["schedule"] == "rules"
    assert proof["functions"]["tiled"] == 1
    assert (
        proof["functions"]["plain"] + proof["functions"]["parallel"] + 1
        == (proof["functions"]["all"])
    )
    assert proof["tuning"]["budget_seconds"] == proof["tuning"]["candidates_measured"] == 0
    assert compiled(model, optimise=False).proof["schedule"] == "none"


def test_tuning_keeps_to_its_budget_in_what_it_measures_and_says_so():
    model, x, want = with_weights("convolution")
    engine = compiled(model, extra=(("tuning_seconds", "2"),))
    tuning = engine.proof["tuning"]
    assert tuning["budget_seconds"] == 2
    assert tuning["candidates_measured"] >= 1
    assert tuning["functions_tuned"] <= tuning["functions"] == 1
    assert_says_what_was_kept(engine)
    with engine.open() as session:
        np.testing.assert_allclose(session.run({"x": x})["y"], want, rtol=1e-4, atol=1e-4)


def assert_says_what_was_kept(engine):
    """Both medians, and the smaller one's side; nothing is compared where nothing was improved."""
    tuning, said = engine.proof["tuning"], [line for line in engine.log if "the whole" in line]
    if not tuning["functions_improved"]:
        assert (tuning["kept"], tuning["rules_ms"], tuning["tuned_ms"]) == ("rules", None, None)
        return
    assert tuning["rules_ms"] > 0 < tuning["tuned_ms"]
    assert tuning["kept"] == ("tuned" if tuning["tuned_ms"] < tuning["rules_ms"] else "rules")
    assert len(said) == 1 and said[0].endswith(f"kept {tuning['kept']}")


@pytest.mark.parametrize("wins", ["rules", "tuned"])
def test_what_wins_as_a_whole_ships(wins, monkeypatch):
    """Tuning "finds" a function that adds twice, so that the library tells which one it is."""
    import tvm

    from roadworthy.backends.tvm.runtime import compiler, machine

    monkeypatch.setattr(
        compiler, "kept", lambda *_: {"kept": wins, "rules_ms": 2.0, "tuned_ms": 1.0}
    )
    made = compiler.Compiler(tvm, machine.target_for(tvm, "", 1), lambda _: None)
    monkeypatch.setattr(made, "_linked", lambda module: module)
    monkeypatch.setattr(compiler, "opened", lambda *_: None)
    monkeypatch.setattr(compiler.Path, "write_bytes", lambda *_: None)
    rules, other = one_function(tvm, 1.0), one_function(tvm, 2.0)
    (name,) = [name for name in rules.functions if name.name_hint == "f"]
    found = {name: other["f"]}
    monkeypatch.setattr(compiler.Tuner, "tune", lambda *_: found)
    library = made._tuned(rules, {}, rules, 1.0)
    tvm.ir.assert_structural_equal(library["f"], (other if wins == "tuned" else rules)["f"])
    tvm.ir.assert_structural_equal(rules["f"], one_function(tvm, 1.0)["f"])
    assert made.proof["tuning"]["kept"] == wins
    assert made.log == [f"the whole takes 2 ms by rule and 1 ms tuned: kept {wins}"]


def one_function(tvm, number):
    """A module whose function "f" adds a number."""
    te, relax = tvm.te, tvm.relax
    x = te.placeholder((4,), "float32", "x")
    function = te.create_prim_func([x, te.compute((4,), lambda i: x[i] + np.float32(number))])
    builder = relax.BlockBuilder()
    with builder.function("main", [relax.Var("x", relax.TensorType((4,), "float32"))]):
        builder.emit_func_output(relax.const(0.0))
    module = builder.get()
    module.update_func(tvm.ir.GlobalVar("f"), function)
    return module


def test_a_network_whose_axes_vary_is_not_tuned_and_that_is_said():
    engine = compiled(
        "g (float[n] x) => (float[n] y) { y = Relu(x) }", extra=(("tuning_seconds", "1"),)
    )
    assert engine.proof["tuning"]["candidates_measured"] == 0
    assert any(line.startswith("not tuned: axes vary") for line in engine.log)


def test_another_host_counts_its_own_cpus():
    signature = signature_of(
        ir.from_onnx_text(f"{HEAD}g (float[2] x) => (float[2] y) {{ y = Relu(x) }}")
    )
    far = Target.parse("tvm@ssh=user@far")
    assert _spec(signature, far, CompileOptions())["threads"] is None
    assert _spec(signature, far, CompileOptions(threads=3))["threads"] == 3
    for here in (TVM, Target.parse("tvm@python=/usr/bin/python3")):
        assert _spec(signature, here, CompileOptions())["threads"] == usable_cpus()


def test_where_nobody_says_how_many_threads_the_runtime_takes_its_processs_cpus(monkeypatch):
    monkeypatch.setattr(compiler, "usable_cpus", lambda: None)
    engine = compiled("g (float[2] x) => (float[2] y) { y = Relu(x) }", threads=None)
    assert engine.proof["threads"] == len(os.sched_getaffinity(0))
    with engine.open() as session:
        assert session.run({"x": np.float32([-1, 1])})["y"].tolist() == [0, 1]


def test_unsupported_operators_are_named_with_all_their_nodes():
    graph = (
        "g (float[2,2] x) => (float[2,2] y) { [first] a = Celu(x) [second] b = Celu(a) y = Det(b) }"
    )
    with pytest.raises(CompileError, match="TVM has no operator for") as caught:
        compiled(graph)
    assert "Celu (node 'first', node 'second')" in str(caught.value)
    assert "Det (node 'Det of y')" in str(caught.value)


def test_an_operator_of_another_domain_is_not_taken_for_the_standards():
    with pytest.raises(CompileError, match=r"my\.own\.Relu \(node 'Relu of y'\)"):
        compiled("g (float[2] x) => (float[2] y) { y = my.own.Relu(x) }")


def test_a_model_that_the_importer_refuses_names_the_node_and_the_axes_that_vary():
    graph = "g (float[n] x, int64[1] k) => (float[m] v, int64[m] i) { [top] v, i = TopK(x, k) }"
    with pytest.raises(CompileError, match="node 'top'") as caught:
        compiled(graph)
    assert "the axes n vary" in str(caught.value)
    assert "--inputs" in caught.value.remedy


def test_only_fp32_is_built():
    with pytest.raises(UnavailableError, match="fp16"):
        compiled("g (float[2] x) => (float[2] y) { y = Relu(x) }", precision="fp16")


def with_contract(engine, **changes):
    contract = json.loads(engine.files["contract.json"])
    contract.update(changes)
    files = {**engine.files, "contract.json": json.dumps(contract).encode()}
    return Engine(TVM, engine.signature, files, engine.options, engine.fingerprint)


def test_a_library_for_another_cpu_is_refused_before_it_is_loaded():
    engine = compiled("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    with pytest.raises(CompileError, match="needs avx9000, which this CPU hasn't got"):
        with_contract(engine, features=["avx9000"]).open()
    with pytest.raises(CompileError, match="built for vax"):
        with_contract(engine, machine="vax").open()
    with pytest.raises(CompileError, match=r"built by TVM 0\.1"):
        with_contract(engine, tvm="0.1").open()


@pytest.mark.parametrize("mcpu", ["x86-64-v2", "x86-64-v3"])
def test_a_library_can_be_built_for_an_older_cpu(mcpu):
    model, x, want = with_weights("convolution")
    engine = compiled(model, extra=(("mcpu", mcpu),))
    features = json.loads(engine.files["contract.json"])["features"]
    assert "avx512f" not in features
    assert ("avx2" in features) == (mcpu == "x86-64-v3")
    with engine.open() as session:
        np.testing.assert_allclose(session.run({"x": x})["y"], want, rtol=1e-4, atol=1e-4)


def test_a_cpu_that_llvm_does_not_know_is_refused():
    with pytest.raises(CompileError, match="LLVM knows no CPU 'pentium9'"):
        compiled("g (float[2] x) => (float[2] y) { y = Relu(x) }", extra=(("mcpu", "pentium9"),))


def test_times_are_taken_in_the_worker():
    with compiled("g (float[2] x) => (float[2] y) { y = Relu(x) }").open() as session:
        assert session.times_itself
        times = session.time({"x": np.zeros(2, np.float32)}, runs=5, lead=2)
    assert {name: len(values) for name, values in times.items()} == {"host": 5, "device": 5}


def test_a_profile_tells_the_functions_that_ran_in_order_and_their_shares():
    model, x, want = with_weights("pooled")
    engine = compiled(model)
    with engine.open() as session:
        rows = session.profile({"x": x}, 5)
        np.testing.assert_allclose(session.run({"x": x})["y"], want, rtol=1e-4, atol=1e-4)
    functions = [row for row in rows if row["kind"] == "function"]
    # All that were compiled, each of which is called here.
    assert len(functions) == engine.proof["functions"]["all"]
    order = [row["name"] for row in functions]
    assert order.index("conv2d") < order.index("max_pool2d")
    assert {row["precision"] for row in functions} == {"fp32"}
    builtins = [row for row in rows if row["kind"] == "builtin"]
    assert all(row["name"].startswith("vm.builtin.") for row in builtins)
    # Which nodes are in a function, TVM doesn't tell.
    assert all(row["onnx"] == [] for row in rows)
    assert sum(row["share"] for row in rows) == pytest.approx(1, abs=1e-3)
    assert all(row["median_us"] > 0 for row in rows)


def test_the_fingerprint_says_the_cpu_and_what_it_can():
    found = BACKEND.fingerprint(TVM)
    assert found["runtime"] == "tvm"
    assert {"version", "cpu", "features", "triple", "system", "machine"} <= set(found)
    support = BACKEND.supports(Target.parse("tvm==0.1"))
    assert not support.ok
    assert "0.1 was asked for" in support.reason
    assert not BACKEND.supports(Target.parse("tvm:cuda")).ok
