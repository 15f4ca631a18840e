"""Which steps may follow which. Checked once, when the contract is read.

1. decode comes first, once: everything else needs pixels.
2. colour comes once, before layout: else the number of channels would depend on the file.
3. fit needs H×W×C, so it comes before layout.
4. layout comes once, and dtype once: what the network takes is written down, never guessed.
5. float32 may come anywhere after decode; any other dtype is last, as arithmetic is in float32.
6. uint8 only while no step has made fractions of it.
7. Lists with one number per channel have as many as there are channels (1 for grey, else 3).
8. A fill for 8-bit pixels is a whole number from 0 to 255.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from roadworthy.core.errors import InputError
from roadworthy.vision.fit import Fit
from roadworthy.vision.steps import Colour, Decode, MeanStd, Step, ToDtype, ToLayout

ORDER = "the order is decode, colour, then fit, scale, mean_std, instance_norm, clip, layout, dtype"


@dataclass
class _Seen:
    """What is known of the picture at one point of the list."""

    channels: int | None = None
    eight_bit: bool = True
    layout: bool = False
    dtype: bool = False


def check_order(steps: Sequence[Step], where: str) -> None:
    """Refuse a list of steps that could not work, or whose result would not be certain.

    Raises:
        InputError: its `where` is `where` with the step's index.
    """
    if not steps or not isinstance(steps[0], Decode):
        raise InputError(
            "the first step must be decode",
            where=f"{where}[0]",
            remedy=f'begin with {{"op": "decode"}}; {ORDER}',
        )
    seen = _Seen(eight_bit=steps[0].depth != 16)
    for index, step in enumerate(steps[1:], start=1):
        last = index == len(steps) - 1
        problem = _problem(step, seen, last=last)
        if problem:
            raise InputError(problem, where=f"{where}[{index}] ({step.op})", remedy=ORDER)
    for missing, op in (
        (seen.channels is None, "colour"),
        (not seen.layout, "layout"),
        (not seen.dtype, "dtype"),
    ):
        if missing:
            raise InputError(
                f"there is no {op} step, so what the network gets would not be certain",
                where=where,
                remedy=f"add one; {ORDER}",
            )


def _problem(step: Step, seen: _Seen, *, last: bool) -> str | None:
    """Return what is wrong with this step here, and note what it changes."""
    if isinstance(step, Decode):
        return "decode may only be the first step"
    if isinstance(step, Colour):
        return _colour(step, seen)
    if isinstance(step, ToLayout):
        return _layout(seen)
    if isinstance(step, ToDtype):
        return _dtype(step, seen, last=last)
    if isinstance(step, Fit):
        return _fit(step, seen)
    if isinstance(step, MeanStd):
        seen.eight_bit = False
        return _per_channel("mean", step.mean, seen) or _per_channel("std", step.std, seen)
    seen.eight_bit = False
    return None


def _colour(step: Colour, seen: _Seen) -> str | None:
    if seen.channels is not None:
        return "colour was set already"
    if seen.layout:
        return "colour must come before layout"
    seen.channels = 1 if step.to == "grey" else 3
    return None


def _layout(seen: _Seen) -> str | None:
    if seen.layout:
        return "layout was set already"
    if seen.channels is None:
        return "layout must come after colour"
    seen.layout = True
    return None


def _dtype(step: ToDtype, seen: _Seen, *, last: bool) -> str | None:
    if seen.dtype:
        return "dtype was set already"
    seen.dtype = True
    if step.to == "float32":
        seen.eight_bit = False
        return None
    if not last:
        return f"dtype {step.to} must be the last step, because the others compute in float32"
    if step.to == "uint8" and not seen.eight_bit:
        return "dtype uint8 would cut off fractions: a step before it computes in float32"
    return None


def _fit(step: Fit, seen: _Seen) -> str | None:
    if seen.layout:
        return "fit must come before layout"
    if seen.eight_bit and not all(_is_byte(value) for value in _listed(step.fill)):
        return "'fill' must be whole numbers from 0 to 255 here, where pixels have 8 bits"
    return _per_channel("fill", step.fill, seen)


def _per_channel(field: str, value: Any, seen: _Seen) -> str | None:
    count = len(_listed(value))
    if not isinstance(value, tuple) or count == 1:
        return None
    if seen.channels is None:
        return f"{field!r} lists numbers per channel, so colour must come before it"
    if count != seen.channels:
        return f"{field!r} lists {count} numbers, the picture has {seen.channels} channel(s) here"
    return None


def _listed(value: Any) -> tuple[float, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def _is_byte(value: float) -> bool:
    return value == int(value) and 0 <= value <= 255
