"""Prove, without running any of it, that a `.pt2` archive brings no code along.

What torch 2.13's `torch.export.save` writes, and what `torch.export.load` does with it:

    models/NAME.json        load evaluates its shape expressions (SymPy's `sympify` is `eval`) and
                            looks its operators up by name; `.module()` executes its guards.
                            Asked here: a grammar for both, operators of aten and prims only.
    data/weights/weight_N, data/constants/tensor_N
                            raw bytes, or fully unpickled if the configuration beside them says
                            so. Asked here: that they load with weights_only=True.
    data/sample_inputs/NAME.pt
                            weights_only=True, then *fully unpickled if that fails*. Asked here:
                            that it doesn't fail.
    data/*/NAME_*_config.json, archive_format, archive_version, byteorder, .data/…, extra/…
                            read as text. Asked here: nothing.
    data/constants/custom_obj_N, opaque_obj_N
                            always fully unpickled: refused.
    data/aotinductor/…      machine code, loaded and run: refused.

So that weights_only holds for every payload isn't enough: the JSON can carry code too. Everything
not listed here is refused. The records are read with torch's own reader, from the very bytes that
are loaded afterwards, so that no second reading of the zip can differ from the first.
"""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

import torch

from roadworthy.core.errors import InputError, UntrustedError
from roadworthy.source.torch.grammar import is_guard, is_shape_expression

