"""JSON from strangers: one meaning, or an error."""

import json

import pytest

from roadworthy.bundle.strict import Fields, load_object, loads
from roadworthy.core.errors import BundleError


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": "\\ud800"}',
        b"[" * 200_000,
        b"[" * 65 + b"]" * 65,
        b'{"a": ' + b"9" * 10_000 + b"}",
        b"{} {}",
    ],
)
def test_what_is_not_strict_json_is_refused(text):
    with pytest.raises(BundleError) as caught:
        loads(text, "manifest.json")
    assert caught.value.where == "manifest.json"


@pytest.mark.parametrize("text", ["1", "null", '"x"', "[]", '{"a": [{"b": "ünï"}]}'])
def test_ordinary_json_is_read(text):
    assert loads(text.encode(), "x") == json.loads(text)


def test_a_document_must_be_an_object():
    with pytest.raises(BundleError, match="holds a list, not an object"):
        load_object(b"[]", "x")


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (lambda f: f.text("a"), {}, "a is missing"),
        (lambda f: f.text("a"), {"a": 1}, "a is the number 1, not text"),
        (lambda f: f.integer("a"), {"a": True}, "a is true or false, not a whole number"),
        (lambda f: f.integer("a"), {"a": -1}, "a is the number -1"),
        (lambda f: f.integer("a"), {"a": 1.0}, "a is the number 1.0"),
        (lambda f: f.flag("a"), {"a": 0}, "not true or false"),
        (lambda f: f.items("a"), {"a": None}, "a is null, not a list"),
        (lambda f: f.texts("a"), {"a": ["x", 2]}, "a holds the number 2 at 1"),
        (lambda f: f.child("a"), {"a": []}, "a is a list, not an object"),
        (lambda f: f.children("a"), {"a": [{}, "x"]}, r"a\[1\] is text, not an object"),
        (lambda f: f.child("a").text("b"), {"a": {}}, "a.b is missing"),
        (lambda f: f.done(), {"b": 1}, "b is no field of this schema"),
    ],
)
def test_each_field_has_its_type(read, value, message):
    with pytest.raises(BundleError, match=message):
        read(Fields(value, "", "x"))
