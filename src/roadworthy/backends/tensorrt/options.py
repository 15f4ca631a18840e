"""TensorRT's own options, from `--option name=value`: frozen, checked once, hashed into cache keys.

workspace=4096            scratch memory for tactics, MiB (TensorRT's own choice: all there is)
level=3                   builder optimisation level, 0 to 5: lower builds quicker
timing-cache=on           reuse kernel timings of earlier builds on this device and version
build-cache=on            reuse a whole engine built from the same model, options and device
tactics=NAME,NAME         of edge_mask_convolutions, jit_convolutions, cublas, cublas_lt, cudnn
aux-streams=2             streams beside the main one; 0 for none
compatibility=none        or ampere_plus, same_compute_capability: engines for more devices
typing=auto               or weak, strong: who decides types, TensorRT or the graph (10 only)
graphs=on                 capture CUDA graphs when running
open=1..16                the range of axes for which none was stated
profile=batch=1..8@4,h=256..512@384     one optimisation profile (repeatable): axis=LOW..HIGH@OPT
values=sizes:1,1;4,4;8,8  MIN;OPT;MAX of an input whose values decide shapes (repeatable)
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from roadworthy.core.errors import UsageError

TACTICS = ("edge_mask_convolutions", "jit_convolutions", "cublas", "cublas_lt", "cudnn")
_AXIS = re.compile(r"^(?P<name>[A-Za-z_]\w*)=(?P<low>\d+)\.\.(?P<high>\d+)(?:@(?P<opt>\d+))?$")
_RANGE = re.compile(r"^(?P<low>\d+)\.\.(?P<high>\d+)$")


@dataclass(frozen=True, slots=True)
class AxisRange:
    """One axis in one optimisation profile; `opt` None: chosen by `profiles.optimum`."""

    name: str
    low: int
    high: int
    opt: int | None = None


@dataclass(frozen=True, slots=True)
class ValueRange:
    """MIN, OPT and MAX of an input that TensorRT reads by value."""

    name: str
    low: tuple[int, ...]
    opt: tuple[int, ...]
    high: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorRTOptions:
    """See the module's docstring; `workspace` is in MiB, `open_axes` is (LOW, HIGH)."""

    workspace: int | None = None
    level: int | None = None
    timing_cache: bool = True
    build_cache: bool = True
    tactics: tuple[str, ...] = ("edge_mask_convolutions", "jit_convolutions")
    aux_streams: int | None = None
    compatibility: str = "none"
    typing: str = "auto"
    graphs: bool = True
    open_axes: tuple[int, int] | None = None
    profiles: tuple[tuple[AxisRange, ...], ...] = ()
    values: tuple[ValueRange, ...] = ()

    def digest(self) -> str:
        """Return a SHA-256 over what decides the built engine; caches and graphs don't."""
        aside = ("timing_cache", "build_cache", "graphs")
        data = {name: value for name, value in asdict(self).items() if name not in aside}
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def parse_options(extra: Iterable[tuple[str, str]]) -> TensorRTOptions:
    """Parse (name, text) pairs.

    Raises:
        UsageError: an unknown name, a value of another form, a name twice that may come once.
    """
    found: dict[str, Any] = {}
    for name, text in extra:
        where = f"--option tensorrt.{name}={text}"
        if name not in _READERS:
            raise UsageError(
                f"TensorRT has no option {name!r}",
                where=where,
                remedy=f"choose one of: {', '.join(_READERS)}",
            )
        field, read = _READERS[name]
        value = read(text.strip(), where)
        if name in ("profile", "values"):
            found[field] = (*found.get(field, ()), value)
        elif field in found:
            raise UsageError(f"option {name!r} is given twice", where=where)
        else:
            found[field] = value
    return TensorRTOptions(**found)


Reader = Callable[[str, str], Any]


def _number(low: int, high: int) -> Reader:
    def read(text: str, where: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise UsageError(f"{text!r} is not a number from {low} to {high}", where=where)
        return int(text)

    return read


def _choice(*known: str) -> Reader:
    def read(text: str, where: str) -> str:
        if text not in known:
            raise UsageError(
                f"{text!r} is not to be had",
                where=where,
                remedy=f"choose one of {', '.join(known)}",
            )
        return text

    return read


def _switch(text: str, where: str) -> bool:
    return bool(_choice("on", "off")(text, where) == "on")


def _tactics(text: str, where: str) -> tuple[str, ...]:
    names = [part.strip() for part in text.split(",") if part.strip()]
    return tuple(sorted({_choice(*TACTICS)(name, where) for name in names}))


def _open_axes(text: str, where: str) -> tuple[int, int]:
    match = _RANGE.match(text)
    if match is None or int(match["low"]) > int(match["high"]):
        raise UsageError(
            f"{text!r} is not a range", where=where, remedy="write it as tensorrt.open=LOW..HIGH"
        )
    return int(match["low"]), int(match["high"])


def _profile(text: str, where: str) -> tuple[AxisRange, ...]:
    axes = []
    for part in text.split(","):
        match = _AXIS.match(part.strip())
        low, high = (int(match["low"]), int(match["high"])) if match else (1, 0)
        opt = int(match["opt"]) if match and match["opt"] else None
        if match is None or low > high or not (opt is None or low <= opt <= high):
            raise UsageError(
                f"can't read the profile's axis {part!r}",
                where=where,
                remedy="write it as tensorrt.profile=batch=1..8@4,h=256..512@384",
            )
        axes.append(AxisRange(match["name"], low, high, opt))
    if len({axis.name for axis in axes}) != len(axes):
        raise UsageError("an axis is given twice in one profile", where=where)
    return tuple(axes)


def _values(text: str, where: str) -> ValueRange:
    name, colon, rest = text.rpartition(":")
    try:
        rows = [tuple(int(item) for item in row.split(",")) for row in rest.split(";")]
    except ValueError:
        rows = []
    if not colon or not name or len(rows) != 3 or len({len(row) for row in rows}) != 1:
        raise UsageError(
            f"can't read {text!r}",
            where=where,
            remedy="write it as 'tensorrt.values=NAME:1,1;4,4;8,8'",
        )
    if any(not low <= opt <= high for low, opt, high in zip(*rows, strict=True)):
        raise UsageError(
            f"{rest!r} is no range: each OPT lies between its MIN and its MAX",
            where=where,
            remedy=f"write it as tensorrt.values={name}:MIN;OPT;MAX",
        )
    return ValueRange(name, *rows)


_READERS: dict[str, tuple[str, Reader]] = {
    "workspace": ("workspace", _number(1, 1 << 22)),
    "level": ("level", _number(0, 5)),
    "timing-cache": ("timing_cache", _switch),
    "build-cache": ("build_cache", _switch),
    "tactics": ("tactics", _tactics),
    "aux-streams": ("aux_streams", _number(0, 16)),
    "compatibility": (
        "compatibility",
        _choice("none", "ampere_plus", "same_compute_capability"),
    ),
    "typing": ("typing", _choice("auto", "weak", "strong")),
    "graphs": ("graphs", _switch),
    "open": ("open_axes", _open_axes),
    "profile": ("profiles", _profile),
    "values": ("values", _values),
}
