"""Time per executed step, on the names of the ONNX nodes."""

import pytest

from tests.models import convnet_weights, network, normal
from tests.unit.backends.openvino.made import NAMED, compiled, cpu_can

IMAGE = {"image": normal(1, 1, 64, 64)}


@pytest.mark.parametrize("named", [True, False])
def test_every_node_is_found_once_under_its_own_name(named):
    """Fused steps name all their nodes; a node without a name goes by its output."""
    text = (
        NAMED
        if named
        else "\n".join(
            line.partition("]")[2] if line.strip().startswith("[") else line
            for line in NAMED.splitlines()
        )
    )
    with compiled(network(text, convnet_weights())).open() as session:
        rows = session.profile(IMAGE, 3)
    wanted = ["first", "positive", "second", "curve"] if named else ["c", "r", "s", "y"]
    assert sorted(name for row in rows for name in row["onnx"]) == sorted(wanted)
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert all(row["median_us"] >= 0 and row["name"] and row["kind"] for row in rows)
    assert all(row["tactic"] for row in rows if row["kind"] == "Convolution")
    assert {row["precision"] for row in rows} == {"fp32"}


def test_a_session_that_was_profiled_still_runs_and_times():
    with compiled(network(NAMED, convnet_weights())).open() as session:
        session.profile(IMAGE, 1)
        assert session.run(IMAGE)["y"].shape == (1, 2, 64, 64)
        assert len(session.time(IMAGE, 3, 1)["host"]) == 3


@pytest.mark.skipif(not cpu_can("BF16"), reason="this CPU has no bf16")
def test_the_precision_is_the_one_that_a_step_runs_in():
    """Asked for bf16, the convolutions run in it, and the steps that convert say so."""
    with compiled(network(NAMED, convnet_weights()), "bf16").open() as session:
        rows = session.profile(IMAGE, 1)
    ran = {row["precision"] for row in rows if row["kind"] == "Convolution"}
    assert ran == {"bf16"}
