"""Commands that make no sense as written: exit 2, one clear message, whatever the form."""

from __future__ import annotations

from importlib import metadata

import pytest

from roadworthy.pipeline.request import make_request
from tests.unit.cli import made

COMMANDS = ["deploy", "verify", "bench", "run", "predict", "report", "doctor", "bundle"]


@pytest.fixture
def place(tmp_path):
    made.write_perceptron(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuch"], "nosuch"),
        (["deploy"], "source"),
        (["deploy", "a.onnx", "b.onnx"], "b.onnx"),
        (["deploy", "a.onnx", "--nope"], "--nope"),
        (["deploy", "a.onnx", "--threads", "none"], "--threads"),
        (["deploy", "a.onnx", "--threads", "0"], "--threads"),
        (["deploy", "a.onnx", "--measure-seconds", "-1"], "--measure-seconds"),
        (["verify"], "subject"),
        (["bench"], "subjects"),
        (["bench", "a.rw", "--seconds", "0"], "--seconds"),
        (["run", "a.rw"], "--out"),
        (["run", "--out", "a.npz"], "subject"),
        (["predict", "a.rw"], "images"),
        (["report", "a.rw"], "--out"),
        (["bundle", "nosuch"], "nosuch"),
        (["bundle", "show"], "bundle"),
        (["bundle", "extract", "a.rw"], "--out"),
        (["doctor", "extra"], "extra"),
    ],
)
def test_a_command_line_that_cannot_be_read(command, words, said):
    spoken = command(*words)
    assert (spoken.code, spoken.out) == (2, "")
    assert spoken.err.count("error ") == 1
    assert "Traceback" not in spoken.err
    assert said in spoken.err.casefold()
    documented = command(*words, "--json")
    assert documented.err == ""
    assert documented.error["code"] == "usage"
    assert "--help" in documented.error["remedy"]


def test_the_help_that_a_message_names_exists(command):
    for words in (["nosuch"], ["deploy"], ["bundle", "show"], ["bundle", "nosuch"]):
        remedy = command(*words, "--json").error["remedy"]
        program, *rest = remedy.removesuffix(" shows the usage").split()
        assert program == "roadworthy"
        assert command(*rest).code == 0, remedy


@pytest.mark.parametrize("words", [[], ["bundle"]])
def test_nothing_to_do_shows_what_there_is(command, words):
    ended = command(*words)
    assert ended.code == 2
    assert "Usage" in ended.out
    assert ended.err == ""


def test_help_names_every_command_and_exit_code(command):
    ended = command("--help")
    assert ended.code == 0
    assert all(name in ended.out for name in COMMANDS)
    assert "130 interrupted" in " ".join(ended.out.split())


def test_the_option_of_a_backend_that_the_help_names_exists(command):
    assert "tensorrt.level=2" in command("deploy", "--help").out
    make_request("a.onnx", "s", targets=["tensorrt"], options=["tensorrt.level=2"])


def test_an_option_that_a_backend_has_not_is_refused_before_the_source_is_opened(command):
    words = ("--target", "tensorrt", "--option", "tensorrt.nonsense=1")
    ended = command("deploy", "nosuch.onnx", "--samples", "random", *words)
    assert ended.code == 2
    assert "nonsense" in ended.err and "nosuch.onnx" not in ended.err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(command, name):
    ended = command(name, "--help")
    assert ended.code == 0
    assert ended.err == ""


@pytest.mark.parametrize("name", [*COMMANDS, "quantize", "profile"])
def test_help_loses_no_word_on_a_narrow_terminal(command, monkeypatch, name):
    """Brackets aren't markup, and no word is longer than its column."""
    monkeypatch.setenv("COLUMNS", "80")
    said = command(name, "--help").out
    assert "…" not in said
    if "--inputs" in said:
        assert "'image[n=1..8,3,h=64..512:32,w]'" in said
    if "--target" in said:
        assert "backend[:device][==version]" in said


@pytest.mark.parametrize(
    "words",
    [["verify"], ["bench"], ["profile"], ["run", "--out", "a.npz", "--samples", "random"]],
)
def test_a_bundle_that_is_not_there(command, place, monkeypatch, words):
    monkeypatch.chdir(place)
    ended = command(words[0], "gone.rw", *words[1:], "--json")
    assert ended.code == 2
    assert ended.error["what"] == "there is no such bundle"
    assert ended.error["where"].endswith("gone.rw")


def test_a_bundle_is_no_source(command, place):
    (place / "net.rw").mkdir()
    ended = command("deploy", place / "net.rw", "--samples", "random", "--json")
    assert (ended.code, ended.error["code"]) == (2, "usage")
    assert "a bundle is what deploy makes" in ended.error["what"]