_REMEDY = "say --trust if you trust the file's origin, or export it again with torch 2.13"
_PLAIN = re.compile(
    r"^(archive_format|archive_version|byteorder|version|\.data/\w+|\.format_version"
    r"|\.storage_alignment|extra/.*|models/\w+\.json"
    r"|data/weights/(weight_\d+|\w+_weights_config\.json)"
    r"|data/constants/(tensor_\d+|\w+_constants_config\.json)"
    r"|data/sample_inputs/\w+\.pt)$"
)
_PAYLOAD = re.compile(r"^(weight|tensor)_\d+$")
_IDENTIFIER = re.compile(r"^[A-Za-z_]\w*$")
_DOTTED = re.compile(r"[\w.]*|-Infinity")
_ODD_LINE_ENDS = re.compile(r"[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_ATEN = re.compile(r"^torch\.ops\.(aten|prims)\.(\w+)\.(\w+)$")
_OTHER_TARGETS = re.compile(
    r"^(_operator\.(add|sub|mul|neg|pow|floordiv|truediv|mod|getitem|eq|ne|lt|le|gt|ge|and_|or_)"
    r"|math\.(ceil|floor|trunc|sqrt)"
    r"|torch\.(sym_(int|float|max|min|not|ite|sum)|_sym_sqrt)"
    r"|torch\.ops\.higher_order\.(cond|wrap_with_set_grad_enabled|wrap_with_autocast))$"
)
# Reads or writes a file named by an argument.
_FORBIDDEN_ATEN = frozenset({"from_file"})
_TREE_TYPES = frozenset(
    {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
)


def prove_harmless(content: bytes, where: str) -> None:
    """Raise unless loading these bytes with `torch.export.load` can run no code of theirs.

    Args:
        content: the whole `.pt2` file.
        where: its name, for messages.

    Raises:
        UntrustedError: something in it could run code; says what.
        InputError: it isn't a readable `.pt2` archive.
    """
    records = _read_records(content, where)
    try:
        for name in records:
            _check(_PLAIN.fullmatch(name) is not None, f"it holds {name!r}", where)
        for name, record in records.items():
            if name.startswith("data/sample_inputs/") and record:
                _prove_pickle(name, record, where)
            elif name.endswith("_config.json"):
                _prove_payloads(name, record, records, where)
            elif name.startswith("models/"):
                _prove_program(json.loads(record), where)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise UntrustedError(
            f"the archive has another form than torch 2.13 writes: {error!r}",
            where=where,
            remedy=_REMEDY,
        ) from error


def _read_records(content: bytes, where: str) -> dict[str, bytes]:
    try:
        reader = torch._C.PyTorchFileReader(io.BytesIO(content))
        names = list(reader.get_all_records())
        # torch.export.load falls back to another reader for archives without a common folder.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            raw = archive.namelist()
        records = {name: bytes(reader.get_record(name)) for name in names}
    except (RuntimeError, ValueError, zipfile.BadZipFile) as error:  # truncated: a negative seek
        raise InputError(
            f"the file can't be read as a .pt2 archive: {str(error).splitlines()[0]}",
            where=where,
            remedy="write it with torch.export.save",
        ) from error
    folders = {name.partition("/")[0] for name in raw}
    if len(set(raw)) != len(raw) or len(folders) != 1 or len(raw) != len(names):
        raise UntrustedError("the archive's entries are ambiguous", where=where, remedy=_REMEDY)
    if records.get("archive_format") != b"pt2":
        raise InputError(
            "the file isn't a .pt2 archive of torch.export",
            where=where,
            remedy="write it with torch.export.save; weights go to --weights",
        )
    return records


def _prove_pickle(name: str, record: bytes, where: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.load(io.BytesIO(record), weights_only=True, map_location="cpu")
    except Exception as error:  # any kind: what can't be proven isn't trusted
        raise UntrustedError(
            f"{name!r} inside the archive would be unpickled, which runs code",
            where=where,
            remedy=_REMEDY,
        ) from error


def _prove_payloads(config_name: str, config: bytes, records: dict[str, bytes], where: str) -> None:
    folder = config_name.rpartition("/")[0]
    for payload in json.loads(config)["config"].values():
        path = payload["path_name"]
        _check(_PAYLOAD.fullmatch(path) is not None, f"it holds the object {path!r}", where)
        if payload["use_pickle"]:
            _prove_pickle(f"{folder}/{path}", records[f"{folder}/{path}"], where)


def _prove_program(program: dict[str, Any], where: str) -> None:
    """Check everything in the program that load or `.module()` evaluates, runs or looks up."""
    for guard in program.get("guards_code", []):
        _check(is_guard(guard), f"its guard {guard!r} is more than arithmetic", where)
    for symbol in program["range_constraints"]:
        _check(_IDENTIFIER.fullmatch(symbol) is not None, f"its symbol is {symbol!r}", where)
    for entry in program["graph_module"]["module_call_graph"]:
        signature = entry["signature"] or {}
        for argument in signature.get("forward_arg_names") or ():
            _check(
                _IDENTIFIER.fullmatch(argument) is not None, f"an argument is {argument!r}", where
            )
        for tree in ("in_spec", "out_spec"):
            if tree in signature:
                _prove_tree(json.loads(signature[tree])[1], where)
    for key, value in _strings(program["graph_module"]):
        _check(_is_harmless(key, value), f"its program says {key} = {value!r}", where)


def _is_harmless(key: str, value: str) -> bool:
    """Judge one string by the key it stands under. Most end up as names in generated code."""
    if key in ("as_string", "as_strings", "in_spec", "out_spec"):
        return True  # quoted where it is used; the specs are proven apart
    if key == "expr_str":
        return is_shape_expression(value)
    if key in ("target", "as_operator"):
        return _is_known_target(value)
    if key == "metadata":
        return _ODD_LINE_ENDS.search(value) is None  # comments in generated code
    return _DOTTED.fullmatch(value) is not None


def _prove_tree(tree: dict[str, Any], where: str) -> None:
    """A tree's context may name an enum, which load imports: only plain keys are let through."""
    _check(tree["type"] in _TREE_TYPES, f"it takes or returns a {tree['type']}", where)
    context = json.loads(tree["context"]) if tree["context"] else None
    plain = context is None or (
        isinstance(context, list) and all(isinstance(key, str | int) for key in context)
    )
    _check(plain, f"its inputs or outputs have keys {context!r}", where)
    for child in tree["children_spec"]:
        _prove_tree(child, where)


def _is_known_target(target: str) -> bool:
    match = _ATEN.fullmatch(target)
    if match is None:
        return _OTHER_TARGETS.fullmatch(target) is not None
    namespace, name, overload = match.groups()
    packet = getattr(getattr(torch.ops, namespace), name, None)
    found = getattr(packet, overload, None)
    return isinstance(found, torch._ops.OpOverload) and name not in _FORBIDDEN_ATEN


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every string with the key it stands under, and every key, as a name."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield ("metadata" if key == "metadata" else "a key"), name
            yield from _strings(item, "metadata" if "metadata" in (key, name) else name)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, key)


def _check(holds: bool, what: str, where: str) -> None:
    if not holds:
        raise UntrustedError(
            f"loading the archive could run code: {what}", where=where, remedy=_REMEDY
        )
