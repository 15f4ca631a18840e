"""Trusted answers from a file: `--reference F.npz`, in the same form as the samples.

One feed, each array exactly as the network gives it, or every array with one more leading axis,
along which the samples follow one another; of a single sample both forms are taken. They judge the
samples only: no other shape has a given answer.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from roadworthy.core.errors import RunError, SamplesError
from roadworthy.core.npz import read_npz
from roadworthy.core.reference import Reference
from roadworthy.core.samples import Samples
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
        SamplesError: names that aren't outputs, another number of answers than samples, or two
            different answers to equal samples.
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
    stacked = count > 1 or _is_stack_of_one(arrays, signature)
    if stacked and any(a.ndim == 0 or a.shape[0] != count for a in arrays.values()):
        raise SamplesError(
            f"there are {count} samples, so every reference array needs {count} as its first axis",
            where=str(path),
            remedy="save the answers to all samples, in their order, stacked along a new axis",
        )
    answers: dict[str, Answers] = {}
    for index, feed in enumerate(samples):
        one = {name: array[index] if stacked else array for name, array in arrays.items()}
        key = feed_digest(feed)
        if key in answers and not _same(answers[key], one):
            raise SamplesError(
                f"sample {samples.items[index].name} equals an earlier one, but has another answer",
                where=str(path),
                remedy="give the answers in the order of the samples (files: in order of names)",
            )
        # Not `ascontiguousarray`, which makes a vector of a scalar.
        answers[key] = {name: np.asarray(array, order="C") for name, array in one.items()}
    note = "answers were given for the samples only: no other shape was judged"
    return Reference(
        GivenAnswers(f"given answers ({path.name})", answers), None, GIVEN, notes=(note,)
    )


def _is_stack_of_one(arrays: Answers, signature: Signature) -> bool:
    """Tell whether every array has one axis more than its output, of length one."""
    ranks = {o.name: len(o.shape) for o in signature.outputs if o.shape is not None}
    return all(
        name in ranks and array.ndim == ranks[name] + 1 and array.shape[0] == 1
        for name, array in arrays.items()
    )


def _same(one: Answers, other: Answers) -> bool:
    """Tell whether two answers are equal to the last bit; NaN equals itself here."""
    return all(one[name].tobytes() == other[name].tobytes() for name in one)
