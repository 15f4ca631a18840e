"""Ctrl-C and SIGTERM amid a deploy: exit 130, nothing left behind, the document still written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.cli import made


@pytest.fixture
def place(tmp_path):
    """A network and an earlier bundle that must survive."""
    made.write_perceptron(tmp_path)
    (tmp_path / "network").mkdir()
    made.write_network(tmp_path / "network")
    return tmp_path


class Started:
    """A command that was started, to be interrupted."""

    def __init__(self, place: Path, scratch: Path, *words: object) -> None:
        self.scratch = scratch
        self.errors = place.parent / f"{place.name}.stderr"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "roadworthy", *map(str, words)],
                env={**os.environ, "TMPDIR": str(scratch)},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def wait_for(self, stage: str) -> None:
        """Wait until a stage is announced, or, with --json, until an engine is being timed."""
        deadline = time.monotonic() + 120
        while not self._reached(stage):
            assert self.process.poll() is None, self.errors.read_text()
            assert time.monotonic() < deadline, self.errors.read_text()
            time.sleep(0.02)

    def _reached(self, stage: str) -> bool:
        if stage == "timing":
            return any(self.scratch.glob("roadworthy-*/stderr.txt"))
        return stage in self.errors.read_text()

    def end(self) -> made.Ended:
        """Wait for the end of it."""
        out, _ = self.process.communicate(timeout=60)
        return made.Ended(self.process.returncode, out, self.errors.read_text())


def still_running(scratch: Path) -> list[str]:
    """Return the command lines of processes that work in a folder, or for one that does."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words, environment = (
                (folder / name).read_bytes().replace(b"\0", b" ").decode(errors="replace")
                for name in ("cmdline", "environ")
            )
        except OSError:  # it ended while we looked, or is another user's
            continue
        if str(scratch) in words + environment and folder.name != str(os.getpid()):
            found.append(words)
    return found


def timed(place, *words):
    """A deploy that spends a minute timing."""
    model, samples = place / "model.onnx", place / "samples.npz"
    return ("deploy", model, "--samples", samples, "--measure-seconds", "60", *words)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_interrupted_while_timing(place, scratch, number):
    before = made.listing(place)
    started = Started(place, scratch, *timed(place, "--out", place / "b.rw"))
    started.wait_for("timing")
    started.process.send_signal(number)
    ended = started.end()
    assert ended.code == 130
    assert "interrupted" in ended.err
    assert "Traceback" not in ended.err
    assert made.listing(place) == before
    assert made.listing(scratch) == {}
    assert still_running(scratch) == []


def test_with_json_the_document_is_still_written(place, scratch):
    started = Started(place, scratch, *timed(place, "--out", place / "b", "--json"))
    started.wait_for("timing")
    # As `timeout` does: to the process, then to its group.
    started.process.send_signal(signal.SIGTERM)
    started.process.send_signal(signal.SIGTERM)
    ended = started.end()
    assert ended.code == 130
    assert ended.error["code"] == "interrupted"
    assert ended.err == ""
    assert not (place / "b").exists()
    assert made.listing(scratch) == {}
    assert still_running(scratch) == []


@pytest.mark.parametrize("stage", ["open the source", "export to ONNX"])
def test_interrupted_while_a_network_comes_in(place, scratch, stage):
    before = made.listing(place)
    network = place / "network"
    started = Started(
        place,
        scratch,
        *("deploy", f"{network}/net.py:net", "--samples", network / "samples"),
        *("--out", place / "b.rw"),
    )
    started.wait_for(stage)
    started.process.send_signal(signal.SIGINT)
    ended = started.end()
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert made.listing(place) == before
    assert made.listing(scratch) == {}


def test_what_was_ignored_stays_ignored(place, scratch):
    """`nohup roadworthy …` goes on when its terminal hangs up."""
    model, samples = place / "model.onnx", place / "samples.npz"
    words = ["deploy", str(model), "--samples", str(samples), "--measure-seconds", "0.3", "--json"]
    program = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        "from roadworthy.cli.main import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", program, *words],
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        while not any(scratch.glob("roadworthy-*/stderr.txt")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert json.loads(out)["error"] is None
