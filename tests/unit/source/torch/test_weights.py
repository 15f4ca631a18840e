"""Weights: found in whatever wraps them, loaded strictly, never by running a file's code."""

import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from roadworthy.core.errors import UntrustedError, WeightsError
from roadworthy.source.torch.fit import fit_weights
from roadworthy.source.torch.weights import read_weights
from tests.unit.source.torch.networks import ConvNet


class Evil:
    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


def other() -> ConvNet:
    """The same network with other weights than a fresh one."""
    network = ConvNet()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.5)
    return network


def load(path, trust=False):
    network = ConvNet()
    notes = fit_weights(network, read_weights(path, trust), str(path))
    return network, notes


def assert_same(network: nn.Module, expected: nn.Module) -> None:
    for name, value in expected.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": {"state_dict": s}, "optimizer": {"lr": 1.0}},
        lambda s: {"model_state_dict": {f"module.{k}": v for k, v in s.items()}},
        lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()},
        lambda s: {"ema": {f"model.{k}": v for k, v in s.items()} | {"n_averaged": torch.ones(())}},
        lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_is_found_in_its_usual_wrappings(tmp_path, wrap, zipped):
    path = tmp_path / "weights.pth"
    torch.save(wrap(other().state_dict()), path, _use_new_zipfile_serialization=zipped)
    network, _ = load(path)
    assert_same(network, other())


def test_safetensors_are_read_whatever_the_file_is_called(tmp_path):
    for name in ("weights.safetensors", "weights.bin"):
        save_file(other().state_dict(), tmp_path / name)
        assert_same(load(tmp_path / name)[0], other())


def test_a_prefix_that_belongs_to_the_network_stays(tmp_path):
    network = nn.ModuleDict({"model": ConvNet()})
    torch.save(network.state_dict(), tmp_path / "w.pth")
    target = nn.ModuleDict({"model": other()})
    fit_weights(target, read_weights(tmp_path / "w.pth", False), "w")
    assert_same(target, network)


def test_half_precision_weights_become_float32_and_it_is_said(tmp_path):
    torch.save({k: v.half() for k, v in other().state_dict().items()}, tmp_path / "w.pth")
    network, notes = load(tmp_path / "w.pth")
    assert network.conv.weight.dtype is torch.float32
    assert notes == ("weights stored as float16 were converted to float32",)


def test_of_two_fitting_state_dicts_the_unused_one_is_named(tmp_path):
    torch.save({"model": other().state_dict(), "ema": ConvNet().state_dict()}, tmp_path / "w.pth")
    network, notes = load(tmp_path / "w.pth")
    assert_same(network, other())
    assert notes == ("weights taken from 'model' of the file (not used: ema)",)


def test_weights_of_another_network_say_what_does_not_fit(tmp_path):
    state = other().state_dict()
    state["conv.weight"] = torch.zeros(4, 3, 5, 5)
    state["extra"] = torch.zeros(1)
    del state["norm.bias"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="another network") as caught:
        load(tmp_path / "w.pth")
    for said in (
        "1 missing: norm.bias",
        "1 unexpected: extra",
        "conv.weight [4, 3, 5, 5] instead of [4, 3, 3, 3]",
    ):
        assert said in caught.value.what


def test_a_long_list_of_misfits_is_cut_and_counted(tmp_path):
    torch.save({f"layer{i}": torch.zeros(1) for i in range(30)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"30 unexpected: .*\(26 more\)"):
        load(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], 5])
def test_a_checkpoint_without_tensors_is_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no state dict"):
        load(tmp_path / "w.pth")


@pytest.mark.parametrize("how", ["zip", "old", "raw", "raw protocol 2"])
def test_a_pickle_with_code_is_never_executed_without_trust(tmp_path, how):
    proof, path = tmp_path / "proof", tmp_path / "w.pth"
    payload = {"weight": torch.ones(2), "evil": Evil(proof)}
    if how.startswith("raw"):
        path.write_bytes(pickle.dumps(Evil(proof), protocol=2 if "2" in how else 4))
    else:
        torch.save(payload, path, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(UntrustedError) as caught:
        read_weights(path, trust=False)
    assert not proof.exists()
    assert "--trust" in (caught.value.remedy or "")
    if how in ("zip", "old"):
        assert "system" in caught.value.what
        read_weights(path, trust=True)
        assert proof.exists()  # the file does what it says: the test above means something


def test_a_pickled_module_needs_trust_and_gives_its_weights(tmp_path):
    torch.save(other(), tmp_path / "w.pth")
    with pytest.raises(UntrustedError, match="ConvNet"):
        load(tmp_path / "w.pth")
    assert_same(load(tmp_path / "w.pth", trust=True)[0], other())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_checkpoint_is_damaged_not_untrusted(tmp_path, zipped, kept):
    path = tmp_path / "w.pth"
    torch.save(other().state_dict(), path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(WeightsError, match="damaged or truncated"):
        read_weights(path, trust=False)


def test_truncated_safetensors_are_damaged(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(other().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match="damaged"):
        read_weights(path, trust=False)


@pytest.mark.parametrize("trust", [True, False])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 99, "a PNG image"),
        (b"<!doctype html>", "a web page"),
        (b"hello world, these are no weights", "something else"),
        (b"cos\nsystem\n(S'touch x'\ntR.", "something else"),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path, content, said, trust):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=said):
        read_weights(tmp_path / "w.pth", trust)


def test_an_ordinary_zip_and_a_missing_file_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("folder/a.txt", "x")
    with pytest.raises(WeightsError, match="not one written by"):
        read_weights(tmp_path / "w.pth", trust=False)
    with pytest.raises(WeightsError, match="doesn't exist"):
        read_weights(tmp_path / "nothing.pth", trust=False)
