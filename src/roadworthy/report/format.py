"""Numbers as people read them: 1.8e-07, 2.61×, 12.3 ms, 7.8 MB. All return plain text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime

NONE = "–"


def number(value: float) -> str:
    """Return three significant digits: 0, 0.25, 1.8e-07, ∞, NaN."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return _signed(_significant(value))
    return _signed(f"{value:.1e}")


def _signed(digits: str) -> str:
    """Use the minus sign in front, the hyphen of an exponent stays as programs write it."""
    return f"−{digits[1:]}" if digits.startswith("-") else digits


def _significant(value: float, digits: int = 3) -> str:
    """Return at least this many significant digits, whole numbers with commas from 1,000 on."""
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    written = f"{value:,.{decimals}f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def cosine(value: float) -> str:
    """Return a cosine; very near 1 as 1 − 4.8e-14, because rounding it to 1 hides the rest."""
    gap = 1.0 - value
    if 0 < gap < 1e-4:
        return f"1 − {gap:.1e}"
    if not math.isfinite(value):
        return number(value)
    return _signed(f"{value:.6f}".rstrip("0").rstrip("."))


def decibel(value: float) -> str:
    """Return a level in decibels, one decimal."""
    return f"{value:.1f} dB".replace("-", "−") if math.isfinite(value) else f"{number(value)} dB"


def percent(share: float) -> str:
    """Return a share as a percentage, two significant digits below 10 %."""
    if not math.isfinite(share):
        return number(share)
    value = 100 * share
    if value == 0:
        return "0 %"
    if value < 0.01:
        return "< 0.01 %"
    return f"{value:,.0f} %" if value >= 10 else f"{_significant(value, 2)} %"


def of_limit(share: float) -> str:
    """Return an error as a share of its limit: 1.8 %, 312 %; from ten times on 1,753×."""
    return f"{_significant(share):s}×" if 10 <= share < math.inf else percent(share)


def against(share: float, limit: str) -> str:
    """Return the same in words: 1.8 % of the tolerance, 1,753 times the tolerance."""
    shown = of_limit(share)
    return f"{shown[:-1]} times {limit}" if shown.endswith("×") else f"{shown} of {limit}"


def ratio(value: float) -> str:
    """Return a ratio: 2.61×."""
    return f"{value:,.2f}×" if math.isfinite(value) else f"{number(value)}×"


def milliseconds(value: float) -> str:
    """Return milliseconds: 0.123 ms, 12.3 ms, 1,234 ms."""
    return f"{number(value)} ms"


def seconds(value: float) -> str:
    """Return a duration: 0.31 s, 12.4 s, 2 min 5 s; below a millisecond "< 1 ms"."""
    if not math.isfinite(value):
        return number(value)
    if round(value, 1) >= 60:
        whole = round(value)
        return f"{whole // 60:,} min {whole % 60} s"
    if value >= 10:
        return f"{value:.1f} s"
    if value >= 0.1:
        return f"{value:.2f} s"
    if value >= 1e-3:
        return f"{value * 1e3:.0f} ms"
    return "0 s" if value == 0 else "< 1 ms"


def count(value: int) -> str:
    """Return a whole number with commas: 1,944,418."""
    return f"{value:,}"


def counted(value: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: 1 sample, 6 samples."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def size(value: int) -> str:
    """Return bytes in decimal units: 812 B, 7.8 MB, 67.4 GB."""
    if value < 1000:
        return f"{value} B"
    amount, units = value / 1000, ["kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{amount:,.1f} {units[0]}"


def axes(sizes: Mapping[str, int]) -> str:
    """Return the sizes of symbolic axes: batch = 1, h = 256; "fixed" where there are none."""
    # No-break spaces: a line ends between axes, not within one.
    return ", ".join(f"{name}\u00a0=\u00a0{value}" for name, value in sizes.items()) or "fixed"


def shape(axis_sizes: Iterable[int]) -> str:
    """Return a shape: 1 × 1 × 256 × 256; "scalar" where there is no axis."""
    return " × ".join(str(axis) for axis in axis_sizes) or "scalar"


def moment(value: str) -> str:
    """Return an ISO time as 2026-11-20 14:09:58 UTC; text of another form as it is."""
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        return value
    zone = when.tzname()
    return when.strftime("%Y-%m-%d %H:%M:%S") + (f" {zone}" if zone else "")


_WORDS = {"cpu": "CPU", "cpus": "CPUs", "cpus_usable": "CPUs usable", "memory_bytes": "Memory"}


def words(key: str) -> str:
    """Return a key of the certificate as words: load_1min becomes Load 1min."""
    return _WORDS.get(key) or (key[:1].upper() + key[1:]).replace("_", " ")
