"""Named arrays as `.npz` bytes and back: the same arrays give the same bytes, nothing is pickled.

The file is a stored zip of `.npy` members, so `numpy.load` opens it anywhere. Two kinds of array
have no `.npy` form of their own; a member `special.json` tells of them:

1. dtypes beyond NumPy's (bfloat16, float8, int4, …): the member holds the bits as unsigned
   integers, `special.json` names the dtype; `array.view(ml_dtypes.bfloat16)` gives it back.
2. text of any length (dtype object or StringDType): shape and strings stand in `special.json`;
   it comes back with dtype object, as ONNX Runtime gives it.

Arrays are stored little-endian and in C order. The `.npy` header is NumPy's format 1.0
(numpy.lib.format), written and read here without `eval`.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from roadworthy.bundle.strict import Fields, load_object, refuse
from roadworthy.bundle.zipcheck import read_entries
from roadworthy.bundle.zipform import ZipWriter
from roadworthy.core.errors import UsageError
from roadworthy.core.jsonable import dumps
from roadworthy.core.signature import Answers, Array

SPECIAL = "special.json"

_PLAIN = {
    np.dtype(name).newbyteorder("<").str: name
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
}
# Those of ml_dtypes that ONNX has, and the unsigned integers that hold their bits.
_BITS = {"bfloat16": "<u2"} | dict.fromkeys(
    (
        *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
        *("float4_e2m1fn", "int4", "uint4", "int2", "uint2"),
    ),
    "|u1",
)
DTYPES = frozenset({*_PLAIN.values(), *_BITS, "str"})
"""The names of all dtypes that a bundle can hold, as signatures write them."""
EXTENDED = frozenset(_BITS)
"""Those of them that NumPy itself doesn't know."""

_MAGIC = b"\x93NUMPY\x01\x00"
_ALIGNMENT = 64
_MOST_AXES = 64  # NumPy 2's limit
_HEADER = re.compile(
    rb"\{'descr': '([<|][a-zU]\d{1,9})', 'fortran_order': False, "
    rb"'shape': \(((?:\d{1,19}, ?)*(?:\d{1,19})?)\), \} *\n"
)
_LAST_CODE_POINT = 0x10FFFF


def pack(arrays: Mapping[str, Array]) -> bytes:
    """Return arrays as the bytes of an `.npz`.

    Args:
        arrays: any names; dtypes in `DTYPES`, any shape, strides and byte order.

    Raises:
        UsageError: another dtype, Python objects other than text, an impossible name.
    """
    buffer = io.BytesIO()
    file = ZipWriter(buffer)
    bits: dict[str, str] = {}
    text: dict[str, Any] = {}
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        if array.dtype.kind in "OT":
            text[name] = _text(name, array)
            continue
        if array.dtype.name in _BITS:
            bits[name] = array.dtype.name
        file.add(f"{name}.npy", npy(bits_of(array), name))
    if bits or text:
        file.add(SPECIAL, dumps({"bits": bits, "text": text}).encode())
    file.close()
    return buffer.getvalue()


def bits_of(array: Array) -> Array:
    """Return the bits of an array of an `EXTENDED` dtype as unsigned integers, others as is."""
    dtype = _BITS.get(array.dtype.name)
    return array if dtype is None else np.asarray(array, order="C").view(dtype)


def npy(array: Array, name: str) -> bytes:
    """Return one array of a plain dtype as the bytes of an `.npy`; `name` is for messages.

    Raises:
        UsageError: a dtype without a portable form.
    """
    little = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    if little.dtype.kind == "U" and little.dtype.itemsize == 0:
        little = little.astype("<U1")
    if little.dtype.str not in _PLAIN and little.dtype.kind != "U":
        raise UsageError(
            f"array {name!r} has dtype {array.dtype}, which a bundle can't hold",
            remedy=f"convert it to one of: {', '.join(sorted(DTYPES))}",
        )
    shape = ", ".join(map(str, little.shape)) + ("," if little.ndim == 1 else "")
    text = f"{{'descr': '{little.dtype.str}', 'fortran_order': False, 'shape': ({shape}), }}"
    padding = -(len(_MAGIC) + 2 + len(text) + 1) % _ALIGNMENT
    header = text.encode() + b" " * padding + b"\n"
    return _MAGIC + len(header).to_bytes(2, "little") + header + little.tobytes()


