"""What a certificate says on the terminal."""

import re
import sys

from roadworthy.cli.output import Reporter
from roadworthy.cli.summary import summary, tell_lowering
from tests.unit.report.made import LOWERING, certificate, ranges

PROOF = {
    "layers": {"int8": 38, "fp32": 4},
    "macs": {"int8": 0.92, "fp32": 0.08},
    "nodes": {"conv1": "fp32"},
    "findings": ["1 of 39 nodes planned in int8 run in fp32: conv1, 3 % of all MACs"],
    "notes": ["the engine doesn't tell [this]"],
}


def lines(capsys, **engine) -> list[str]:
    summary(Reporter("deploy"), certificate(engine=engine))
    return capsys.readouterr().out.splitlines()


def test_it_says_what_the_engine_runs_in_and_where_that_is_less_than_planned(capsys) -> None:
    said = lines(capsys, proof=PROOF)
    assert "runs in int8 92 % of MACs (38 layers), fp32 8 % (4)" in said
    assert "less    1 of 39 nodes planned in int8 run in fp32: conv1, 3 % of all MACs" in said
    assert "        the engine doesn't tell [this]" in said


def test_an_engine_that_tells_nothing_has_no_such_line(capsys) -> None:
    assert not any(line.startswith("runs in") for line in lines(capsys))


class TestAPlan:
    def said(self, capsys, **changes) -> list[str]:
        tell_lowering(Reporter("deploy"), {**LOWERING, **changes})
        return capsys.readouterr().out.splitlines()

    def test_begins_with_what_was_asked(self, capsys) -> None:
        assert "plan    42 nodes in int8, 3 nodes in fp32 (for onnxruntime)" in self.said(capsys)

    def test_knows_one_from_many(self, capsys) -> None:
        said = self.said(
            capsys, nodes={"int8": 1}, calibration=ranges(count=1, tensors=1, skipped={})
        )
        assert "plan    1 node in int8 (for onnxruntime)" in said
        assert "ranges  mse, from 1 sample, 1 tensor" in said

    def test_calls_only_those_samples_held_back_that_were(self, capsys) -> None:
        assert "        on 2 samples held back: entropy 39.8 dB, mse 39.7 dB" in self.said(capsys)
        said = self.said(capsys, notes=["compared on what they were calibrated on"])
        assert "        on 2 samples: entropy 39.8 dB, mse 39.7 dB" in said

    def test_tells_shares_of_labels_from_decibels(self, capsys) -> None:
        scores = [
            {"method": "mse", "sqnr_db": 0.991, "is_share": True, "outputs": {}},
            {"method": "minmax", "sqnr_db": 0.62, "is_share": True, "outputs": {}},
        ]
        trial = {**LOWERING["bias_correction"], "without_db": 0.991, "with_db": 0.9923}
        said = self.said(capsys, scores=scores, bias_correction={**trial, "is_share": True})
        assert "        on 2 samples held back: mse 99.1 % equal, minmax 62.0 % equal" in said
        [biases] = [line for line in said if line.startswith("biases")]
        assert biases.endswith("(99.1 % equal without, 99.2 % equal with correction)")

    def test_tells_how_many_findings_it_leaves_out(self, capsys) -> None:
        said = self.said(capsys, calibration=ranges(findings=[f"f{i}" for i in range(9)]))
        assert "note    f4" in said
        assert "note    f5" not in said
        assert "        … and 4 more: see the certificate" in said


class TestALongLine:
    TEXT = "checks  [green]" + "a word and " * 12 + "an end[/]"

    def told(self, monkeypatch, capsys, width: int, watched: bool) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: watched, raising=False)
        Reporter("deploy").tell(self.TEXT)
        return re.sub("\x1b[^m]*m", "", capsys.readouterr().out).splitlines()

    def test_is_broken_at_words_below_its_own_beginning(self, monkeypatch, capsys) -> None:
        first, *others = self.told(monkeypatch, capsys, 40, True)
        assert first.startswith("checks  a word")
        assert all(line.startswith("        ") and line[8] != " " for line in others)
        assert max(map(len, [first, *others])) <= 40
        assert " ".join(" ".join([first, *others]).split()).endswith("a word and an end")

    def test_stays_one_line_where_it_fits_or_nobody_watches(self, monkeypatch, capsys) -> None:
        assert len(self.told(monkeypatch, capsys, 300, True)) == 1
        assert len(self.told(monkeypatch, capsys, 40, False)) == 1

    def test_is_left_to_a_very_narrow_terminal(self, monkeypatch, capsys) -> None:
        assert len(self.told(monkeypatch, capsys, 20, True)) == 1
