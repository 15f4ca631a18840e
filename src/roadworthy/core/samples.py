"""The user's samples: named arrays to calibrate, judge and measure with.

Forms (DESIGN.md): an `.npz` is one feed, each array exactly as the input takes it, or, when every
array has one more leading axis, that many feeds; in a folder each file (image, `.npy`, `.npz`) is
one feed. Never invented in silence: random samples are named `random` and carry that name on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roadworthy.core.account import SamplesAccount, account_and_outliers, digest_of
from roadworthy.core.errors import InputError, SamplesError
from roadworthy.core.npz import Stack, open_npz, read_npy, read_npz
from roadworthy.core.signature import Array, Dim, Feed, Signature

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
)
RANDOM = "random"
# Integers that NumPy by itself doesn't have.
_SMALL_INTEGERS = frozenset({"int2", "int4", "uint2", "uint4"})


@dataclass(frozen=True)
class Sample:
    """One feed: its name (a file, or file#index) and how to load it."""

    name: str
    load: Callable[[], Feed]
    file: Path | None = None


class Samples(Sequence[Feed]):
    """A finite sequence of feeds, loaded one at a time.

    Args:
        source: where they come from, for messages and the certificate.
        kind: "npz", "npy", "images", "mixed", "arrays", "bundle" or "random".
        items: the samples in order.
    """

    def __init__(self, source: str, kind: str, items: Sequence[Sample]) -> None:
        if not items:
            raise SamplesError(
                "there are no samples", where=source, remedy="give at least one real input"
            )
        self.source = source
        self.kind = kind
        self.items = tuple(items)
        self._account: tuple[SamplesAccount, dict[int, str]] | None = None

    @classmethod
    def of_arrays(cls, feeds: Sequence[Feed], *, source: str = "arrays") -> Samples:
        """Wrap arrays that are in memory already."""
        items = [
            Sample(f"{source}#{index}", lambda feed=feed: feed)  # type: ignore[misc]
            for index, feed in enumerate(feeds)
        ]
        return cls(source, "arrays", items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Samples(self.source, self.kind, self.items[index])
        return self.items[index].load()

    def __iter__(self) -> Iterator[Feed]:
        for item in self.items:
            yield item.load()

    @property
    def is_random(self) -> bool:
        """True for invented samples: whatever is made from them is a smoke test."""
        return self.kind == RANDOM

    def account(self) -> SamplesAccount:
        """Read every sample once and tell what they are: digest, ranges, suspicious ones."""
        return self._read()[0]

    @property
    def digest(self) -> str:
        """The account's digest of all values, without the rest of it where that isn't known."""
        return self._read()[0].digest if self._account is not None else digest_of(self)

    def outliers(self) -> Mapping[int, str]:
        """Return the samples that are far beyond the median one, by their place, and in words."""
        return self._read()[1]

    def _read(self) -> tuple[SamplesAccount, dict[int, str]]:
        if self._account is None:
            self._account = account_and_outliers(
                self.source, self.kind, ((item.name, item.load()) for item in self.items)
            )
        return self._account

    def check(self, signature: Signature) -> None:
        """Check every sample against the signature.

        Raises:
            SamplesError: naming the first sample that doesn't fit.
        """
        for item in self.items:
            try:
                signature.bind(item.load())
            except SamplesError:
                raise
            except InputError as error:
                raise SamplesError(
                    f"sample {item.name} doesn't fit the network: {error.what}",
                    where=self.source,
                    remedy=error.remedy,
                ) from error


def load_samples(
    path: Path,
    ranks: Mapping[str, int] | None,
    default_input: str | None,
    images: Callable[[Path], Feed] | None = None,
) -> Samples:
    """Load samples from an `.npz`, an `.npy` or a folder.

    Args:
        path: the file or folder.
        ranks: the number of axes of each input, where known: tells one feed from many.
        default_input: the name of the only input, for files that hold one unnamed array.
        images: turns an image file into a feed (a `Preprocess`), None when there is none.

    Raises:
        SamplesError: nothing there, an unreadable file, images without a preprocess.
    """
    if not path.exists():
        raise SamplesError("the samples don't exist", where=str(path))
    if path.is_file():
        items, kind = _file_items(path, ranks, default_input, images, many=True)
        return Samples(str(path), kind, items)
    if not path.is_dir():
        raise SamplesError("the samples are neither a file nor a folder", where=str(path))
    files = sorted(item for item in path.iterdir() if _is_sample(item))
    if not files:
        raise SamplesError(
            "the samples folder holds no image, .npy or .npz file",
            where=str(path),
            remedy="put one file per sample into it",
        )
    items = []
    kinds = set()
    for file in files:
        more, kind = _file_items(file, ranks, default_input, images, many=False)
        items += more
        kinds.add(kind)
    return Samples(str(path), kinds.pop() if len(kinds) == 1 else "mixed", items)


def random_samples(signature: Signature, count: int = 4, seed: int = 0) -> Samples:
    """Invent samples: normal floats, small integers; every axis takes its lowest size ≥ 2.

    They are marked `random` for good, and everything made from them is called a smoke test.
    """

    def size(dim: Dim) -> int:
        if dim.largest is None:
            return max(dim.low, 2)
        steps = -(-max(0, 2 - dim.low) // dim.step)
        return min(dim.low + steps * dim.step, dim.largest)

    shapes = signature.shapes({name: size(dim) for name, dim in signature.dims.items()})

    def invent(index: int) -> Feed:
        rng = np.random.default_rng([seed, index])
        return {spec.name: _invent(spec.dtype, shapes[spec.name], rng) for spec in signature.inputs}

    items = [
        Sample(f"{RANDOM}#{index}", lambda index=index: invent(index))  # type: ignore[misc]
        for index in range(count)
    ]
    return Samples(RANDOM, RANDOM, items)


def _invent(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if dtype == "bool":
        return np.asarray(rng.integers(0, 2, shape)).astype(bool)
    if dtype == "str":
        raise SamplesError("random text can't be invented", remedy="give real samples")
    if dtype.startswith(("int", "uint")) and dtype not in _SMALL_INTEGERS:
        return np.asarray(rng.integers(0, 8, shape)).astype(dtype)
    if dtype not in ("float16", "float32", "float64", "complex64", "complex128"):
        raise SamplesError(f"random {dtype} can't be invented", remedy="give real samples")
    return np.asarray(rng.standard_normal(shape)).astype(dtype)


def _is_sample(path: Path) -> bool:
    return (
        path.is_file()
        and not path.name.startswith(".")
        and path.suffix.lower() in IMAGE_SUFFIXES | {".npy", ".npz"}
    )


def _file_items(
    path: Path,
    ranks: Mapping[str, int] | None,
    default_input: str | None,
    images: Callable[[Path], Feed] | None,
    *,
    many: bool,
) -> tuple[list[Sample], str]:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        # Many samples stay on disk; of one feed all is read anyway.
        arrays = open_npz(path) if many else read_npz(path)
        count = _feed_count(arrays, ranks) if many else None
        if count is None:
            return [Sample(path.name, lambda: read_npz(path), path)], "npz"
        return [
            Sample(f"{path.name}#{i}", lambda i=i: {k: v[i] for k, v in arrays.items()}, path)  # type: ignore[misc]
            for i in range(count)
        ], "npz"
    if suffix == ".npy":
        if default_input is None:
            raise SamplesError(
                "an .npy file holds one unnamed array, but the network has several inputs",
                where=str(path),
                remedy="save an .npz with one array per input name",
            )
        return [Sample(path.name, lambda: {default_input: read_npy(path)}, path)], "npy"
    if suffix in IMAGE_SUFFIXES:
        if images is None:
            raise SamplesError(
                "images need a description of their preprocessing",
                where=str(path),
                remedy="give --preprocess FILE, or put a preprocess.json beside the images",
            )
        return [Sample(path.name, lambda: images(path), path)], "images"
    raise SamplesError(
        f"{suffix or 'a file without an ending'} isn't a kind of sample",
        where=str(path),
        remedy="give an .npz, an .npy, an image, or a folder of them",
    )


def _feed_count(arrays: Mapping[str, Array | Stack], ranks: Mapping[str, int] | None) -> int | None:
    """Return how many feeds an .npz holds, None when it is a single one."""
    if ranks is None or any(name not in ranks for name in arrays):
        return None
    extra = {array.ndim - ranks[name] for name, array in arrays.items()}
    lengths = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
    if extra == {1} and len(lengths) == 1:
        return lengths.pop()
    return None
