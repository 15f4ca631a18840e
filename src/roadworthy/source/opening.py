"""Tell what a SOURCE is, and open it. What isn't supported is said by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from roadworthy.core.errors import UsageError
from roadworthy.source.prepared import Source

if TYPE_CHECKING:
    from roadworthy.source.onnx.source import OnnxSource

_FORMS = "model.onnx, module.py:factory, package.module:factory (with --weights), or model.pt2"
_WEIGHTS_ONLY = frozenset({".pth", ".pt", ".safetensors", ".ckpt", ".bin"})
_NOT_YET = {
    ".pb": "TensorFlow frozen graphs",
    ".keras": "Keras models",
    ".h5": "Keras models",
    ".xml": "OpenVINO models",
}
_PLANS = frozenset({".plan", ".trt", ".engine"})
_NEVER = {
    ".caffemodel": "Caffe",
    ".prototxt": "Caffe",
    ".uff": "UFF",
    ".params": "MXNet",
    ".nvdla": "NVDLA",
}


def is_plan(text: str) -> bool:
    """Tell whether a text names a TensorRT engine file: that can run, but holds no network."""
    return Path(text).suffix.lower() in _PLANS


def open_source(text: str, weights: Path | None = None, *, trust: bool = False) -> Source:
    """Open a SOURCE of the command line.

    Args:
        text: `model.onnx`, `module.py:factory`, `package.module:factory`, `model.pt2`.
        weights: for a factory.
        trust: allow a file that brings code along to run it.

    Raises:
        UsageError: a form that isn't supported, with what to do instead.
        InputError: the file is missing or damaged.
    """
    path = Path(text)
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        if weights is not None:
            raise UsageError(
                "an ONNX file has its weights inside",
                where=f"--weights {weights}",
                remedy="leave it out",
            )
        from roadworthy.source.onnx.source import OnnxSource

        return OnnxSource(path)
    if _is_network(text):
        return _open_network(text, weights, trust)
    raise _refusal(text, path, suffix)


def open_onnx(text: str, what: str, remedy: str) -> OnnxSource:
    """Open an ONNX file for what takes nothing else.

    Args:
        text: `model.onnx`.
        what: what to say of another SOURCE, before its code is run.
        remedy: what to do with that.

    Raises:
        UsageError: another SOURCE, or none at all.
        InputError: the file is missing or damaged.
    """
    if _is_network(text):
        raise UsageError(what, where=text, remedy=remedy)
    return cast("OnnxSource", open_source(text))


def open_module(module: Any) -> Source:
    """Open a `torch.nn.Module` that the caller holds; it is left exactly as it was.

    Raises:
        UsageError: it isn't a module, or it can't be copied.
    """
    if isinstance(module, type) or not hasattr(module, "state_dict"):
        what = f"the class {module.__name__}" if isinstance(module, type) else type(module).__name__
        raise UsageError(
            f"can't deploy {what}",
            where="source",
            remedy=f"give a torch.nn.Module (an object of it), {_FORMS}",
        )
    from roadworthy.source.network import NetworkSource
    from roadworthy.source.torch import from_module

    return NetworkSource(from_module(module))


def _is_network(text: str) -> bool:
    """Tell whether a text names PyTorch code, or a program of it."""
    path = Path(text)
    suffix = path.suffix.lower()
    return suffix == ".pt2" or (suffix != ".onnx" and ":" in text and not path.exists())


def _open_network(text: str, weights: Path | None, trust: bool) -> Source:
    from roadworthy.source.network import NetworkSource
    from roadworthy.source.torch import open_exported, open_torch

    if text.lower().endswith(".pt2"):
        if weights is not None:
            raise UsageError(
                "a .pt2 file has its weights inside",
                where=f"--weights {weights}",
                remedy="leave it out",
            )
        return NetworkSource(open_exported(Path(text), trust))
    return NetworkSource(open_torch(text, weights, trust))


def _refusal(text: str, path: Path, suffix: str) -> UsageError:
    if suffix in _WEIGHTS_ONLY:
        return UsageError(
            "a weights file alone doesn't say what the network is",
            where=text,
            remedy=f"give the code that builds it: module.py:factory --weights {text}",
        )
    if suffix == ".py":
        return UsageError(
            "which function builds the network?", where=text, remedy=f"write {text}:FACTORY"
        )
    if suffix in _PLANS:
        return UsageError(
            "a TensorRT plan holds no network: it can't be deployed elsewhere, nor judge others",
            where=text,
            remedy=f"roadworthy verify {text} --reference F.npz|MODEL --samples PATH judges it; "
            "or deploy the network that it was made from",
        )
    if suffix == ".rw" and not path.exists():
        return UsageError("there is no such bundle", where=text, remedy="check the path")
    if suffix == ".rw":
        return UsageError(
            "a bundle is what deploy makes, not a source",
            where=text,
            remedy="name the network that it was made from; or roadworthy verify judges it again",
        )
    if suffix in _NEVER:
        return UsageError(
            f"{_NEVER[suffix]} is out of roadworthy's scope",
            where=text,
            remedy="convert it to ONNX with its own tools, then deploy the .onnx",
        )
    if suffix in _NOT_YET or (path / "saved_model.pb").exists():
        what = _NOT_YET.get(suffix, "TensorFlow SavedModels")
        return UsageError(
            f"{what} can't be read by this version of roadworthy",
            where=text,
            remedy="convert it to ONNX, then deploy the .onnx",
        )
    missing = "" if path.exists() else ": there is no such file"
    return UsageError(
        f"can't tell what {text!r} is{missing}", where="SOURCE", remedy=f"give {_FORMS}"
    )
