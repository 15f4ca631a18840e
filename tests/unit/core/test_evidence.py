"""A certificate read back is the one that was written; a damaged one names the damaged field."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from roadworthy.core.errors import BundleError
from roadworthy.core.evidence import read_certificate
from tests.unit.report.made import as_json, certificate, failed


def test_what_was_written_is_read_back() -> None:
    for made in (certificate(), failed(), certificate(latency=None, comparison=None)):
        assert read_certificate(as_json(made), "here") == made


def test_floats_that_json_has_no_word_for() -> None:
    data = as_json(certificate())
    metrics = data["verdict"]["cases"][0]["outputs"][0]["metrics"]
    metrics.update(mvre="nan", sqnr_db="-inf", max_abs=1)
    read = read_certificate(data, "here").verdict.cases[0].outputs[0].metrics
    assert math.isnan(read.mvre)
    assert read.sqnr_db == -math.inf
    assert isinstance(read.max_abs, float)


def test_a_later_version_may_add_facts() -> None:
    made = certificate()
    assert read_certificate({**as_json(made), "calibration": 1}, "here") == made


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("target", 3),
        ("passed", "yes"),
        ("passed", 1),
        ("labels", "smoke test"),
        ("samples.count", 7.5),
        ("samples.count", True),
        ("verdict.cases", {}),
        ("verdict.seconds", []),
        ("verdict.seconds", {"engine": "long"}),
        ("reference.noise", None),
        ("latency", []),
        ("comparison.ratio", "1.6"),
        ("comparison.ratio", 10**400),
        ("model.signature", {"inputs": 3}),
        ("model.signature", {"inputs": [{"name": "x", "dtype": "f", "shape": [{}]}]}),
    ],
)
def test_a_field_of_another_type_is_named(path: str, wrong: Any) -> None:
    data = as_json(certificate())
    *folders, last = path.split(".")
    place = data
    for folder in folders:
        place = place[folder]
    place[last] = wrong
    with pytest.raises(BundleError, match=path) as caught:
        read_certificate(data, "certificates/a.json")
    assert caught.value.where == "certificates/a.json"
    assert caught.value.remedy


@pytest.mark.parametrize("path", ["target", "verdict", "model"])
def test_a_missing_field_is_named(path: str) -> None:
    data = as_json(certificate())
    del data[path]
    with pytest.raises(BundleError, match=f"{path} is missing"):
        read_certificate(data, "here")


def test_a_metric_that_is_unknown() -> None:
    data = as_json(certificate())
    data["verdict"]["cases"][1]["outputs"][0]["tolerance"]["metric"] = "good looks"
    with pytest.raises(BundleError, match=r"cases\[1\].outputs\[0\].tolerance.metric"):
        read_certificate(data, "here")


def test_equal_certificates_only() -> None:
    assert read_certificate(as_json(certificate()), "here") != replace(certificate(), target="x")


def test_a_certificate_of_another_version_is_refused() -> None:
    for other in ({}, {"schema": None}, {"schema": "roadworthy/certificate/2"}):
        with pytest.raises(BundleError, match="schema") as caught:
            read_certificate(other, "there")
        assert (caught.value.where, caught.value.exit_code) == ("there", 2)
