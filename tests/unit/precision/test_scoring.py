"""A score is what NumPy says, and the worst of what can't be compared."""

import math

import pytest

from roadworthy.precision.scoring import sqnr_db


def test_decibels() -> None:
    assert sqnr_db(100.0, 1.0) == pytest.approx(20.0)
    assert sqnr_db(1.0, 0.0) == math.inf
    assert sqnr_db(0.0, 1.0) == sqnr_db(math.nan, 1.0) == sqnr_db(1.0, math.inf) == -math.inf
