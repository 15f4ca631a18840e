"""Errors: what they say, their exit codes, and which code stands for several."""

from __future__ import annotations

import inspect
import itertools

import pytest

from roadworthy.core import errors
from roadworthy.core.errors import MissingExtraError, RoadworthyError, worst_exit_code

EXIT_CODES = {
    "RoadworthyError": 1,
    "UsageError": 2, "InputError": 2, "SamplesError": 2, "WeightsError": 2, "BundleError": 2,
    "UntrustedError": 2,
    "WrongAnswersError": 3, "OraclesDisagreeError": 3,
    "UnavailableError": 4, "MissingExtraError": 4, "CompileError": 4, "RunError": 4,
    "DiedError": 4,
    "BudgetError": 5,
}  # fmt: skip

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, RoadworthyError)
}


def test_every_error_has_the_exit_code_of_the_contract() -> None:
    assert {name: cls.exit_code for name, cls in CLASSES.items()} == EXIT_CODES


def test_every_error_is_drawn_at_the_top_of_its_module_with_its_exit_code() -> None:
    drawn = {
        line.split("exit")[0].strip("│├└─ "): int(line.split("exit")[1].split()[0])
        for line in str(errors.__doc__).splitlines()
        if "Error " in line and "exit" in line
    }
    assert drawn == EXIT_CODES


def test_codes_of_the_json_document_tell_errors_apart() -> None:
    assert len({cls.code for cls in CLASSES.values()}) == len(CLASSES)


def test_the_json_form_has_the_four_fields_of_the_contract() -> None:
    error = errors.InputError("it is cut off", where="m.onnx", remedy="copy it again")
    assert error.to_json() == {
        "code": "input",
        "what": "it is cut off",
        "where": "m.onnx",
        "remedy": "copy it again",
    }
    assert errors.RunError("no").to_json() == {
        "code": "run", "what": "no", "where": None, "remedy": None,
    }  # fmt: skip


def test_the_text_says_what_where_and_what_to_do_one_a_line() -> None:
    error = errors.UsageError("what", where="here", remedy="that")
    assert str(error) == "what\n  where: here\n  remedy: that"
    assert str(errors.UsageError("what")) == "what"


def test_a_missing_extra_names_the_command_that_installs_it() -> None:
    error = MissingExtraError("PIL", "vision", "reading images")
    assert error.remedy == 'pip install "roadworthy[vision]"'
    assert "PIL" in error.what and "reading images" in error.what


@pytest.mark.parametrize(
    ("codes", "worst"),
    [
        ([], 0),
        ([0, 0], 0),
        ([0, 4], 4),
        ([4, 5], 5),
        ([5, 4, 3], 3),
        ([3, 5, 4, 1], 1),
        ([2, 4], 4),
        ([0, 2], 2),
        ([130, 0], 130),
    ],
)
def test_the_worst_of_several_targets_in_the_order_1_3_5_4(codes: list[int], worst: int) -> None:
    assert {worst_exit_code(list(order)) for order in itertools.permutations(codes)} == {worst}
