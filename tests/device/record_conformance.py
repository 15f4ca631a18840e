"""Record how a backend does on every conformance test, in parallel, within a stated time.

    python -m tests.device.record_conformance --out record.jsonl --workers 12 --seconds 540

One JSON line per test (`outcomes.py`), written as it ends, after one line that says what was
recorded. A file that is there already is gone on with, and what it holds isn't run again. A process
that crashes or hangs is one line more. `list_exceptions.py` makes the suite's lists of the record.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import multiprocessing
import os
import platform
import signal
import sys
import tempfile
import threading
import time
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from roadworthy.backends.registry import find
from roadworthy.core.lastwords import last_words
from roadworthy.core.target import Target
from tests.device.outcomes import CONTRACT, Outcome, Recorder, names
from tests.device.place import TARGET

SPAWN = multiprocessing.get_context("spawn")
# A test of the contract is several, and a first one loads the runtime.
CONTRACT_FACTOR = 5.0
START_SECONDS = 120.0


def serve(pipe: Connection, target: str, log: str) -> None:
    """Run tests by name as they are asked for; in a process group with the backend's workers."""
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ["ROADWORTHY_RECORDED"] = target
    with Recorder(Target.parse(target)) as recorder:
        pipe.send("ready")
        while (name := pipe.recv()) is not None:
            pipe.send(list(recorder.run(name)))


class Process:
    """A process that runs tests; it may die, and takes its workers along when it is killed."""

    def __init__(self, target: Target, folder: Path, number: int) -> None:
        self._log = folder / f"{number}.log"
        self._pipe, there = SPAWN.Pipe()
        self._process = SPAWN.Process(target=serve, args=(there, str(target), str(self._log)))
        self._process.start()
        there.close()
        assert self._process.pid  # it has started; 0 would be our own group
        self.pid = self._process.pid
        self._ready = False

    def run(self, name: str, seconds: float) -> list[Outcome] | None:
        """Return a test's outcomes, None when `seconds` were not enough; raises EOFError."""
        if not self._ready:
            if not self._pipe.poll(START_SECONDS):
                raise EOFError
            self._pipe.recv()
            self._ready = True
        self._pipe.send(name)
        return self._pipe.recv() if self._pipe.poll(seconds) else None

    def last_words(self) -> str:
        """Return how it ended, with the end of what it wrote."""
        self._process.join(5.0)
        words = last_words(self._log.read_text(errors="replace")) if self._log.exists() else ""
        return f"the process ended with {self._process.exitcode}: {words}"

    def end(self) -> None:
        """End it; in peace if it listens."""
        with contextlib.suppress(OSError):
            self._pipe.send(None)
            self._process.join(10.0)
        self.kill()

    def kill(self) -> None:
        """End it and all that it started."""
        # Its own group once it has begun (`serve`), which outlives it where its workers do; before
        # that it is in ours, and alone.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join(5.0)
        self._pipe.close()


class Record:
    """The file, and what is in it."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self._lock = threading.Lock()
        known = read(path) if path.exists() else []
        if known and known[0] != header:
            sys.exit(f"{path} is of something else: {known[0]}, not {header}")
        text = "".join(json.dumps(line) + "\n" for line in known or [header])
        # Written anew: a run that was cut off may have left half a line.
        path.write_text(text)
        self._file = path.open("a")
        self.counts = collections.Counter(line["outcome"] for line in known[1:])
        self.done = {line["test"] for line in known[1:]}

    def add(self, test: str, outcomes: list[Outcome]) -> None:
        """Write what a test gave."""
        with self._lock:
            self._file.writelines(json.dumps({"test": test, **o}) + "\n" for o in outcomes)
            self._file.flush()
            self.counts.update(outcome["outcome"] for outcome in outcomes)
            self.done.add(test)


def read(path: Path) -> list[dict[str, Any]]:
    """Return a record's lines, without a last one that was cut off."""
    whole, _, _ = path.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def record(target: Target, wanted: list[str], file: Record, given: argparse.Namespace) -> None:
    """Run what is wanted in `given.workers` processes until it is done or the time is up."""
    ends = time.monotonic() + given.seconds
    waiting = collections.deque(name for name in wanted if name not in file.done)

    def work(number: int) -> None:
        process = None
        while waiting and time.monotonic() < ends:
            try:
                name = waiting.popleft()
            except IndexError:
                break
            process = process or Process(target, folder, number)
            limit = given.each * (CONTRACT_FACTOR if name.startswith(CONTRACT) else 1.0)
            left = ends - time.monotonic()
            found = _one(process, name, min(limit, left), cut=left < limit)
            if found is not None:
                file.add(name, found)
            if found is None or found[0]["outcome"] in ("died", "timed out"):
                process.kill()
                process = None
        if process is not None:
            process.end()

    with tempfile.TemporaryDirectory(prefix="roadworthy-record-") as name:
        folder = Path(name)
        threads = [threading.Thread(target=work, args=(n,)) for n in range(given.workers)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(1.0)
            if int(time.monotonic()) % 10 == 0:
                print(f"{len(file.done)} of {len(wanted)}: {dict(file.counts)}", flush=True)


def _one(process: Process, name: str, seconds: float, *, cut: bool) -> list[Outcome] | None:
    """Run a test; None when the whole record's time was up before it ended."""
    kind = "contract" if name.startswith(CONTRACT) else "onnx"
    said = {"kind": kind, "name": name.removeprefix(CONTRACT)}
    try:
        found = process.run(name, max(seconds, 0.1))
    except (EOFError, OSError):
        return [{**said, "outcome": "died", "error": process.last_words()}]
    if found is None and not cut:
        return [{**said, "outcome": "timed out", "error": f"not done after {seconds:.0f} s"}]
    return found


def header(target: Target) -> dict[str, Any]:
    """Return what is recorded; asks the target, so it fails at once where there is none."""
    versions = {name: metadata.version(name) for name in ("onnx", "onnx-ir", "numpy")}
    return {
        "target": target.backend,
        "fingerprint": dict(find(target.backend).fingerprint(target)),
        "versions": {**versions, "python": platform.python_version()},
    }


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--target", type=Target.parse, default=TARGET)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=540.0, help="for all")
    parser.add_argument("--each", type=float, default=60.0, help="seconds for one test")
    parser.add_argument("--match", default="", help="only tests with this in their name")
    given = parser.parse_args()
    started = time.monotonic()
    wanted = [name for name in names() if given.match in name]
    file = Record(given.out, header(given.target))
    record(given.target, wanted, file, given)
    left = [name for name in wanted if name not in file.done]
    print(f"{time.monotonic() - started:.0f} s: {dict(file.counts)}, {len(left)} not run")
    sys.exit(1 if left else 0)


if __name__ == "__main__":
    main()
