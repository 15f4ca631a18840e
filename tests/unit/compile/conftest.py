"""One engine for all: to compile takes seconds."""

from __future__ import annotations

import pytest
import torch

import roadworthy
from tests.unit.compile.made import Perceptron, seeded


@pytest.fixture(scope="package")
def network():
    return seeded(Perceptron)


@pytest.fixture(scope="package")
def engine(network):
    """A network of any number of rows up to eight."""
    network.train()
    return roadworthy.compile(
        network,
        (torch.randn(3, 3),),
        inputs="x[rows=1..8,3]",
        threads=1,
        samples=[torch.ones(2, 3)],
    )


@pytest.fixture(scope="package")
def state(engine):
    return engine.state_dict()["_extra_state"]
