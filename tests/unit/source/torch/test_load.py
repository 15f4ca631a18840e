"""Networks come in from a file or a package; mistakes in them are told with file and line."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from roadworthy.core.errors import UsageError
from roadworthy.source.torch.load import build, freeze, load_module
from tests.unit.source.torch.networks import ConvNet, StaysInTraining

NET = """
import torch
from torch import nn
from layers import WIDTH

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, 2).half()
        self.drop = nn.Dropout(0.5)
    def forward(self, x):
        return self.drop(self.linear(x))

class Holder:
    @staticmethod
    def make():
        return Net()

def factory():
    return Net()
"""


def project(folder: Path, source: str = NET, width: int = 3) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "layers.py").write_text(f"WIDTH = {width}\n")
    (folder / "net.py").write_text(source)
    return folder / "net.py"


@pytest.mark.parametrize("name", ["factory", "Net", "Holder.make"])
def test_a_file_with_siblings_gives_a_frozen_float32_module(tmp_path, name):
    module = load_module(f"{project(tmp_path)}:{name}", None, trust=False)
    assert not any(part.training for part in module.modules())
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in module.parameters())


def test_importing_leaves_nothing_beside_the_users_file_nor_on_the_path(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = list(sys.path)
    build(f"{project(tmp_path)}:factory")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["layers.py", "net.py"]
    assert sys.path == path and sys.dont_write_bytecode is False


def test_two_projects_with_siblings_of_one_name_get_their_own(tmp_path):
    first = build(f"{project(tmp_path / 'a', width=3)}:factory")
    second = build(f"{project(tmp_path / 'b', width=5)}:factory")
    assert (first.linear.in_features, second.linear.in_features) == (3, 5)


def test_a_package_is_found_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    package = tmp_path / "pkg_of_this_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "net.py").write_text("from torch import nn\nfrom . import part\nmake = nn.ReLU\n")
    (package / "part.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert isinstance(build("pkg_of_this_test.net:make"), nn.ReLU)
    assert not list(tmp_path.rglob("__pycache__"))
    with pytest.raises(UsageError) as caught:
        build(f"{package / 'net.py'}:make")
    assert "package.module:factory" in (caught.value.remedy or "")


def test_what_user_code_prints_does_not_reach_standard_output(tmp_path, capsys):
    build(f"{project(tmp_path, 'print(1234)' + NET)}:factory")
    captured = capsys.readouterr()
    assert "1234" not in captured.out and "1234" in captured.err


@pytest.mark.parametrize(
    ("source", "line", "said"),
    [
        ("x = 1\nraise ValueError('no luck')\n", 2, "ValueError: no luck"),
        ("def factory():\n    return undefined\n", 2, "NameError"),
        ("def factory(:\n", 1, "SyntaxError"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
        ("import not_a_module_anywhere\n", 1, "ModuleNotFoundError"),
    ],
)
def test_an_error_in_user_code_names_file_and_line(tmp_path, source, line, said):
    file = project(tmp_path, source)
    with pytest.raises(UsageError) as caught:
        build(f"{file}:factory")
    assert caught.value.where == f"{file}:{line}"
    assert said in caught.value.what
    assert caught.value.__cause__ is not None and caught.value.remedy


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", "no 'missing'"),
        ("number", "returned a int"),
        ("network", "not a function or class"),
        ("needy", "TypeError"),
    ],
)
def test_a_wrong_factory_is_told_what_it_is(tmp_path, name, said):
    source = (
        "from torch import nn\ndef number(): return 5\nnetwork = nn.ReLU()\n"
        "def needy(width): return nn.Linear(width, 2)\n"
    )
    with pytest.raises(UsageError) as caught:
        build(f"{project(tmp_path, source)}:{name}")
    assert said in str(caught.value)
    if name == "needy":
        assert "width" in (caught.value.remedy or "")


@pytest.mark.parametrize("spec", ["net.py", "nowhere/net.py:factory", ":factory", "net:"])
def test_a_malformed_or_missing_spec_is_a_usage_error(spec):
    with pytest.raises(UsageError):
        build(spec)


def test_a_module_that_overrides_train_is_put_into_eval_mode_all_the_same():
    module = StaysInTraining()
    notes = freeze(module)
    assert not module.norm.training and "overrides train()" in notes[0]


def test_compiled_and_data_parallel_wrappers_are_taken_off(tmp_path):
    source = (
        "import torch\nfrom torch import nn\n"
        "def factory(): return nn.DataParallel(torch.compile(nn.ReLU()))\n"
    )
    assert isinstance(build(f"{project(tmp_path, source)}:factory"), nn.ReLU)


def test_freezing_an_ordinary_network_needs_no_note():
    assert freeze(ConvNet()) == ()
