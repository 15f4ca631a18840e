"""The words every backend speaks: `Backend` compiles, `Engine` ships, a `Runner` runs.

Who runs an engine holds a `Session` (`session.py`), which checks what goes to the runner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from roadworthy.core.errors import UsageError
from roadworthy.core.signature import Answers, Array, Signature
from roadworthy.core.target import Target

if TYPE_CHECKING:
    import onnx_ir as ir

    from roadworthy.backends.session import Session

Say = Callable[[str], None]
"""Told how far a build is, in a few words; the time it took so far is the listener's business."""


REBUILD = (
    "build it anew for this machine from the bundle's own ONNX: "
    "roadworthy verify BUNDLE --rebuild, or roadworthy.load(BUNDLE, rebuild=True); "
    "or deploy again here"
)
"""What to do about an engine of a bundle that was built elsewhere and doesn't load here."""


def quiet(_text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Support:
    """Yes, with the version where one was found; or no, with the reason and the remedy."""

    ok: bool
    reason: str = ""
    remedy: str | None = None
    version: str = ""

    @classmethod
    def of_version(cls, target: Target, found: str, name: str, package: str) -> Support:
        """Yes if the version that was found is what the target asks for, part by part.

        Args:
            target: "==8.6" takes 8.6 and 8.6.1, and not 8.60.
            found: the installed version.
            name: the runtime's, for people.
            package: what pip calls it.
        """
        asked = target.version
        if not asked or f"{found}.".startswith(f"{asked.rstrip('.')}."):
            return cls(True, version=found)
        there = "install it where the target is: " if target.where is not None else ""
        return cls(
            False,
            f"{name} {asked} was asked for, {found} is installed",
            f'{there}pip install "{package}=={asked.rstrip(".")}.*"',
        )


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """What every backend understands. Validated once; part of cache keys.

    Attributes:
        precision: "fp32", "tf32", "fp16", "bf16" or "int8"; a backend says which it has.
        threads: threads of one inference; None lets the backend take what this process may use.
        optimise: False switches the runtime's own graph optimisation off (for oracles).
        spinning: let idle threads spin for work: lower latency, a busy core between runs.
        extra: a backend's own options as (name, text), sorted; the backend parses and checks them.
    """

    precision: str = "fp32"
    threads: int | None = None
    optimise: bool = True
    spinning: bool = True
    extra: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads must be at least 1, not {self.threads}")


@dataclass(frozen=True)
class Engine:
    """Compiled bytes and what they are tied to.

    Attributes:
        target: where it runs.
        signature: its inputs and outputs.
        files: the compiled artefact, file name to content; the first is the one to open.
        options: what it was compiled with.
        fingerprint: what it is tied to (runtime, version, device, …), plain JSON values.
        log: all that the build said; like `proof` an account of the build, not part of equality.
        proof: what really runs (precision, device), read from the engine; plain JSON values.
    """

    target: Target
    signature: Signature
    files: Mapping[str, bytes]
    options: CompileOptions
    fingerprint: Mapping[str, str]
    log: tuple[str, ...] = field(default=(), compare=False)
    proof: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def open(self) -> Session:
        """Open it here. Use the session in a `with` block, from one thread at a time.

        Raises:
            UnavailableError: its runtime or device isn't here.
        """
        from roadworthy.backends.registry import find  # the registry imports this module

        return find(self.target.backend).open(self)


def main_file(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the file to open of an engine's: of a large model, all but its weights."""
    name = next(iter(files))
    return {name: files[name]}


class Runner(Protocol):
    """What a backend's runtime provides: the raw call, nothing checked.

    An optional attribute `times_itself` is true where `time` must be asked, because calling `run`
    from here would measure the way there too. An optional method `run_many` overlaps runs: see
    `backends.many.run_each`. An optional `run_device` is a `backends.device.DeviceRun`, unless an
    optional text `device_refusal` says why not for this network. An optional `notes` (a sequence of
    texts, which may grow) tells what didn't go as intended, though the answers are right.
    """

    def run(self, feed: dict[str, Array]) -> Answers:
        """Run once. Arrays are C-contiguous and of the right dtype; results are the caller's."""
        ...

    def time(
        self, feed: dict[str, Array], runs: int, lead: int, host_only: bool = False
    ) -> dict[str, list[int]]:
        """Time runs where the engine is, in nanoseconds, after `lead` that don't count.

        "host" is end to end; a backend may add "device" and "enqueue".
        """
        ...

    def profile(self, feed: dict[str, Array], runs: int) -> list[dict[str, Any]]:
        """Return time per layer, on the names of the ONNX nodes; raises `UnavailableError`."""
        ...

    def close(self) -> None:
        """Give everything back. May be called twice."""
        ...


def notes_of(runner: Any) -> tuple[str, ...]:
    """Return what a runner says of itself; nothing where it doesn't."""
    return tuple(getattr(runner, "notes", ()))


@runtime_checkable
class Backend(Protocol):
    """One way to compile and run networks.

    An optional method `check_options(options: CompileOptions)` raises `UsageError`, before any
    work, for options of its own that `compile` would refuse whatever the network is.
    """

    name: str

    def supports(self, target: Target) -> Support:
        """Tell whether this target is to be had here, without compiling anything."""
        ...

    def compile(
        self,
        model: ir.Model,
        signature: Signature,
        target: Target,
        options: CompileOptions,
        say: Say = quiet,
    ) -> Engine:
        """Compile, and say how far it is. Never returns something else than was asked for.

        An engine that was taken from a cache instead has `proof["from_cache"]` true.

        Raises:
            UnavailableError: no such target, version or precision here.
            CompileError: the runtime refuses the model.
            DiedError: the worker that compiled it is gone.
        """
        ...

    def open(self, engine: Engine) -> Session:
        """Open an engine here."""
        ...

    def fingerprint(self, target: Target) -> Mapping[str, str]:
        """Return what an engine built here now would be tied to."""
        ...
