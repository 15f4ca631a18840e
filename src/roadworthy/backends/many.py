"""Many feeds through one engine, in order: overlapping where its runtime can, else one by one."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING

from roadworthy.core.signature import Answers, Array

if TYPE_CHECKING:
    from roadworthy.backends.base import Runner


def run_each(runner: Runner, feeds: Iterable[dict[str, Array]]) -> Generator[Answers, None, None]:
    """Return a runner's answers to feeds, in order.

    A runner may have `run_many(feeds)` of its own, a generator that reads some feeds ahead. Whoever
    wraps a runner offers it again by this function; one that doesn't, runs them one by one.
    """
    own = getattr(runner, "run_many", None)
    if own is not None:
        answers: Generator[Answers, None, None] = own(feeds)
        return answers
    return (runner.run(feed) for feed in feeds)
