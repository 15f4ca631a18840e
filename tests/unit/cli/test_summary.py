"""What a certificate says on the terminal."""

from roadworthy.cli.output import Reporter
from roadworthy.cli.summary import summary
from tests.unit.report.made import certificate

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
