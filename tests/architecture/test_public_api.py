"""What users may rely on, name by name: a change here is a change of the contract."""

from __future__ import annotations

import inspect
import pkgutil

import pytest

import roadworthy
from roadworthy.core import errors
from roadworthy.pipeline.request import Request, RequestOptions

PUBLIC = [
    "BudgetError",
    "Dim",
    "EngineModule",
    "InputError",
    "LoadedBundle",
    "RoadworthyError",
    "Signature",
    "TensorSpec",
    "UnavailableError",
    "UsageError",
    "WrongAnswersError",
    "compile",
    "deploy",
    "load",
    "verify_bundle",
]


def test_the_names():
    assert roadworthy.__all__ == PUBLIC
    assert dir(roadworthy) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_each_is_there_and_documented(name):
    value = getattr(roadworthy, name)
    assert value.__name__ == name
    assert inspect.getdoc(value)


def test_no_name_is_that_of_a_folder():
    """Importing the folder would put the module in the function's place."""
    folders = {item.name for item in pkgutil.iter_modules(roadworthy.__path__)}
    assert not folders & set(PUBLIC)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nosuch"):
        _ = roadworthy.nosuch
    assert not hasattr(roadworthy, "Bundle")


def test_what_a_loaded_bundle_offers():
    public = {name for name in vars(roadworthy.LoadedBundle) if not name.startswith("_")}
    assert public == {
        *("certificate", "close", "contract", "notes", "preprocess", "run", "signature")
    }


def test_the_signatures():
    assert list(inspect.signature(roadworthy.load).parameters) == [
        *("path", "target", "rebuild", "progress")
    ]
    verify = list(inspect.signature(roadworthy.verify_bundle).parameters)
    assert verify == ["path", "target", "progress"]
    deploy = list(inspect.signature(roadworthy.deploy).parameters)
    assert deploy == ["source", "samples", "progress", "options"]
    compiled = inspect.signature(roadworthy.compile).parameters
    assert [name for name, item in compiled.items() if item.kind is not item.KEYWORD_ONLY] == [
        "module",
        "example",
    ]
    # Each option of a deploy that makes sense for a module in memory, under the same name.
    own = {"target", "samples", "progress"}
    assert {n for n, item in compiled.items() if item.kind is item.KEYWORD_ONLY} - own == set(
        RequestOptions.__annotations__
    ) - {"weights", "preprocess", "targets", "objective", "out", "trust"}


def test_what_an_engine_module_offers():
    public = {name for name in vars(roadworthy.EngineModule) if not name.startswith("_")}
    asked_by_torch = {"forward", "train", "get_extra_state", "set_extra_state", "extra_repr"}
    assert public - asked_by_torch == {"certificate", "load", "save", "signature", "target"}


def test_the_options_are_the_requests_fields():
    fields = set(Request.__dataclass_fields__) - {"source", "samples"}
    assert set(RequestOptions.__annotations__) == fields


def test_the_exit_codes():
    """DESIGN.md: scripts rely on them."""
    assert roadworthy.RoadworthyError.exit_code == 1
    assert roadworthy.UsageError.exit_code == 2
    assert roadworthy.InputError.exit_code == 2
    assert roadworthy.WrongAnswersError.exit_code == 3
    assert roadworthy.UnavailableError.exit_code == 4
    assert roadworthy.BudgetError.exit_code == 5
    assert (errors.EXIT_OK, errors.EXIT_INTERRUPTED) == (0, 130)


def test_every_kind_of_error_has_a_code_of_its_own():
    def kinds(kind):
        return {kind} | {below for child in kind.__subclasses__() for below in kinds(child)}

    ours = [kind for kind in kinds(errors.RoadworthyError) if kind.__module__ == errors.__name__]
    assert len({kind.code for kind in ours}) == len(ours)
