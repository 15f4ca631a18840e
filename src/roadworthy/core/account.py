"""What was seen of the samples: digest, ranges, and the ones that look wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from roadworthy.core.signature import Array, Feed, dtype_name

# A sample whose largest magnitude is this many times the median sample's is named as an outlier.
OUTLIER_FACTOR = 8.0


@dataclass(frozen=True)
class InputRange:
    """What was seen of one input over all samples."""

    name: str
    dtype: str
    shapes: tuple[tuple[int, ...], ...]
    low: float
    high: float
    mean: float
    std: float


@dataclass(frozen=True)
class SamplesAccount:
    """Everything a certificate says about the samples; `findings` name suspicious ones."""

    source: str
    kind: str
    count: int
    digest: str
    inputs: tuple[InputRange, ...]
    findings: tuple[str, ...]


class _Running:
    """Range and moments of one input, over samples; finite values only."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.shapes: dict[tuple[int, ...], None] = {}
        self.low, self.high = np.inf, -np.inf
        self.count, self.total, self.squares = 0, 0.0, 0.0
        self.magnitudes: list[float] = []

    def add(self, array: Array) -> None:
        self.shapes.setdefault(array.shape)
        # Signalling NaN and sums beyond the range of doubles are told, not warned of.
        with np.errstate(invalid="ignore", over="ignore"):
            self._add(array.astype(np.float64, copy=False).ravel())

    def _add(self, values: Array) -> None:
        low, high = (values.min(), values.max()) if values.size else (np.nan, np.nan)
        # NaN comes through both, an infinity through one: all are finite where these two are.
        if not (np.isfinite(low) and np.isfinite(high)):
            values = values[np.isfinite(values)]
            if values.size == 0:
                self.magnitudes.append(0.0)
                return
            low, high = values.min(), values.max()
        self.magnitudes.append(float(max(-low, high)))
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
        self.count += values.size
        self.total += float(values.sum())
        self.squares += float(np.einsum("i,i->", values, values))

    def range_of(self, name: str) -> InputRange:
        mean = self.total / self.count if self.count else 0.0
        variance = self.squares / self.count - mean * mean if self.count else 0.0
        low, high = (self.low, self.high) if self.count else (0.0, 0.0)
        return InputRange(
            name, self.dtype, tuple(self.shapes), low, high, mean, max(variance, 0.0) ** 0.5
        )


def take_account(source: str, kind: str, feeds: Iterable[tuple[str, Feed]]) -> SamplesAccount:
    """Read named feeds once, holding one at a time, and tell what they are."""
    return account_and_outliers(source, kind, feeds)[0]


def account_and_outliers(
    source: str, kind: str, feeds: Iterable[tuple[str, Feed]]
) -> tuple[SamplesAccount, dict[int, str]]:
    """Return the account, and which samples it calls outliers, by their place, with the words."""
    digest = hashlib.sha256()
    running: dict[str, _Running] = {}
    findings: list[str] = []
    samples: list[str] = []
    for sample, feed in feeds:
        samples.append(sample)
        for name in sorted(feed):
            array = np.asarray(feed[name])
            _digest_into(digest, name, array)
            if array.dtype.kind in "biuf":
                running.setdefault(name, _Running(dtype_name(array.dtype))).add(array)
                findings += _suspicions(sample, name, array)
    outliers: dict[int, str] = {}
    for name, seen in running.items():
        for index, reason in _outliers(name, seen.magnitudes).items():
            findings.append(f"sample {samples[index]}: {reason}")
            outliers.setdefault(index, reason)
    account = SamplesAccount(
        source=source,
        kind=kind,
        count=len(samples),
        digest=f"sha256:{digest.hexdigest()}",
        inputs=tuple(seen.range_of(name) for name, seen in running.items()),
        findings=tuple(findings),
    )
    return account, outliers


def digest_of(feeds: Iterable[Feed]) -> str:
    """Return the digest that the account of these feeds has, and nothing else of it."""
    digest = hashlib.sha256()
    for feed in feeds:
        for name in sorted(feed):
            _digest_into(digest, name, np.asarray(feed[name]))
    return f"sha256:{digest.hexdigest()}"


def _digest_into(digest: hashlib._Hash, name: str, array: Array) -> None:
    digest.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
    digest.update(_content(array))


def _content(array: Array) -> bytes:
    """Return all values as bytes; text as its length and itself, element by element."""
    if array.dtype.kind not in "OT":
        return array.tobytes()
    texts = [str(value).encode("utf-8", "surrogatepass") for value in array.flat]
    return b"".join(b"%d:%s" % (len(text), text) for text in texts)


def _suspicions(sample: str, name: str, array: Array) -> list[str]:
    found = []
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        found.append(f"sample {sample}: input {name!r} has {bad} NaN or infinite values")
    if array.size > 1 and (array == array.flat[0]).all():
        found.append(f"sample {sample}: input {name!r} is all {array.flat[0]}")
    return found


def _outliers(name: str, magnitudes: list[float]) -> dict[int, str]:
    median = float(np.median(magnitudes)) if magnitudes else 0.0
    if len(magnitudes) < 3 or median == 0.0:
        return {}
    return {
        index: f"input {name!r} reaches {magnitude:.4g}, "
        f"{magnitude / median:.3g} times the median sample"
        for index, magnitude in enumerate(magnitudes)
        if magnitude > OUTLIER_FACTOR * median
    }
