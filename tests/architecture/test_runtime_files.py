"""`runtime.py` of a backend is sent to other interpreters: Python 3.8, NumPy, its runtime."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import roadworthy.backends

OLDEST = (3, 8)
# What a runtime is imported as, where that isn't the name of its backend's folder.
RUNTIMES: dict[str, set[str]] = {}

BACKENDS = Path(roadworthy.backends.__path__[0])
# The far side of a worker travels like a runtime, and hosts it there.
FILES = [*sorted(BACKENDS.glob("*/runtime.py")), BACKENDS / "worker.py"]
# Methods and functions that came after 3.8; syntax is left to `ast`.
LATER_NAMES = {"removeprefix", "removesuffix", "pairwise", "is_relative_to", "bit_count", "cache"}
LATER_KEYWORDS = {("zip", "strict"), ("dataclass", "slots"), ("dataclass", "kw_only")}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path), feature_version=OLDEST)


def test_there_is_such_a_file() -> None:
    assert "onnxruntime" in {path.parent.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_its_annotations_are_never_evaluated(path: Path) -> None:
    """Else `dict[str, int]` and `int | None` would fail on 3.8 when the module is imported."""
    futures = [node for node in parse(path).body if isinstance(node, ast.ImportFrom)]
    assert any(
        node.module == "__future__" and node.names[0].name == "annotations" for node in futures
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_it_imports_only_the_standard_library_numpy_and_its_runtime(path: Path) -> None:
    allowed = (
        sys.stdlib_module_names | {"numpy"} | RUNTIMES.get(path.parent.name, {path.parent.name})
    )
    imported: set[str] = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import can't be sent"
            imported.add(str(node.module).partition(".")[0])
    assert imported <= allowed
