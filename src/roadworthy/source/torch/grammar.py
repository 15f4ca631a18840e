"""The two little languages inside a `.pt2` that torch evaluates as Python, each with a grammar.

Shape expressions (`Add(Symbol('s40', positive=True), Integer(15))`) go through SymPy's `sympify`,
which is `eval`; guards (`L['x'].size()[0] >= 2`) are pasted into a function and executed. Only
arithmetic, comparisons, and calls of the functions listed here are let through.
"""

from __future__ import annotations

import ast
import re

_SHAPE_FUNCTIONS = frozenset(
    {
        "Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Mod", "Max", "Min", "Abs",
        "floor", "ceiling", "Equality", "Unequality", "Eq", "Ne", "Lt", "Le", "Gt", "Ge",
        "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan", "And", "Or", "Not",
        "FloorDiv", "ModularIndexing", "Where", "PythonMod", "CleanDiv", "CeilToInt", "FloorToInt",
        "CeilDiv", "IntTrueDiv", "FloatTrueDiv", "FloatPow", "PowByNatural", "TruncToInt",
        "TruncToFloat", "RoundToInt", "ToFloat", "Identity", "LShift", "RShift",
    }
)  # fmt: skip
_SHAPE_NAMES = re.compile(r"^([a-z]+\d+|true|false|oo|int_oo|zoo)$")
_GUARD_FUNCTIONS = frozenset(
    {"max", "min", "abs", "Max", "Min", "PythonMod", "Mod", "FloorDiv", "CeilToInt"}
)
_GUARD_METHODS = frozenset({"size", "stride", "storage_offset", "dim"})
_PLAIN_TEXT = re.compile(r"^[\w.+-]*$")
_ARITHMETIC = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.operator, ast.unaryop,
    ast.boolop, ast.cmpop, ast.Load,
)  # fmt: skip


def is_shape_expression(text: str) -> bool:
    """Tell whether a shape expression is nothing but arithmetic on symbols and numbers."""
    tree = _parse(text)
    return tree is not None and all(_is_shape_node(node) for node in ast.walk(tree))


def is_guard(text: str) -> bool:
    """Tell whether a guard is nothing but comparisons of the inputs' sizes and numbers."""
    tree = _parse(text)
    return tree is not None and all(_is_guard_node(node) for node in ast.walk(tree))


def _parse(text: str) -> ast.Expression | None:
    if "\n" in text or "#" in text or '"' in text or "\\" in text:
        return None
    try:
        return ast.parse(text, mode="eval")
    except (SyntaxError, ValueError):
        return None


def _is_shape_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id in _SHAPE_FUNCTIONS or bool(_SHAPE_NAMES.fullmatch(node.id))
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _SHAPE_FUNCTIONS
    if isinstance(node, ast.keyword):
        return node.arg is not None and isinstance(node.value, ast.Constant)
    return _is_common(node)


def _is_guard_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id in _GUARD_FUNCTIONS or node.id in ("L", "inf")
    if isinstance(node, ast.Attribute):
        return node.attr in _GUARD_METHODS
    if isinstance(node, ast.Call):
        named = isinstance(node.func, ast.Name) and node.func.id in _GUARD_FUNCTIONS
        return (named or isinstance(node.func, ast.Attribute)) and not node.keywords
    return isinstance(node, ast.Subscript) or _is_common(node)


def _is_common(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) or (
            isinstance(node.value, str) and bool(_PLAIN_TEXT.fullmatch(node.value))
        )
    return isinstance(node, _ARITHMETIC)
