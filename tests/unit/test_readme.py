"""README.md's own commands and code work as they stand there, in its order.

The folder that they run in is the repository as a newcomer has it, with two of the sixteen scenes,
of each the middle quarter, and little time is spent on timing: that it is done is to be seen here,
not how well.
"""

from __future__ import annotations

import re
import shlex
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image

from roadworthy.cli.main import app, run
from roadworthy.measure import paired
from roadworthy.pipeline import bench, timing

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
SHELL = [text for kind, text in BLOCKS if kind == "sh"]
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
SCENES = ("scene-03.png", "scene-08.png")
SIDE = 128
MOST_SECONDS = 0.5


def commands() -> list[list[str]]:
    """Every `roadworthy …` of the shell blocks, as words."""
    lines = "".join(SHELL).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working folder, with the example in it."""
    unet = tmp_path / "examples" / "unet"
    (unet / "scenes").mkdir(parents=True)
    for name in ("model.py", "unet.safetensors", "scenes/preprocess.json"):
        shutil.copy(ROOT / "examples" / "unet" / name, unet / name)
    for name in SCENES:
        with Image.open(ROOT / "examples" / "unet" / "scenes" / name) as scene:
            left, top = ((side - SIDE) // 2 for side in scene.size)
            scene.crop((left, top, left + SIDE, top + SIDE)).save(unet / "scenes" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def quickly_timed(monkeypatch):
    """Warm up and time as always, but less."""
    monkeypatch.setattr(paired, "warm_up", partial(paired.warm_up, limit_seconds=MOST_SECONDS))
    for module in (bench, timing):
        for name in ("compare", "measure"):
            monkeypatch.setattr(module, name, shortened(getattr(module, name)))


def shortened(timed):
    return lambda *sides, seconds, **how: timed(*sides, seconds=min(seconds, MOST_SECONDS), **how)


def test_there_are_commands_and_code():
    assert {words[1] for words in commands()} >= {"deploy", "verify", "run", "profile", "quantize"}
    assert len(PYTHON) == 2


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_and_option_exists(words):
    assert words[0] == "roadworthy"
    command = typer.main.get_command(app)
    context = command.make_context("roadworthy", words[1:])
    # Down to the last command; each parses its own words and refuses unknown ones.
    while context._protected_args:
        name, sub, rest = context.command.resolve_command(context, [*context._protected_args])
        context = sub.make_context(name, [*rest, *context.args], parent=context)
    assert context.command.name == words[1] or context.parent.command.name == words[1]


def test_the_commands_end_well_from_the_first_to_the_last(place):
    for words in commands():
        assert run(words[1:]) == 0, shlex.join(words)
    made = {path.name for path in place.iterdir()}
    assert made >= {"unet.rw", "mask.png", "report.html", "answers.npz", "plain", "int8.onnx"}
    with np.load(place / "answers.npz") as answers:
        assert answers["logits"].shape == (2, 1, 2, SIDE, SIDE)


def test_the_python_blocks_run(place):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)

        def forward(self, image):
            return self.conv(image).relu()

    torch.manual_seed(0)
    net = Net().eval()
    x = torch.rand(1, 3, 16, 16)
    names = {"net": net, "x": x, "image": x.numpy()}
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), names)
    wanted = net(x).detach().numpy()
    (answer,) = names["answers"].values()
    for got in (answer, names["y"].numpy(), names["engine"](x).numpy()):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)
