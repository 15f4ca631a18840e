"""No file name of a bundle climbs out, hides another, or means something else elsewhere."""

import pytest

from roadworthy.bundle.names import check_names, fault
from roadworthy.core.errors import BundleError


@pytest.mark.parametrize("name", ["model.onnx", "cases/a-b/000.feed.npz", ".hidden", "a..b", "0"])
def test_plain_names_are_fine(name):
    assert fault(name) is None
    check_names([name], "x.rw")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../x", "climbs out"),
        ("a/../../x", "climbs out"),
        ("a/..", "climbs out"),
        ("/etc/passwd", "absolute"),
        ("\\\\host\\share", "absolute"),
        ("C:\\x", "drive"),
        ("c:x", "drive"),
        ("a\\b", "backslash"),
        ("a\0b", "NUL"),
        ("", "empty component"),
        ("a//b", "empty component"),
        ("a/", "empty component"),
        ("./a", "empty component"),
        ("a b", "characters"),
        ("é", "characters"),
        ("a\nb", "characters"),
        ("file.txt:stream", "characters"),
        ("\udcff", "characters"),
        ("a.", "ends in"),
        ("...", "ends in"),
        ("a/NUL", "device"),
        ("com1.txt", "device"),
        ("a" * 241, "longer"),
    ],
)
def test_other_names_are_refused_with_the_reason(name, reason):
    with pytest.raises(BundleError) as caught:
        check_names([name], "x.rw")
    assert reason in caught.value.what
    assert caught.value.where == "x.rw"


def test_names_that_differ_by_case_alone_would_be_one_file_elsewhere():
    with pytest.raises(BundleError, match="differ only by case"):
        check_names(["cases/A", "Cases/a"], "x.rw")


def test_a_file_is_not_a_folder_too():
    with pytest.raises(BundleError, match="is a file, and the folder of"):
        check_names(["a", "A/b/c"], "x.rw")
