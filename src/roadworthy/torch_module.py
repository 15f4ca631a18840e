"""A verified engine as a `torch.nn.Module`, to be put where the network was.

    engine = roadworthy.compile(network, (x,), target="tensorrt", precision="fp16")
    y = engine(x)
    torch.save(engine.state_dict(), "net.pth")

    engine = roadworthy.EngineModule()
    engine.load_state_dict(torch.load("net.pth", weights_only=True))

Beside the folders, because it joins torch with bundles (docs/adr/0007).
"""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import Any, Self

from roadworthy.backends.session import Session
from roadworthy.bundle.packed import Packed, open_packed, pack, unpack
from roadworthy.core.errors import BundleError, MissingExtraError, UsageError
from roadworthy.core.signature import Signature

try:
    import torch
    from torch import nn

    from roadworthy.source.torch.called import Calling, one_device, refuse_gradients
    from roadworthy.source.torch.running import TensorRuns
except ImportError as error:
    raise MissingExtraError("torch", "torch", "an engine as a torch.nn.Module") from error

_EMPTY = "there is no engine in this module yet"
_STATE = "the module's state"


class EngineModule(nn.Module):
    """Runs a verified engine where a network stood: the same arguments, the same result.

    It is in eval mode for good and has no parameters, so `.to()` and `.half()` change nothing.
    Inputs are tensors of the signature's dtypes and shapes, all on one device; results come back on
    that device. On the CPU they share memory with the engine's own arrays; CUDA tensors go to a
    TensorRT engine in this process without a copy, on torch's current stream, and to any other
    engine through the host, which a warning says once. No gradient flows through: where
    gradients are being recorded, an input that requires one is refused. Each thread opens a session
    of its own when it first calls.

    Its state is its bundle, as one `uint8` tensor; every digest in it is checked on loading. It may
    stand anywhere within other modules, and be copied and pickled.
    """

    def __init__(self) -> None:
        super().__init__()
        self.training = False
        self._loaded: _Loaded | None = None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Open a bundle, `*.rw` or a folder: its default engine.

        Raises:
            BundleError: it is damaged, or no bundle.
        """
        module = cls()
        module._loaded = _Loaded(torch.from_numpy(pack(Path(path))), str(path))
        return module

    def save(self, path: str | Path) -> None:
        """Write the bundle, `*.rw`, in one step; `roadworthy verify` and `load` take it.

        Raises:
            UsageError: another name, a folder that can't be written to, or something else there.
        """
        unpack(self._engine.packed_array, Path(path))

    @property
    def signature(self) -> Signature:
        """The inputs and outputs."""
        return self._engine.bundle.signature

    @property
    def certificate(self) -> dict[str, Any]:
        """All the evidence about the engine, as plain data."""
        return dict(self._engine.bundle.certificate())

    @property
    def target(self) -> str:
        """What it was compiled for, as on the command line."""
        return str(self._engine.bundle.record().target)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run once, called as the network is.

        Raises:
            InputError: inputs that aren't those of the signature.
            UsageError: an input requires a gradient while gradients are recorded, or torch traces
                or exports.
            UnavailableError: the engine's runtime or device isn't here.
            RunError: the runtime failed.
        """
        if torch.compiler.is_dynamo_compiling():  # a graph ends here; the next begins after it
            eager = torch.compiler.disable(self.forward)  # type: ignore[no-untyped-call]
            return eager(*args, **kwargs)
        engine = self._engine
        feed = engine.calling.bind(args, kwargs)
        device = one_device(feed)
        refuse_gradients(feed)
        return engine.calling.result(engine.runs.run(engine.session(), feed, device))

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode.

        Raises:
            UsageError: training mode was asked for.
        """
        if mode:
            raise UsageError(
                "an engine can't be put into training mode: it has no parameters and no gradients",
                where=type(self).__name__,
                remedy="train the network itself and compile it again; around an engine, call "
                "train() on the parts that are trained",
            )
        return self

    def get_extra_state(self) -> torch.Tensor:
        """Return the bundle's bytes, `uint8[n]`; none where there is no engine. Not a copy."""
        if self._loaded is None:
            return torch.empty(0, dtype=torch.uint8)
        return self._loaded.packed

    def set_extra_state(self, state: object) -> None:
        """Take an engine from what `get_extra_state` returned; on failure the old one stays.

        Raises:
            BundleError: damaged, or something else.
        """
        self._loaded = _Loaded(_checked_state(state), _STATE)

    def extra_repr(self) -> str:
        """Return what `print` shows."""
        return _EMPTY if self._loaded is None else f"{self.target}, {self.signature}"

    @property
    def _engine(self) -> _Loaded:
        if self._loaded is None:
            raise UsageError(
                _EMPTY,
                where=type(self).__name__,
                remedy="use load_state_dict, EngineModule.load, or roadworthy.compile",
            )
        return self._loaded


class _Loaded:
    """One engine: its bundle in memory, how it is called, and a session for each thread."""

    def __init__(self, packed: torch.Tensor, name: str) -> None:
        self.packed = packed
        self.packed_array: Packed = packed.numpy()
        self._name = name
        self.bundle = open_packed(self.packed_array, name)
        stated = self.bundle.certificate().get("calling")
        self.calling = Calling(self.bundle.signature, stated, f"{name}: the certificate's calling")
        self.runs = TensorRuns(self.bundle.record().target.device)
        self._threads = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the bytes; sessions are opened anew."""
        return type(self), (self.packed, self._name)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Loaded:
        """Share the bytes, which nobody changes."""
        return _Loaded(self.packed, self._name)

    def session(self) -> Session:
        """Return this thread's session; it is closed when the thread or the module is gone."""
        held: _Held | None = getattr(self._threads, "held", None)
        if held is None or held.process != os.getpid():  # a fork has its parent's sessions
            held = self._threads.held = _Held(self.bundle.engine().open())
        return held.session


class _Held:
    """A session that is closed when nobody holds it any more, or the program ends."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.process = os.getpid()
        weakref.finalize(self, _close, session, self.process)


def _close(session: Session, process: int) -> None:
    if os.getpid() == process:
        session.close()


def _checked_state(state: object) -> torch.Tensor:
    """Return a state as bytes on the CPU."""
    fits = isinstance(state, torch.Tensor) and state.dtype is torch.uint8 and state.dim() == 1
    if not fits or not isinstance(state, torch.Tensor):
        raise BundleError(
            f"the state is a {type(state).__name__}, not the bytes of a bundle (uint8, one axis)",
            where=_STATE,
            remedy="load what state_dict() of an EngineModule returned",
        )
    if not state.numel():
        raise BundleError(
            "the state holds no engine",
            where=_STATE,
            remedy="save the module after an engine was compiled or loaded",
        )
    return state.detach().cpu().contiguous()
