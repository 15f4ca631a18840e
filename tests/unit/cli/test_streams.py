"""What goes where: one document on standard output, and nothing that a stream does is a defect."""

from __future__ import annotations

import errno
import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from roadworthy.cli.output import Outcome, Reporter
from roadworthy.cli.progress import ProgressDisplay
from tests.unit.cli import made
from tests.unit.cli.made import roadworthy


@pytest.fixture
def place(tmp_path):
    made.write_perceptron(tmp_path)
    return tmp_path


def deploy(place, *words):
    model, samples = place / "model.onnx", place / "samples.npz"
    return ("deploy", model, "--samples", samples, "--measure-seconds", "0", *words)


def on_a_terminal(*words: object) -> tuple[int, str]:
    """Run a command with all three streams on a terminal; return its exit code and screen."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-P", "-m", "roadworthy", *map(str, words)]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=made.ROOT
    ) as process:
        os.close(theirs)
        screen = bytearray()
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError as error:
                assert error.errno == errno.EIO  # Linux's end of a terminal
                break
            if not part:
                break
            screen += part
    os.close(ours)
    return process.returncode, screen.decode()


@pytest.fixture
def bundle(command, place):
    """A bundle: what is quick to look at."""
    assert command(*deploy(place, "--out", place / "b.rw")).code == 0
    return place / "b.rw"


def test_on_a_terminal_there_is_a_bar_and_a_summary(bundle):
    code, screen = on_a_terminal("verify", bundle)
    assert code == 0
    assert "━" in screen
    assert "verified" in screen
    assert "\x1b[" in screen


def test_with_json_a_terminal_shows_the_document_alone(bundle):
    code, screen = on_a_terminal("verify", bundle, "--json")
    ended = made.Ended(code, screen.replace("\r\n", "\n"), "")
    assert ended.document["result"]["passed"] is True
    assert "\x1b" not in screen


def test_without_a_terminal_progress_is_plain_lines(command, place):
    ended = command(*deploy(place))
    assert ended.code == 0
    assert "\x1b" not in ended.out + ended.err
    lines = ended.err.splitlines()
    assert lines
    assert all(line.startswith("[") for line in lines)
    assert "verified" in ended.out


def test_whatever_a_network_prints_the_document_stays_alone(tmp_path):
    """Print, at import, in the factory and in forward; and a write to file descriptor 1."""
    made.write_network(tmp_path)
    ended = roadworthy(
        *("deploy", f"{tmp_path}/net.py:loud", "--samples", tmp_path / "samples"),
        *("--measure-seconds", "0", "--json"),
    )
    assert ended.document["exit_code"] == 0
    for said in ("said in the factory", "said in forward", "written to descriptor 1"):
        assert said in ended.err


def test_the_environment_does_not_choose_the_encoding(command, place):
    (place / "ünïcode").mkdir()
    out = place / "ünïcode" / "b.rw"
    assert command(*deploy(place, "--out", out)).code == 0
    ended = roadworthy("bundle", "show", out, "--json", PYTHONIOENCODING="latin-1")
    assert ended.document["result"]["path"] == str(out)
    ended = roadworthy("bundle", "show", out, PYTHONIOENCODING="ascii")
    assert ended.code == 0
    assert "\\xfcn\\xefcode" in ended.out


def test_a_file_name_that_is_no_text(command, place):
    """File names on Linux are bytes."""
    odd = Path(os.fsdecode(os.fsencode(place) + b"/odd\xff"))
    odd.mkdir()
    made.write_perceptron(odd)
    assert command(*deploy(odd, "--out", odd / "b.rw")).code == 0
    assert "odd\\udcff" in roadworthy("bundle", "show", odd / "b.rw").out
    found = roadworthy("bundle", "show", odd / "b.rw", "--json").document
    assert "odd\\udcff" in found["result"]["path"]


@pytest.mark.parametrize("name", ["a[bold]b", "e[zip]f", "[", ":boom:"])
def test_names_are_not_markup(command, place, name):
    folder = place / name
    folder.mkdir()
    made.write_perceptron(folder)
    for words in (
        deploy(folder, "--out", folder / "b.rw"),
        ("bundle", "show", folder / "b.rw"),
        ("bundle", "extract", folder / "b.rw", "--out", folder / "plain"),
        ("verify", folder / "b.rw"),
        ("report", folder / "b.rw", "--out", folder / "page.html"),
    ):
        ended = command(*words)
        assert ended.code == 0, ended
        if words[0] != "verify":
            assert str(folder) in ended.out
    ended = command("bundle", "show", folder / "nowhere.rw")
    assert str(folder) in ended.err


def test_a_reader_that_goes_away_changes_nothing(place, bundle):
    """`roadworthy … | head -1`: the work is done, the exit code is the truth."""
    plain = ("bundle", "extract", bundle, "--out", place / "plain")
    for words, code in (
        (("verify", bundle), 0),
        (plain, 0),
        (("bundle", "show", place / "no.rw"), 2),
    ):
        for more in [[]] if words is plain else [[], ["--json"]]:
            reading, writing = os.pipe()
            os.close(reading)
            process = subprocess.run(
                [sys.executable, "-P", "-m", "roadworthy", *map(str, words), *more],
                stdout=writing,
                stderr=writing,
                check=False,
                timeout=120,
            )
            os.close(writing)
            assert process.returncode == code
    assert (place / "plain" / "model.onnx").is_file()


def test_closed_streams(bundle):
    words = f"bundle show {bundle}"
    for redirect in (">&-", "2>&-", ">&- 2>&-"):
        for more in ("", "--json"):
            shell = f"{sys.executable} -P -m roadworthy {words} {more} {redirect}"
            ended = subprocess.run(shell, shell=True, check=False, capture_output=True, timeout=120)
            assert ended.returncode == 0, (redirect, more, ended.stderr)


def test_a_document_that_could_not_be_delivered_is_no_success(bundle):
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "roadworthy", "bundle", "show", str(bundle), "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=120,
        )
    assert ended.returncode == 2
    assert "standard output" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_json_is_silent(command, place):
    ended = command(*deploy(place, "--json"))
    assert ended.err == ""
    assert ended.document["error"] is None


def test_a_document_never_has_numbers_that_json_lacks(capsys):
    Reporter("test", True).finish(Outcome({"a": float("nan"), "b": float("inf")}))
    assert capsys.readouterr().out.count("NaN") == 0


def test_progress_on_a_terminal_keeps_to_one_line_and_takes_names_literally(monkeypatch):
    """A terminal of 60 columns, a stage whose name is longer and looks like markup."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with ProgressDisplay(silent=False) as progress:
        progress("read [bold]x[/nonsense] " + "long " * 40, 0.5)
    shown = terminal.getvalue()
    assert "[bold]x" in shown
    assert "…" in shown
    assert "\n\n" not in shown