def unpack(data: bytes, where: str) -> Answers:
    """Return the arrays of an `.npz` that `pack` wrote; each owns its memory.

    Args:
        data: the file's content; trusted in nothing.
        where: what to call it in messages.

    Raises:
        BundleError: anything that `pack` doesn't write. Nothing is unpickled or evaluated, and
            no more memory is taken than the data itself needs.
    """
    file = io.BytesIO(data)
    members = {
        entry.name: data[entry.start : entry.end] for entry in read_entries(file, len(data), where)
    }
    special = members.pop(SPECIAL, None)
    arrays: Answers = {}
    for member, content in members.items():
        if not member.endswith(".npy"):
            refuse(f"{member!r} in the zip isn't an array", where)
        arrays[member.removesuffix(".npy")] = read_npy(content, f"{where}: {member}")
    if special is not None:
        _add_special(arrays, special, f"{where}: {SPECIAL}")
    return {name: arrays[name] for name in sorted(arrays)}


def read_npy(data: bytes, where: str) -> Array:
    """Return the array of an `.npy` that `npy` wrote; raises `BundleError` for any other."""
    start = len(_MAGIC) + 2
    size = int.from_bytes(data[len(_MAGIC) : start], "little")
    match = _HEADER.fullmatch(data[start : start + size])
    if not data.startswith(_MAGIC) or match is None or start + size > len(data):
        refuse("an array's header isn't one that roadworthy writes", where)
    descr = match[1].decode()
    shape = tuple(int(axis) for axis in match[2].replace(b" ", b"").split(b",") if axis)
    if (descr not in _PLAIN and not re.fullmatch(r"<U[1-9]\d{0,7}", descr)) or (
        len(shape) > _MOST_AXES
    ):
        refuse(f"an array has dtype {descr!r} and {len(shape)} axes, which can't be", where)
    dtype = np.dtype(descr)
    content = data[start + size :]
    if math.prod(shape) * dtype.itemsize != len(content):
        refuse(f"an array of shape {list(shape)} and dtype {descr} has {len(content)} bytes", where)
    try:
        # frombuffer takes no empty buffer; reshape refuses shapes that NumPy can't index.
        flat = np.frombuffer(content, dtype) if content else np.empty(0, dtype)
        array: Array = flat.reshape(shape).copy()
    except (ValueError, OverflowError):
        refuse(f"an array has the shape {list(shape)}, which can't be", where)
    _check_values(array, where)
    return array


def _check_values(array: Array, where: str) -> None:
    """Refuse bit patterns that are no value of their dtype."""
    if array.dtype.kind == "b" and (array.view(np.uint8) > 1).any():
        refuse("an array of bool holds bytes other than 0 and 1", where)
    if array.dtype.kind == "U" and array.size:
        points = np.frombuffer(array.tobytes(), "<u4")
        if (points > _LAST_CODE_POINT).any():
            refuse("an array of text holds numbers that are no character", where)


def _text(name: str, array: Array) -> dict[str, Any]:
    values: list[Any] = array.ravel().tolist()
    for value in values:
        if not isinstance(value, str):
            raise UsageError(
                f"array {name!r} holds Python objects ({type(value).__name__}), not text",
                remedy="convert it to numbers or text; objects are never stored",
            )
        if not value.isascii() and re.search("[\ud800-\udfff]", value):
            raise UsageError(
                f"array {name!r} holds broken Unicode: {value!r:.60}",
                remedy="decode the text with the encoding that it was written in",
            )
    return {"shape": list(array.shape), "values": values}


def _add_special(arrays: Answers, data: bytes, where: str) -> None:
    fields = Fields(load_object(data, where), "", where)
    for name, dtype in fields.texts_by_name("bits").items():
        if dtype not in _BITS or name not in arrays or arrays[name].dtype.str != _BITS[dtype]:
            refuse(f"array {name!r} isn't the bits of {dtype!r:.40}", where)
        arrays[name] = arrays[name].view(extended_dtype(dtype))
    for name, text in fields.named_children("text"):
        shape, values = text.items("shape"), text.texts("values")
        text.done()
        sizes = [size for size in shape if isinstance(size, int) and not isinstance(size, bool)]
        fits = len(sizes) == len(shape) <= _MOST_AXES and min(sizes, default=0) >= 0
        if name in arrays or not fits or math.prod(sizes) != len(values):
            refuse(f"the text of array {name!r} doesn't fit its shape", where)
        flat = np.empty(len(values), dtype=object)
        flat[:] = values
        try:
            arrays[name] = flat.reshape(sizes)
        except (ValueError, OverflowError):
            refuse(f"the text of array {name!r} has an impossible shape", where)
    fields.done()


def extended_dtype(name: str) -> np.dtype[Any]:
    """Return the NumPy dtype of a name in `DTYPES` that NumPy itself doesn't know."""
    import ml_dtypes  # comes with onnx; only loaded when such an array occurs

    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype
