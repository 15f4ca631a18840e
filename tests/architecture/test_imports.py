"""Importing costs nothing until something is used; heavy packages have one door each."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import roadworthy

PACKAGE = Path(roadworthy.__path__[0])
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {
    *("numpy", "onnx", "onnx_ir", "onnxruntime", "onnxsim", "onnxslim", "onnxscript"),
    *("torch", "safetensors", "PIL", "openvino", "tensorrt", "tvm"),
}


def loaded_by(program: str) -> set[str]:
    """Return the packages that a fresh interpreter has loaded after a program."""
    program += "\nimport sys; print(*sys.modules, file=sys.stderr)"
    ended = subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {name.partition(".")[0] for name in ended.stderr.split()}


@cache
def imports(path: Path) -> frozenset[str]:
    """Return the top packages that a file imports anywhere, save for the type checker alone."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                # A runtime's files are imported under other names too, so they name no package.
                inside = path.parent.name == "runtime" and child.level == 1
                assert child.level == 0 or inside, f"{path}: relative import"
                if not child.level:
                    found.add(str(child.module).partition(".")[0])
            visit(child)

    visit(ast.parse(path.read_text()))
    return frozenset(found)


def where(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def importers(package: str) -> set[str]:
    return {where(path) for path in FILES if package in imports(path)}


def test_importing_roadworthy_imports_nothing_heavy():
    loaded = loaded_by("import roadworthy")
    assert not loaded & (HEAVY | {"typer", "rich", "click"})


def test_help_imports_nothing_heavy():
    program = "from roadworthy.cli.main import run; run(['--help']); run(['deploy', '--help'])"
    assert not loaded_by(program) & HEAVY


def test_an_onnx_file_is_simplified_without_torch():
    """onnxsim would import it; see `passes/simplify.py`. Who wants it afterwards finds it."""
    program = (
        "from importlib.util import find_spec; import onnx_ir as ir\n"
        "from roadworthy.passes.simplify import Simplify\n"
        "text = '<ir_version: 10, opset_import: [\"\": 21]> g (float[2] x) => (float[2] y) '\n"
        "assert Simplify()(ir.from_onnx_text(text + '{ y = Neg(x) }')).modified\n"
        "assert find_spec('torch')"
    )
    loaded = loaded_by(program)
    assert "onnxsim" in loaded
    assert "torch" not in loaded


def test_tvm_is_imported_without_torch():
    """It would import it; see `backends/tvm/runtime/machine.py`."""
    program = "from roadworthy.backends.tvm.runtime.machine import import_tvm; import_tvm()"
    loaded = loaded_by(program)
    assert "tvm" in loaded
    assert "torch" not in loaded


def test_the_core_needs_numpy_alone():
    for path in (PACKAGE / "core").glob("*.py"):
        strangers = imports(path) - sys.stdlib_module_names - {"roadworthy", "numpy"}
        # NumPy's own extension for bfloat16 and its like, where it is used at all.
        assert strangers <= {"ml_dtypes"}, where(path)


@pytest.mark.parametrize(
    ("package", "doors"),
    [
        ("torch", ("source/torch/", "torch_module.py")),  # docs/adr/0007
        ("safetensors", "source/torch/"),
        ("PIL", "vision/"),
        ("typer", "cli/"),
        ("rich", "cli/"),
        ("onnxsim", "passes/simplify.py"),
        ("onnxslim", "passes/slim.py"),
    ],
)
def test_a_package_with_one_door(package, doors):
    found = importers(package)
    assert found
    # A backend of torch's own would have a folder of that name.
    allowed = (*((doors,) if isinstance(doors, str) else doors), f"backends/{package}/")
    assert [name for name in found if not name.startswith(allowed)] == []


def test_a_runtime_is_imported_by_its_own_backend_and_by_the_oracles():
    """Reading an ONNX file is judged by ONNX Runtime as an oracle too (DESIGN.md, Reference)."""
    for runtime in ("onnxruntime", "openvino", "tensorrt", "tvm"):
        for name in importers(runtime):
            assert name.startswith((f"backends/{runtime}/", "source/onnx/")), (runtime, name)


def test_backends_do_not_import_one_another():
    folders = [item.name for item in (PACKAGE / "backends").iterdir() if item.is_dir()]
    for path in (PACKAGE / "backends").rglob("*.py"):
        own = path.parent.name
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(
                "roadworthy.backends."
            ):
                other = str(node.module).split(".")[2]
                assert other == own or other not in folders, where(path)


@pytest.mark.parametrize("path", FILES, ids=where)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", FILES, ids=where)
def test_every_public_function_and_class_says_what_it_is(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


def test_no_file_knows_the_machine_it_was_written_on():
    for path in FILES:
        for place in ("/work/", "/home/", "/root/", "/Users/"):
            assert place not in path.read_text(), (where(path), place)


def test_every_folder_is_a_package_that_can_be_found():
    for folder in PACKAGE.rglob("*"):
        if folder.is_dir() and folder.name != "__pycache__" and any(folder.glob("*.py")):
            name = ".".join(("roadworthy", *folder.relative_to(PACKAGE).parts))
            assert importlib.util.find_spec(name) is not None, name
            assert (folder / "__init__.py").is_file(), name
