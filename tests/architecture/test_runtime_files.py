"""A backend's runtime is sent to other interpreters: Python 3.8, NumPy, its runtime, its siblings.

It is a module `runtime.py`, or a package `runtime/` whose modules import one another relatively.
"""

from __future__ import annotations

import ast
import builtins
import subprocess
import symtable
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import roadworthy.backends
from roadworthy.backends.place import source_of

OLDEST = (3, 8)
# What a runtime is imported as, where that isn't the name of its backend's folder.
RUNTIMES: dict[str, set[str]] = {}

BACKENDS = Path(roadworthy.backends.__path__[0])
INSIDE = sorted(BACKENDS.glob("*/runtime/*.py"))
# The far side of a worker travels like a runtime, and hosts it there.
FILES = [*sorted(BACKENDS.glob("*/runtime.py")), *INSIDE, BACKENDS / "worker.py"]
PACKAGES = sorted({path.parent for path in INSIDE})
# Methods and functions that came after 3.8; syntax is left to `ast`.
LATER_NAMES = {"removeprefix", "removesuffix", "pairwise", "is_relative_to", "bit_count", "cache"}
LATER_KEYWORDS = {("zip", "strict"), ("dataclass", "slots"), ("dataclass", "kw_only")}


def where(path: Path) -> str:
    return str(path.relative_to(BACKENDS))


every_file = pytest.mark.parametrize("path", FILES, ids=where)
every_package = pytest.mark.parametrize("folder", PACKAGES, ids=where)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path), feature_version=OLDEST)


def test_there_are_such_files() -> None:
    backends = {path.relative_to(BACKENDS).parts[0] for path in FILES}
    assert {"onnxruntime", "openvino", "tensorrt", "tvm"} <= backends
    assert PACKAGES


@every_file
def test_it_is_python_3_8(path: Path) -> None:
    tree = parse(path)
    later = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in LATER_NAMES)
        or (
            isinstance(node, ast.Call)
            and any((ast.unparse(node.func), k.arg) in LATER_KEYWORDS for k in node.keywords)
        )
    ]
    assert not later


@every_file
def test_its_annotations_are_never_evaluated(path: Path) -> None:
    """Else `dict[str, int]` and `int | None` would fail on 3.8 when the module is imported."""
    futures = [node for node in parse(path).body if isinstance(node, ast.ImportFrom)]
    assert any(
        node.module == "__future__" and node.names[0].name == "annotations" for node in futures
    )


@every_file
def test_it_imports_only_the_standard_library_numpy_its_runtime_and_its_siblings(
    path: Path,
) -> None:
    backend = path.relative_to(BACKENDS).parts[0]
    allowed = sys.stdlib_module_names | {"numpy"} | RUNTIMES.get(backend, {backend})
    imported: set[str] = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            imported.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, f"line {node.lineno}: what is around a runtime isn't sent"
            assert path in INSIDE, f"line {node.lineno}: a lone file has no siblings"
            assert path.with_name(f"{node.module}.py").is_file(), f"line {node.lineno}"
    assert imported <= allowed


def tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from tables(child)


def names_of(path: Path) -> set[str]:
    """Return what a module binds at its top."""
    top = symtable.symtable(path.read_text(), str(path), "exec")
    return {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned()} | {
        symbol.get_name() for symbol in top.get_symbols() if symbol.is_imported()
    }


@every_file
def test_every_name_is_bound_in_its_own_file_or_imported(path: Path) -> None:
    """What can't run here (no GPU) must not fail there because a name stayed in another file."""
    known = names_of(path) | set(dir(builtins)) | {"__file__", "__name__", "channel"}
    used = {
        symbol.get_name()
        for table in tables(symtable.symtable(path.read_text(), str(path), "exec"))
        for symbol in table.get_symbols()
        if symbol.is_global() and symbol.is_referenced()
    }
    assert used <= known


@every_file
def test_what_it_imports_from_a_sibling_is_defined_there(path: Path) -> None:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            wanted = {alias.name for alias in node.names}
            assert wanted <= names_of(path.with_name(f"{node.module}.py")), f"line {node.lineno}"


@every_package
def test_all_its_files_are_sent(folder: Path) -> None:
    sent = source_of(f"roadworthy.backends.{folder.parent.name}.runtime")
    assert set(sent) == {path.stem.replace("__init__", "") for path in folder.glob("*.py")}
    assert not [path for path in folder.iterdir() if path.is_dir() and path.name != "__pycache__"]


@every_package
def test_it_can_be_imported_as_a_plain_folder(folder: Path) -> None:
    """By an interpreter that has no roadworthy, as benchmarks/tensorrt_bare.py does."""
    program = (
        "import sys; sys.modules['roadworthy'] = None; sys.path.append(sys.argv[1]); "
        "import runtime; print(sorted(vars(runtime)))"
    )
    ended = subprocess.run(
        [sys.executable, "-PB", "-c", program, folder.parent],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert {"NAME", "describe", "build", "Runner"} <= set(ast.literal_eval(ended.stdout))
