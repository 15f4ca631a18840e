"""Read `--inputs` specifications: `image:0[batch=1..8,3,h=256..1024:32,w]`.

    spec  := NAME [ '[' axis { ',' axis } ']' [ ':' DTYPE ] ]
    axis  := SIZE                             a fixed size
           | AXIS                             a symbolic axis (open, unless its range is stated
                                              where the same name stands elsewhere)
           | AXIS '=' LOW '..' HIGH [ ':' STEP ]

NAME may contain colons, as TensorFlow's do. A scalar is written `NAME[]`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from roadworthy.core.errors import UsageError
from roadworthy.core.signature import Axis, Dim, Shape

_SPEC = re.compile(r"^(?P<name>[^\[\]\s]+?)(?:\[(?P<axes>[^\[\]]*)\](?::(?P<dtype>\w+))?)?$")
_RANGE = re.compile(
    r"^(?P<name>[A-Za-z_]\w*)=(?P<low>[0-9]{1,18})\.\.(?P<high>[0-9]{1,18})"
    r"(?::(?P<step>[0-9]{1,18}))?$"
)
# At most 18 digits: what a 64-bit integer surely holds.
_SIZE = re.compile(r"^[0-9]{1,18}$")
_NAME = re.compile(r"^[A-Za-z_]\w*$")
_FORM = "write it as 'image[batch=1..8,3,h=256..1024:32,w]' or 'image[1,3,224,224]:float32'"


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the user says of one input; `shape` and `dtype` are None where nothing was said."""

    name: str
    shape: Shape | None = None
    dtype: str | None = None


def parse_inputs(texts: Sequence[str]) -> tuple[InputSpec, ...]:
    """Parse every `--inputs` value; ranges stated once hold wherever the axis name recurs.

    Raises:
        UsageError: text of another form, a name given twice, one axis with two ranges.
    """
    specs = [_parse_one(text) for text in texts]
    names = [spec.name for spec in specs]
    if len(set(names)) != len(names):
        raise UsageError("an input is specified twice", where=f"--inputs {' '.join(texts)}")
    ranges: dict[str, Dim] = {}
    for spec in specs:
        for axis in spec.shape or ():
            if isinstance(axis, int) or axis.is_open:
                continue
            if ranges.setdefault(axis.name, axis) != axis:
                raise UsageError(
                    f"axis {axis.name!r} has two ranges: {ranges[axis.name]} and {axis}",
                    where=f"--inputs {' '.join(texts)}",
                    remedy="give different axes different names",
                )
    return tuple(
        InputSpec(spec.name, _share_ranges(spec.shape, ranges), spec.dtype) for spec in specs
    )


def _share_ranges(shape: Shape | None, ranges: dict[str, Dim]) -> Shape | None:
    if shape is None:
        return None
    return tuple(ranges.get(axis.name, axis) if isinstance(axis, Dim) else axis for axis in shape)


def _parse_one(text: str) -> InputSpec:
    match = _SPEC.match(text.strip())
    if match is None:
        raise UsageError(f"can't read the input {text!r}", where="--inputs", remedy=_FORM)
    axes = match["axes"]
    if axes is None:
        return InputSpec(match["name"])
    parts = [part.strip() for part in axes.split(",")] if axes.strip() else []
    return InputSpec(
        match["name"], tuple(_parse_axis(part, text) for part in parts), match["dtype"]
    )


def _parse_axis(part: str, text: str) -> Axis:
    if _SIZE.match(part):
        return int(part)
    if _NAME.match(part):
        return Dim(part)
    match = _RANGE.match(part)
    if match is None:
        raise UsageError(
            f"can't read the axis {part!r} of {text!r}", where="--inputs", remedy=_FORM
        )
    return Dim(match["name"], int(match["low"]), int(match["high"]), int(match["step"] or 1))
