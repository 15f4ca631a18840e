"""`.pt2` files: loaded when proven harmless, refused when any part of them could run code."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch

from roadworthy.core.errors import InputError, UntrustedError, UsageError
from roadworthy.source.torch import open_exported
from roadworthy.source.torch.exported import load_exported
from roadworthy.source.torch.grammar import is_guard, is_shape_expression
from roadworthy.source.torch.proof import prove_harmless
from tests.unit.source.torch.networks import ConvNet, DictOut
from tests.unit.source.torch.test_weights import Evil


def exported(path, module=None, example=None, dynamic=None):
    module = module or ConvNet().eval()
    example = torch.ones(2, 3, 8, 8) if example is None else example
    torch.export.save(torch.export.export(module, (example,), dynamic_shapes=dynamic), path)
    return path


def rewritten(path, change):
    """Rewrite the archive's records; `change(records)` edits them by name without the folder."""
    with zipfile.ZipFile(path) as archive:
        folder = archive.namelist()[0].partition("/")[0]
        records = {n.partition("/")[2]: archive.read(n) for n in archive.namelist()}
    change(records)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in records.items():
            archive.writestr(f"{folder}/{name}", content)
    return path


def in_program(edit):
    def change(records):
        program = json.loads(records["models/model.json"])
        edit(program)
        records["models/model.json"] = json.dumps(program).encode()

    return change


@pytest.mark.parametrize("dynamic", [None, {"image": {0: torch.export.Dim("n", min=1, max=8)}}])
def test_an_honest_archive_is_proven_loads_and_answers_alike(tmp_path, dynamic):
    source = open_exported(exported(tmp_path / "m.pt2", dynamic=dynamic))
    assert source.input_names == ("image",)
    image = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("f4")
    reference = source.reference({"image": image})
    with torch.no_grad():
        expected = ConvNet().eval()(torch.from_numpy(image)).numpy()
    np.testing.assert_array_equal(reference.judge.run({"image": image})["output"], expected)
    assert reference.fine is not None


def test_an_archive_exports_to_onnx_and_keeps_its_output_names(tmp_path):
    source = open_exported(exported(tmp_path / "m.pt2", DictOut().eval(), torch.ones(2, 3)))
    feed = {"x": np.ones((2, 3), np.float32)}
    signature = source.signature(feed)
    assert [spec.name for spec in signature.outputs] == ["scores", "nested_0", "nested_1_deep"]
    first = next(source.candidates(signature, feed))
    assert first.failure == "" and first.model is not None


def test_rewriting_without_a_change_is_still_proven(tmp_path):
    path = rewritten(exported(tmp_path / "m.pt2"), lambda records: None)
    prove_harmless(path.read_bytes(), "m.pt2")
    load_exported(path, trust=False)


def test_sample_inputs_with_code_are_refused_and_not_run(tmp_path):
    proof = tmp_path / "proof"
    stream = io.BytesIO()
    torch.save(((torch.ones(2, 3, 8, 8), Evil(proof)), {}), stream)

    def change(records):
        records["data/sample_inputs/model.pt"] = stream.getvalue()

    path = rewritten(exported(tmp_path / "m.pt2"), change)
    with pytest.raises(UntrustedError, match="sample_inputs"):
        load_exported(path, trust=False)
    assert not proof.exists()


def test_a_guard_with_code_is_refused_and_not_run(tmp_path):
    proof = tmp_path / "proof"
    code = f"__import__('os').system('touch {proof}') == 0"
    edit = in_program(lambda program: program.update(guards_code=[code]))
    path = rewritten(exported(tmp_path / "m.pt2"), edit)
    with pytest.raises(UntrustedError, match="guard"):
        load_exported(path, trust=False)
    assert not proof.exists()
    load_exported(path, trust=True)(torch.ones(2, 3, 8, 8))
    assert proof.exists()  # torch does execute guards: weights_only alone would not be enough


def test_a_shape_expression_with_code_is_refused_and_not_run(tmp_path):
    proof = tmp_path / "proof"

    def edit(program):
        value = next(iter(program["graph_module"]["graph"]["tensor_values"].values()))
        code = f"__import__('os').system('touch {proof}')"
        value["sizes"][0] = {"as_expr": {"expr_str": code, "hint": {"as_int": 2}}}

    path = rewritten(exported(tmp_path / "m.pt2"), in_program(edit))
    with pytest.raises(UntrustedError, match="expr_str"):
        load_exported(path, trust=False)
    assert not proof.exists()
    with pytest.raises(InputError):
        load_exported(path, trust=True)
    assert proof.exists()  # SymPy's sympify does evaluate it


@pytest.mark.parametrize(
    "target",
    ["torch.load", "torch.os.system", "_operator.methodcaller", "#ns:op", "builtins.eval",
     "torch.ops.aten.from_file.default", "torch.ops.aten.__class__.mro", "math.__loader__.x"],
)  # fmt: skip
def test_operators_outside_the_list_are_refused(tmp_path, target):
    def edit(program):
        program["graph_module"]["graph"]["nodes"][0]["target"] = target

    path = rewritten(exported(tmp_path / "m.pt2"), in_program(edit))
    with pytest.raises(UntrustedError, match="target"):
        load_exported(path, trust=False)


@pytest.mark.parametrize("name", ['a"),print(1),("', "a\n", "a b"])
@pytest.mark.parametrize("place", ["node", "parameter"])
def test_names_that_would_break_out_of_generated_code_are_refused(tmp_path, name, place):
    def edit(program):
        if place == "node":
            program["graph_module"]["graph"]["nodes"][0]["name"] = name
        else:
            specs = program["graph_module"]["signature"]["input_specs"]
            next(s["parameter"] for s in specs if "parameter" in s)["parameter_name"] = name

    path = rewritten(exported(tmp_path / "m.pt2"), in_program(edit))
    with pytest.raises(UntrustedError, match="name"):
        load_exported(path, trust=False)


@pytest.mark.parametrize(
    "name",
    ["data/constants/custom_obj_0", "data/constants/opaque_obj_0", "data/aotinductor/model/a.so",
     "data/constants/model.pt", "data/weights/model.pt", "unknown"],
)  # fmt: skip
def test_records_that_load_would_unpickle_or_run_are_refused(tmp_path, name):
    path = rewritten(exported(tmp_path / "m.pt2"), lambda records: records.update({name: b"x"}))
    with pytest.raises(UntrustedError):
        load_exported(path, trust=False)


def test_a_weight_marked_as_pickled_must_load_with_weights_only(tmp_path):
    proof = tmp_path / "proof"

    def change(records):
        name = "data/weights/model_weights_config.json"
        config = json.loads(records[name])
        payload = next(iter(config["config"].values()))
        payload["use_pickle"] = True
        records[f"data/weights/{payload['path_name']}"] = pickle.dumps(Evil(proof))
        records[name] = json.dumps(config).encode()

    path = rewritten(exported(tmp_path / "m.pt2"), change)
    with pytest.raises(UntrustedError, match="unpickled"):
        load_exported(path, trust=False)
    assert not proof.exists()


def test_an_enum_in_the_keys_of_a_tree_is_refused(tmp_path):
    def edit(program):
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        protocol, tree = json.loads(signature["out_spec"])
        tree["context"] = json.dumps({"__enum__": True, "fqn": "antigravity:x", "name": "y"})
        tree["type"] = "builtins.dict"
        signature["out_spec"] = json.dumps([protocol, tree])

    path = rewritten(exported(tmp_path / "m.pt2"), in_program(edit))
    with pytest.raises(UntrustedError, match="keys"):
        load_exported(path, trust=False)


def test_two_entries_of_one_name_are_refused(tmp_path):
    path = exported(tmp_path / "m.pt2")
    with zipfile.ZipFile(path) as archive:
        folder = archive.namelist()[0].partition("/")[0]
    with (
        zipfile.ZipFile(path, "a") as archive,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        archive.writestr(f"{folder}/models/model.json", "{}")
    with pytest.raises((UntrustedError, InputError)):
        load_exported(path, trust=False)


@pytest.mark.parametrize("trust", [True, False])
def test_files_that_are_no_archives_are_one_clear_error(tmp_path, trust):
    whole = exported(tmp_path / "m.pt2").read_bytes()
    (tmp_path / "cut.pt2").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "image.pt2").write_bytes(b"\x89PNG")
    (tmp_path / "empty.pt2").write_bytes(b"")
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.pt2")
    for name in ("cut", "image", "empty", "weights", "missing"):
        with pytest.raises(InputError):
            load_exported(tmp_path / f"{name}.pt2", trust)


def test_a_program_exported_in_training_mode_is_refused(tmp_path):
    path = exported(tmp_path / "m.pt2", ConvNet().train())
    with pytest.raises(UsageError, match="training mode") as caught:
        load_exported(path, trust=False)
    assert "eval()" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    "text",
    ["Add(Mul(Integer(96), Symbol('s73', positive=True, integer=True)), Integer(15))",
     "s0 + 2*s1", "Max(1, s3//2)", "Float('0.5', precision=53)", "FloorDiv(s0, 16) < 4"],
)  # fmt: skip
def test_shape_arithmetic_is_in_the_grammar(text):
    assert is_shape_expression(text)


@pytest.mark.parametrize(
    "text",
    ["__import__('os')", "Symbol('__import__(1)')", "open('x')", "(lambda: 1)()", "s0.__class__",
     "[x for x in s0]", "Symbol('a', **s0)", "eval", "s0\n+1", "f'{s0}'", "Integer(1);2"],
)  # fmt: skip
def test_code_is_not_in_the_shape_grammar(text):
    assert not is_shape_expression(text)


def test_the_guard_grammar_knows_sizes_and_nothing_else():
    assert is_guard("63 * max(1, 16 * ((15 + L['image'].size()[2]) // 16)) != 7")
    assert is_guard("L['image'].size()[2] % 2 == 0 and 2 <= L['image'].size()[0] <= 8")
    for text in (
        'L["x"] == ""',
        "L['x'].__class__",
        "L['x'].size(fn=1)",
        "print(1)",
        "L[open('x')]",
    ):
        assert not is_guard(text)
