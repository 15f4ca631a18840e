"""What every refusal has in common: one message, in both forms, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

from tests.unit.cli import made


class Bomb:
    """Unpickling it leaves a file behind, wherever that happens."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self):
        return (open, (self.mark, "w"))


def refused(command, scratch, place, *words, code="", exit_code=2):
    """Run with and without --json, check everything that holds for each; return the message."""
    before = made.listing(place, scratch)
    spoken = command(*words)
    assert spoken.code == exit_code, spoken
    assert spoken.out == ""
    assert "Traceback" not in spoken.err
    lines = [line for line in spoken.err.splitlines() if not line.startswith("[")]
    assert sum(line.startswith("error") for line in lines) == 1, spoken.err
    assert all(line.split()[0] in ("error", "where", "remedy") for line in lines), spoken.err
    documented = command(*words, "--json")
    assert documented.err == ""
    assert documented.code == exit_code
    error = documented.error
    assert documented.document["result"] is None
    if code:
        assert error["code"] == code
    assert error["what"] in spoken.err.replace("\n", " ") or "\n" in error["what"]
    assert made.listing(place, scratch) == before
    return error


def deploy(place, model="model.onnx", samples="samples.npz", *words):
    out = ("--out", place / "new.rw", "--measure-seconds", "0")
    return ("deploy", place / model, "--samples", place / samples, *out, *words)
