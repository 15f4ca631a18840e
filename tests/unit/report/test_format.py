"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from roadworthy.report import format as fmt


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (1.8e-07, "1.8e-07"),
        (-1.8e-07, "−1.8e-07"),
        (0.001, "0.001"),
        (0.25, "0.25"),
        (-0.25, "−0.25"),
        (36.62, "36.6"),
        (999.96, "1,000"),
        (1234.5, "1,234"),
        (3.2e9, "3.2e+09"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (math.nan, "NaN"),
    ],
)
def test_number(value: float, shown: str) -> None:
    assert fmt.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.0, "1"), (1 - 4.1e-14, "1 − 4.1e-14"), (0.99941, "0.99941"), (-1.0, "−1"), (0.0, "0")],
)
def test_cosine_near_one_tells_how_near(value: float, shown: str) -> None:
    assert fmt.cosine(value) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.0, "0 %"),
        (1e-6, "< 0.01 %"),
        (0.00034, "0.034 %"),
        (0.018, "1.8 %"),
        (0.88, "88 %"),
        (3.12, "312 %"),
        (1753.1, "1,753×"),
        (math.inf, "∞"),
        (math.nan, "NaN"),
    ],
)
def test_share_of_a_limit(share: float, shown: str) -> None:
    assert fmt.of_limit(share) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0 s"),
        (0.0004, "< 1 ms"),
        (0.007, "7 ms"),
        (0.31, "0.31 s"),
        (12.42, "12.4 s"),
        (59.97, "1 min 0 s"),
        (125.2, "2 min 5 s"),
        (math.inf, "∞"),
    ],
)
def test_seconds(value: float, shown: str) -> None:
    assert fmt.seconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 B"), (812, "812 B"), (7_800_000, "7.8 MB"), (67_400_000_000, "67.4 GB")],
)
def test_size(value: int, shown: str) -> None:
    assert fmt.size(value) == shown


def test_units_and_words() -> None:
    assert fmt.against(0.018, "the tolerance") == "1.8 % of the tolerance"
    assert fmt.against(1753.1, "the tolerance") == "1,753 times the tolerance"
    assert fmt.ratio(2.614) == "2.61×"
    assert fmt.milliseconds(0.1234) == "0.123 ms"
    assert fmt.decibel(-3.04) == "−3.0 dB"
    assert fmt.counted(1, "sample") == "1 sample"
    assert fmt.counted(1200, "sample") == "1,200 samples"
    assert fmt.axes({}) == "fixed"
    assert fmt.shape(()) == "scalar"
    assert fmt.moment("2026-11-20T14:09:58+00:00") == "2026-11-20 14:09:58 UTC"
    assert fmt.moment("some day") == "some day"
