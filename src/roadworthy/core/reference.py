"""The trusted answers that an engine is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from roadworthy.core.signature import Answers, Feed


class Oracle(Protocol):
    """Something that is trusted to compute the network's answers."""

    @property
    def name(self) -> str:
        """What it is, e.g. "PyTorch 2.13 eager, FP32"."""
        ...

    def run(self, feed: Feed) -> Answers:
        """Return the answers; a failure raises, it never returns something else."""
        ...


@dataclass(frozen=True)
class Reference:
    """The oracle that judges, the one that tells its noise, and what is known of both.

    Attributes:
        judge: answers in the network's own precision.
        fine: the same network in FP64, or None where it can't be had (`notes` says why).
        kind: "source framework", "oracles", or "given answers".
        labels: what a certificate made from it must say, e.g. "single oracle".
        notes: what happened while it was made.
        account: extra facts for the certificate, such as how the oracles agreed.
        contradiction: from which relative L2 on `judge` and `fine`, made independently, contradict
            each other instead of rounding otherwise; None where they are the same code.
    """

    judge: Oracle
    fine: Oracle | None
    kind: str
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    account: Mapping[str, object] = field(default_factory=dict)
    contradiction: float | None = None
