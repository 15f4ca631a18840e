"""Bundles whose digests are right and whose contents were changed: told, never a defect of ours."""

from __future__ import annotations

import json

import pytest

from roadworthy.bundle.writer import write_bundle
from tests.unit.bundle import made
from tests.unit.cli.refusals import refused

CERTIFICATE = "certificates/onnxruntime.json"


@pytest.fixture
def folder(tmp_path):
    write_bundle(tmp_path / "b", made.content(preprocess=None))
    return tmp_path / "b"


def change(folder, edit):
    """Let `edit` change the certificate, and give all digests anew."""
    data = json.loads((folder / CERTIFICATE).read_bytes())
    edit(data)
    made.forge(folder, CERTIFICATE, json.dumps(data).encode())


def tolerance(data):
    return data["verdict"]["cases"][0]["outputs"][0]["tolerance"]


@pytest.mark.parametrize("verb", [("verify",), ("bundle", "show")])
def test_a_certificate_without_a_field(command, scratch, folder, verb):
    change(folder, lambda data: tolerance(data).pop("limit"))
    error = refused(command, scratch, folder, *verb, folder, code="bundle")
    assert "tolerance.limit is missing" in error["what"]


@pytest.mark.parametrize("limit", [0.02, 1e30, "inf", "nan"])
def test_a_limit_that_was_widened(command, scratch, folder, limit):
    change(folder, lambda data: tolerance(data).update(limit=limit))
    error = refused(command, scratch, folder, "verify", folder, code="bundle")
    assert "more than any fp32 engine is" in error["what"]


def test_words_that_are_markup_or_steer_a_terminal(command, folder):
    change(folder, lambda data: data.update(labels=["[/a]", "\x1b[31m\r\u202e"]))
    ended = command("verify", folder)
    assert ended.code == 0, ended
    assert r"([/a])  (\x1b[31m\r\u202e)" in ended.out
