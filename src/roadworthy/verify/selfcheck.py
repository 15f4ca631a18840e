"""Checks that need no reference: an engine compared with itself.

1. repeat: the same input twice gives the same answer.
2. results kept: an answer isn't changed by later runs (no reused output buffer).
3. strides: a transposed view of the input gives the same answer as its copy.
4. batch: rows of a mixed batch, and of the same batch in another order, are what each row gives
   alone (no cross-talk; duplicated rows would hide it).
5. threads: two sessions in two threads give what one gives.

"The same" is within the output's own tolerance; equality to the last bit is reported.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from roadworthy.backends.base import Engine
from roadworthy.backends.session import Session
from roadworthy.core.errors import DiedError, RoadworthyError
from roadworthy.core.signature import Answers, Array, Dim, Feed
from roadworthy.core.verdict import SelfCheck, Tolerance
from roadworthy.verify.metrics import compare_pair

_THREAD_RUNS = 4
_BATCH_ROWS = 4


def self_checks(
    engine: Engine, feeds: list[Feed], tolerances: Mapping[str, Tolerance]
) -> tuple[SelfCheck, ...]:
    """Run every check that applies.

    Args:
        engine: what ships.
        feeds: at least one, better several different, real inputs.
        tolerances: per output name.
    """
    with engine.open() as session:
        checks = [
            _guarded("repeat", lambda: _repeat(session, feeds, tolerances)),
            _guarded("results kept", lambda: _kept(session, feeds)),
            _guarded("strides", lambda: _strides(session, feeds, tolerances)),
        ]
        batch = engine.signature.batch_dim
        if batch is not None:
            checks.append(
                _guarded("batch", lambda: _batch(session, feeds, batch, engine, tolerances))
            )
    checks.append(_guarded("threads", lambda: _threads(engine, feeds, tolerances)))
    return tuple(checks)


def _guarded(name: str, check: Callable[[], tuple[bool, str]]) -> SelfCheck:
    """Run one check; an engine that raises has failed it, one that died is none to check."""
    try:
        passed, detail = check()
    except DiedError:
        raise
    except RoadworthyError as error:
        return SelfCheck(name, False, f"the engine failed: {error.what}")
    return SelfCheck(name, passed, detail)


def _compare(
    one: Answers, other: Answers, tolerances: Mapping[str, Tolerance]
) -> tuple[bool, str, bool]:
    """Return (within tolerance, what differs most, equal to the last bit)."""
    worst, name, equal = 0.0, "", True
    for output, tolerance in tolerances.items():
        array, again = one.get(output), other.get(output)
        if array is None or again is None:
            return False, f"the engine gave no output {output!r}", False
        if array.shape != again.shape:
            return False, f"output {output!r} changes shape", False
        pair = compare_pair(array, again)
        equal = equal and pair.bit_equal
        value: float = getattr(pair, tolerance.metric)
        excess = value / tolerance.limit if tolerance.limit else np.inf if value else 0.0
        if pair.nonfinite or np.isnan(excess):
            excess = np.inf
        if excess > worst:
            worst, name = excess, output
    if worst > 1.0:
        return False, f"output {name!r} differs by {worst:.3g} times its tolerance", equal
    return True, "equal to the last bit" if equal else "within tolerance, not bit-equal", equal


def _repeat(
    session: Session, feeds: list[Feed], tolerances: Mapping[str, Tolerance]
) -> tuple[bool, str]:
    first, second = session.run(feeds[0]), session.run(feeds[0])
    passed, detail, _ = _compare(first, second, tolerances)
    return passed, f"the same input twice: {detail}"


def _kept(session: Session, feeds: list[Feed]) -> tuple[bool, str]:
    first = session.run(feeds[0])
    before = {name: array.copy() for name, array in first.items()}
    other = feeds[1] if len(feeds) > 1 else _negated(feeds[0])
    session.run(other)
    for name, array in first.items():
        if not compare_pair(before[name], array).bit_equal:
            return False, f"output {name!r} of an earlier run was overwritten by a later one"
    return True, "an earlier answer is unchanged by a later run on another input"


def _negated(feed: Feed) -> dict[str, Array]:
    """Another input of the same shape, for when there is one sample only."""
    return {
        name: np.asarray(-array)
        if array.dtype.kind == "f"
        else array[::-1].copy()
        if array.ndim
        else array
        for name, array in feed.items()
    }


def _strides(
    session: Session, feeds: list[Feed], tolerances: Mapping[str, Tolerance]
) -> tuple[bool, str]:
    straight = session.run(feeds[0])
    # Not `asfortranarray`, which makes a vector of a scalar.
    columns = {name: np.asarray(array, order="F") for name, array in feeds[0].items()}
    strided = session.run(columns)
    passed, detail, _ = _compare(straight, strided, tolerances)
    return passed, f"inputs in column order: {detail}"


def _batch(
    session: Session,
    feeds: list[Feed],
    batch: Dim,
    engine: Engine,
    tolerances: Mapping[str, Tolerance],
) -> tuple[bool, str]:
    rows = _rows(feeds, batch)
    if len(rows) < 2:
        return True, f"not applicable: batches of 2 aren't allowed by {batch}, or one row only"
    singles = [session.run(row) for row in rows] if batch.allows(1) else None
    order = np.roll(np.arange(len(rows)), 1)
    mixed = session.run(_stack(rows))
    permuted = session.run(_stack([rows[i] for i in order]))
    back = {name: array[np.argsort(order)] for name, array in permuted.items()}
    passed, detail, _ = _compare(mixed, back, tolerances)
    if not passed:
        return False, f"the order of a batch changes its answers: {detail}"
    if singles is None:
        return True, f"{len(rows)} samples, permuted: {detail}; singles aren't allowed by {batch}"
    together = {name: np.concatenate([one[name] for one in singles]) for name in mixed}
    passed, detail, _ = _compare(together, mixed, tolerances)
    if not passed:
        return False, f"a mixed batch answers unlike its rows alone: {detail}"
    return True, f"{len(rows)} different samples, permuted and against singles: {detail}"


def _rows(feeds: list[Feed], batch: Dim) -> list[dict[str, Array]]:
    """Return single rows of one shape, as many as the batch axis allows, few if it does."""
    rows = [
        {name: array[i : i + 1] for name, array in feed.items()}
        for feed in feeds
        for i in range(next(iter(feed.values())).shape[0])
    ]
    shape = {name: array.shape for name, array in rows[0].items()} if rows else {}
    alike = [r for r in rows if {name: array.shape for name, array in r.items()} == shape]
    # More than the usual 4 where a smaller batch isn't allowed.
    count = min(len(alike), max(_BATCH_ROWS, batch.low))
    while count > 1 and not batch.allows(count):
        count -= 1
    return alike[:count]


def _stack(rows: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _threads(
    engine: Engine, feeds: list[Feed], tolerances: Mapping[str, Tolerance]
) -> tuple[bool, str]:
    """Two sessions, two threads, different inputs at the same time, against one at a time."""
    inputs = [feeds[0], feeds[1] if len(feeds) > 1 else _negated(feeds[0])]
    with engine.open() as alone:
        expected = [alone.run(feed) for feed in inputs]
    over = threading.Event()

    def work(feed: Feed) -> list[Answers]:
        with engine.open() as session:
            return [session.run(feed) for _ in range(_THREAD_RUNS) if not over.is_set()]

    # A pool, not threads that are joined: Python 3.11 takes one whose join was interrupted for
    # ended, and a runtime that still computes while the interpreter goes aborts the process.
    with ThreadPoolExecutor(2) as pool:
        try:
            results = [one.result() for one in [pool.submit(work, feed) for feed in inputs]]
        finally:
            over.set()
    for index in range(2):
        for answers in results[index]:
            passed, detail, _ = _compare(expected[index], answers, tolerances)
            if not passed:
                return False, f"two sessions at once: {detail}"
    return True, f"two sessions in two threads, {_THREAD_RUNS} runs each, as one alone"
