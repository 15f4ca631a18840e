"""Every TensorRT member that our runtime uses is in 8.6, 10 and 11, or behind a branch on that.

`data/api_members.json` lists the members of the Python bindings, read from the bindings.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from roadworthy.backends.tensorrt import compiler

API = json.loads((Path(__file__).parent / "data" / "api_members.json").read_text())
FILES = sorted(Path(compiler.__file__).with_name("runtime").glob("*.py"))
# What our variables hold: their attributes are checked too.
HOLDS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "parser": "OnnxParser",
    "error": "ParserError",
    "profile": "IOptimizationProfile",
    "cache": "ITimingCache",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "inspector": "EngineInspector",
    "raw": "IExecutionContext",
    "flag": ("BuilderFlag", "NetworkDefinitionCreationFlag"),
}
# Python's own on objects of those names (an exception called `error`, say), or ours.
OURS = {"add_note", "code", "run"}


def guards(tree: ast.AST) -> Iterator[tuple[ast.Attribute, list[tuple[ast.expr, bool]]]]:
    """Every attribute access with the conditions it stands behind, and how they came out."""

    def walk(node: ast.AST, known: list[tuple[ast.expr, bool]]):
        if isinstance(node, ast.Attribute):
            yield node, known
        if isinstance(node, ast.If):
            yield from walk(node.test, known)
            for child in node.body:
                yield from walk(child, [*known, (node.test, True)])
            for child in node.orelse:
                yield from walk(child, [*known, (node.test, False)])
            return
        for child in ast.iter_child_nodes(node):
            yield from walk(child, known)

    yield from walk(tree, [])


def is_reached(conditions: list[tuple[ast.expr, bool]], version: str) -> bool:
    """Evaluate conditions on version and presence; what else they ask may come out either way."""
    numbers = tuple(int(part) for part in version.split(".")[:2])
    names = {
        "version_of": lambda _: numbers,
        "major": numbers[0],
        "is_strong": lambda *_: numbers[0] >= 11,
        "hasattr": lambda holder, name: (
            name in (API[version] if holder.kind == "trt" else API[version][holder.kind])
        ),
        "trt": SimpleNamespace(PreviewFeature=SimpleNamespace(kind="PreviewFeature"), kind="trt"),
        "config": SimpleNamespace(kind="IBuilderConfig"),
        "error": SimpleNamespace(kind="ParserError"),
        "spec": {},
    }
    for test, wanted in conditions:
        parts = (
            test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]
        )
        for part in parts:
            try:
                found = bool(eval(compile(ast.Expression(part), "guard", "eval"), dict(names)))
            except (NameError, AttributeError, KeyError, TypeError):
                continue
            if wanted and not found:
                return False
            if not wanted and found and len(parts) == 1:
                return False
    return True


def missing(node: ast.Attribute, version: str) -> bool:
    """Tell whether this access needs a member that a version doesn't have."""
    api, value = API[version], node.value
    if node.attr.startswith("__") or getattr(value, "attr", "").startswith("__"):
        return False
    if isinstance(value, ast.Name) and value.id == "trt":
        return node.attr not in api
    if isinstance(value, ast.Attribute) and ast.unparse(value.value) in ("trt", "self._trt"):
        return node.attr not in api.get(value.attr, [])
    holder = value.id if isinstance(value, ast.Name) else getattr(value, "attr", "")
    if holder not in HOLDS or node.attr in OURS or node.attr.startswith("_"):
        return False
    kinds = HOLDS[holder]
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    return all(node.attr not in api.get(kind, []) for kind in kinds)


def uses_missing(source: str, version: str) -> list[str]:
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node, conditions in guards(ast.parse(source))
        if missing(node, version) and is_reached(conditions, version)
    ]


@pytest.mark.parametrize("version", API)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_member_is_there_or_branched_on(path: Path, version: str) -> None:
    assert uses_missing(path.read_text(), version) == []


def test_the_files_that_call_tensorrt_are_among_them() -> None:
    """Were the runtime to move, every test above would be gone without a word."""
    calling = {path.stem for path in FILES if "trt." in path.read_text()}
    assert {"builder", "config", "plan", "engine", "log", "memory"} <= calling


@pytest.mark.parametrize(
    ("code", "lacking"),
    [
        ("def f(flag, config): config.set_flag(flag.FP16)", ["11.4.0"]),
        ("def f(trt): trt.TensorIOMode.SIDEWAYS", list(API)),
        ("def f(config): config.progress_monitor = 1", ["8.6.0"]),
        (
            "def f(config):\n if hasattr(config, 'progress_monitor'): config.progress_monitor = 1",
            [],
        ),
        ("def f(trt):\n if version_of(trt)[0] < 10: trt.BuilderFlag.FP16", []),
        ("def f(trt):\n if version_of(trt)[0] >= 10: trt.BuilderFlag.FP16", ["11.4.0"]),
    ],
)
def test_the_check_sees_what_it_should(code: str, lacking: list[str]) -> None:
    assert [version for version in API if uses_missing(code, version)] == lacking