def test_version(command):
    assert command("--version") == made.Ended(0, metadata.version("roadworthy") + "\n", "")


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--target", "Onnx Runtime"),
        ("--target", "onnxruntime@"),
        ("--target", ""),
        ("--target", "nosuch"),
        ("--inputs", "x[4,3"),
        ("--inputs", "x[batch=4..1,3]"),
        ("--inputs", "x[batch=1..,3]"),
        ("--inputs", "x[-1,3]"),
        ("--inputs", "nosuch[4,3]"),
        ("--inputs", "x[4,3,1]"),
        ("--inputs", "x[4,5]"),
        ("--inputs", "x[5,3]"),
        ("--inputs", "x[batch=6..9,3]"),
        ("--inputs", ""),
        ("--outputs", "nosuch"),
        ("--budget", "mvre"),
        ("--budget", "mvre=abc"),
        ("--budget", "mvre=0"),
        ("--budget", "mvre=-1"),
        ("--budget", "mvre=nan"),
        ("--budget", "mvre=inf"),
        ("--budget", "speed=2"),
        ("--budget", ""),
        ("--objective", "beauty"),
        ("--precision", "fp33"),
        ("--measure-seconds", "nan"),
        ("--measure-seconds", "inf"),
        ("--preprocess", "nowhere.json"),
    ],
)
def test_an_option_whose_text_makes_no_sense(command, place, option, text):
    before = made.listing(place)
    words = ("deploy", place / "model.onnx", "--samples", place / "samples.npz")
    ended = command(*words, "--out", place / "new.rw", option, text, "--json")
    assert ended.code == 2, ended
    assert ended.err == ""
    assert ended.error["what"]
    assert made.listing(place) == before


def test_inputs_twice(command, place):
    words = ("deploy", place / "model.onnx", "--samples", place / "samples.npz")
    assert command(*words, "--inputs", "x[4,3]", "--inputs", "x[4,3]", "--json").code == 2
    assert command(*words, "--target", "onnxruntime", "--target", "onnxruntime", "--json").code == 2


def test_options_that_would_be_ignored_are_refused(command, place):
    """A bundle brings all it needs; weights need a network to go into."""
    model, samples = place / "model.onnx", place / "samples.npz"
    made_bundle = command(
        "deploy", model, "--samples", samples, "--measure-seconds", "0", "--out", place / "b.rw"
    )
    assert made_bundle.code == 0
    for option, value in [
        ("--reference", samples),
        ("--samples", samples),
        ("--inputs", "x[4,3]"),
        ("--weights", samples),
        ("--preprocess", samples),
        ("--threads", "1"),
    ]:
        assert command("verify", place / "b.rw", option, value, "--json").code == 2, option
    assert command("verify", place / "b.rw", "--target", "openvino", "--json").code == 2
    words = ("verify", model, "--samples", samples, "--weights", samples, "--json")
    assert command(*words).code == 2
    assert command(*words, "--reference", samples).code == 2
    assert command("bench", place / "b.rw", "--samples", samples, "--json").code == 2


def test_what_verify_and_bench_cannot_take(command, place):
    made.write_network(place)
    network, samples = f"{place}/net.py:net", place / "samples"
    ended = command("verify", network, "--samples", samples, "--json")
    assert ended.code == 2
    assert "deploy" in ended.error["remedy"]
    assert command("bench", network, "--json").code == 2
    assert command("bench", place / "model.onnx", "--seconds", "nan", "--json").code == 2


def test_random_samples_of_a_network_need_shapes(command, place):
    made.write_network(place)
    ended = command("deploy", f"{place}/net.py:net", "--samples", "random", "--json")
    assert ended.code == 2
    assert "--inputs" in ended.error["remedy"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def net(:", "SyntaxError"),
        ("import nosuch_package", "nosuch_package"),
        ("def net(): return 5", "int"),
        ("def net(): raise RuntimeError('no luck today')", "no luck today"),
        ("def net(size): ...", "net"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("raise KeyError", "KeyError"),
        ("raise EOFError('too short')", "too short"),
        ("net = 5", "net"),
        ("", "net"),
    ],
)
def test_code_that_is_no_network(command, tmp_path, code, said):
    (tmp_path / "bad.py").write_text(code + "\n")
    ended = command("deploy", f"{tmp_path}/bad.py:net", "--samples", "random", "--json")
    assert ended.code == 2
    assert ended.err == ""
    assert said in ended.error["what"] + str(ended.error["where"])
