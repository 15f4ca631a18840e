"""Trusted answers from a file: `--reference F.npz`, in the same form as the samples.

One feed, each array exactly as the network gives it, or, when there are several samples, every
array with one more leading axis. They judge the samples only: no other shape has a given answer.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from roadworthy.core.errors import RunError, SamplesError
from roadworthy.core.reference import Reference
from roadworthy.core.samples import Samples, read_npz
from roadworthy.core.signature import Answers, Feed, Signature

GIVEN = "given answers"


class GivenAnswers:
    """An oracle that knows the samples' answers by heart, and nothing else."""

    def __init__(self, name: str, answers: dict[str, Answers]) -> None:
        self.name = name
        self._answers = answers

    def run(self, feed: Feed) -> Answers:
        """Return the given answers, or raise `RunError` for an input that has none."""
        key = feed_digest(feed)
        if key not in self._answers:
            raise RunError("no answers were given for this input", where=self.name)
        return self._answers[key]


def feed_digest(feed: Feed) -> str:
    """Return a digest of one feed's names, dtypes, shapes and values."""
    state = hashlib.sha256()
    for name, array in sorted(feed.items()):
        state.update(f"{name}:{array.shape}:{array.dtype}".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


def given_reference(path: Path, samples: Samples, signature: Signature) -> Reference:
    """Pair the arrays of an `.npz` with the samples.

    Raises:
        SamplesError: names that aren't outputs, or another number of answers than samples.
    """
    arrays = read_npz(path)
    names = {spec.name for spec in signature.outputs}
    unknown = sorted(set(arrays) - names)
    if unknown or not names & set(arrays):
        raise SamplesError(
            f"the reference has arrays {sorted(arrays)}, the network's outputs are {sorted(names)}",
            where=str(path),
            remedy="name the arrays as the network names its outputs",
        )
    count = len(samples)
    if count > 1 and any(a.ndim == 0 or a.shape[0] != count for a in arrays.values()):
        raise SamplesError(
            f"there are {count} samples, so every reference array needs {count} as its first axis",
            where=str(path),
        )
    answers: dict[str, Answers] = {}
    for index, feed in enumerate(samples):
        one = {name: array if count == 1 else array[index] for name, array in arrays.items()}
        answers[feed_digest(feed)] = {name: np.ascontiguousarray(a) for name, a in one.items()}
    note = "answers were given for the samples only: no other shape was judged"
    return Reference(
        GivenAnswers(f"given answers ({path.name})", answers), None, GIVEN, notes=(note,)
    )
