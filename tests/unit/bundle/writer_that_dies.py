"""A program that writes bundles until it is killed; run by `test_killed.py`.

Reads one order a line from standard input, forks a child for each, answers in one line:
`forever PATH` → `started PID` at once, then `ended` when the child was killed;
`step N PATH`  → `killed` if the child died at its Nth step, `finished` if it had fewer.
A step is whatever Python audits of the file system: opening, renaming, removing, listing.
"""

import os
import signal
import sys
from pathlib import Path

from roadworthy.bundle.writer import write_bundle
from tests.unit.bundle import made

OLD, NEW = "old", "new"


def content(which: str):
    """Two bundles that differ in every case's name and in size."""
    count = 1 if which == OLD else 2
    items = [made.item(f"{which}{index}", 5) for index in range(count)]
    return made.content(cases=[made.ContentCase(which, False, {}, items)], preprocess=None)


def forever(path: Path) -> None:
    bundles = [content(OLD), content(NEW)]
    while True:
        for bundle in bundles:
            write_bundle(path, bundle)


def until_step(path: Path, last: int) -> None:
    bundle = content(NEW)
    left = last

    def count(event: str, _arguments: object) -> None:
        nonlocal left
        left -= event.startswith(("open", "os.", "shutil.", "ctypes."))
        if left == -1:  # killing is audited too, and would come back here
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    write_bundle(path, bundle)


def main() -> None:
    for line in sys.stdin:
        order, *rest = line.split()
        child = os.fork()
        if child == 0:
            if order == "forever":
                forever(Path(rest[0]))
            until_step(Path(rest[1]), int(rest[0]))
            os._exit(0)
        if order == "forever":
            print("started", child, flush=True)
        _, status = os.waitpid(child, 0)
        if order == "forever":
            print("ended", flush=True)
        else:
            print({9: "killed", 0: "finished"}.get(status, f"failed: {status}"), flush=True)


if __name__ == "__main__":
    main()
