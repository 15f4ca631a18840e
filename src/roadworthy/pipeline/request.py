"""What a deploy is asked for: validated once, frozen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from roadworthy.backends import registry
from roadworthy.backends.base import CompileOptions
from roadworthy.core.errors import UnavailableError, UsageError
from roadworthy.core.inputspec import InputSpec, parse_inputs
from roadworthy.core.samples import RANDOM
from roadworthy.core.target import Target

PRECISIONS = ("auto", "fp32", "tf32", "fp16", "bf16", "int8", "fp8")
# What "auto" tries on a backend, the most exact first.
_CHOICES = {
    "onnxruntime": ("fp32", "int8"),
    "openvino": ("fp32", "int8"),
    "tensorrt": ("fp32", "tf32", "fp16", "int8"),
}
# "auto" and the methods of `precision.methods`, which loads more than a usage error needs.
CALIBRATIONS = ("auto", "minmax", "percentile", "mse", "entropy")
OBJECTIVES = ("latency", "throughput", "size")
BUDGETS = ("mvre",)
DEFAULT_TARGET = "onnxruntime"


@dataclass(frozen=True)
class Request:
    """Everything that `deploy` was asked for.

    Attributes:
        source: a SOURCE of the command line, or a `torch.nn.Module`.
        samples: a path, "random", or feeds in memory.
        weights: for a factory.
        inputs: `--inputs` specifications.
        outputs: names of the outputs.
        preprocess: contract for images; None takes `preprocess.json` beside them.
        targets: where it shall run; none asks for the embedded default.
        precision: "auto" is the fastest that keeps the budget; FP32 where there is none.
        options: a backend's own, as (backend, name, text).
        budget: metric name to limit, e.g. {"mvre": 0.01}.
        objective: what decides between several verified targets.
        out: the bundle to write; None writes none.
        threads: of one inference; None takes what this process may use.
        trust: allow files to run the code that they bring.
        measure_seconds: spent on timing each engine, and again on choosing between several of a
            target, or between targets; 0 leaves timing out.
        method: how INT8 ranges are chosen; "auto" keeps the best on held-back samples.
        calibration: what INT8 is calibrated with; None takes the samples.
        keep: a file for INT8's unfinished calibration, to continue it.
        strict_precision: less of the precision than was planned is a failure, not a finding; so is
            what the engine doesn't tell of it.
    """

    source: Any
    samples: Any
    weights: Path | None = None
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[str, ...] = ()
    preprocess: Path | None = None
    targets: tuple[Target, ...] = (Target(DEFAULT_TARGET),)
    precision: str = "auto"
    options: tuple[tuple[str, str, str], ...] = ()
    budget: dict[str, float] = field(default_factory=dict)
    objective: str = "latency"
    out: Path | None = None
    threads: int | None = None
    trust: bool = False
    measure_seconds: float = 10.0
    method: str = "auto"
    calibration: Any = None
    keep: Path | None = None
    strict_precision: bool = False

    def __post_init__(self) -> None:
        _choice("--precision", self.precision, PRECISIONS)
        _choice("--objective", self.objective, OBJECTIVES)
        if not self.targets:
            raise UsageError("no target was given", where="--target")
        for target in self.targets:
            registry.find(target.backend)
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads must be at least 1, not {self.threads}", where="--threads")
        check_seconds("--measure-seconds", self.measure_seconds)
        if self.weights is not None and not isinstance(self.source, str | os.PathLike):
            raise UsageError(
                "a module in memory has its weights already",
                where=f"weights={str(self.weights)!r}",
                remedy="load them into it, or name its code: file.py:factory",
            )
        if len(set(self.targets)) != len(self.targets):
            raise UsageError("a target is given twice", where="--target")
        backends = {target.backend for target in self.targets}
        for backend, name, _ in self.options:
            if backend not in backends:
                raise UsageError(
                    f"option {backend}.{name} is for no target that was asked for",
                    where="--option",
                    remedy=f"add --target {backend}, or name one of {sorted(backends)}",
                )
        for target in self.targets:
            registry.check_options(target.backend, self.compile_options(target))
        _choice("--method", self.method, CALIBRATIONS)
        self._check_calibration()
        if self.precision == "fp8":
            raise UnavailableError(
                f"precision {self.precision} can't be built by this version of roadworthy",
                where="--precision",
                remedy="use --precision fp32, tf32, fp16, bf16 or int8, where the target has it",
            )

    def _check_calibration(self) -> None:
        given = {
            "--method": self.method != "auto",
            "--calibration": self.calibration is not None,
            "--keep": self.keep is not None,
        }
        own = [option for option, is_given in given.items() if is_given]
        if own and not any("int8" in self._precisions(target) for target in self.targets):
            raise UsageError(
                "calibration is for int8 alone",
                where=own[0],
                remedy="add --precision int8, or leave it out",
            )
        samples = self.samples if self.calibration is None else self.calibration
        # A Path of that name is a file's, as everywhere.
        if (self.precision == "int8" or own) and isinstance(samples, str) and samples == RANDOM:
            raise UsageError(
                "random samples can't calibrate: their ranges are not those of real data",
                where="--samples random" if self.calibration is None else "--calibration random",
                remedy="give real inputs, some 100 of them",
            )

    @property
    def reads(self) -> tuple[Any, ...]:
        """What was given that may be a file or folder to read."""
        return (self.source, self.weights, self.samples, self.calibration, self.preprocess)

    def compile_options(self, target: Target) -> CompileOptions:
        """Return what one target's backend is told."""
        own = ((name, text) for backend, name, text in self.options if backend == target.backend)
        precision = "fp32" if self.precision == "auto" else self.precision
        return CompileOptions(precision=precision, threads=self.threads, extra=tuple(sorted(own)))

    def by_precision(self, target: Target) -> list[Request]:
        """Return this request for every precision that is to be tried on a target.

        "auto" with a budget means the fastest precision that keeps it. Without a budget nobody
        allowed any loss, so it is FP32.
        """
        return [self._in(each) for each in self._precisions(target)]

    def _precisions(self, target: Target) -> tuple[str, ...]:
        if self.precision != "auto" or not self.budget:
            return (self.precision,)
        return _CHOICES.get(target.backend, ("fp32",))

    def _in(self, precision: str) -> Request:
        if precision == "int8":
            return replace(self, precision=precision)
        return replace(self, precision=precision, method="auto", calibration=None, keep=None)


class RequestOptions(TypedDict, total=False):
    """The options of a deploy as texts; see `Request`."""

    weights: str | Path | None
    inputs: str | Sequence[str]
    outputs: str | Sequence[str]
    preprocess: str | Path | None
    targets: str | Sequence[str]
    precision: str
    options: Sequence[str]
    budget: str | None
    objective: str
    out: str | Path | None
    threads: int | None
    trust: bool
    measure_seconds: float
    method: str
    calibration: Any
    keep: str | Path | None
    strict_precision: bool


def make_request(source: Any, samples: Any, **options: Unpack[RequestOptions]) -> Request:
    """Parse the texts of a command line or a call into a request.

    Raises:
        UsageError: text of another form, an option that doesn't exist.
    """
    if unknown := sorted(set(options) - RequestOptions.__annotations__.keys()):
        raise UsageError(
            f"there is no option {unknown[0]!r}",
            where="deploy",
            remedy=f"choose among: {', '.join(RequestOptions.__annotations__)}",
        )
    budget = options.get("budget")
    return Request(
        source=source,
        samples=samples,
        weights=_path(options.get("weights")),
        inputs=parse_inputs(_texts(options.get("inputs", ()))),
        outputs=split_names(_texts(options.get("outputs", ()))),
        preprocess=_path(options.get("preprocess")),
        targets=tuple(Target.parse(text) for text in _texts(options.get("targets", ())))
        or (Target(DEFAULT_TARGET),),
        precision=options.get("precision", "auto"),
        options=tuple(map(parse_option, _texts(options.get("options", ())))),
        budget={} if budget is None else parse_budget(budget),
        objective=options.get("objective", "latency"),
        out=_path(options.get("out")),
        threads=options.get("threads"),
        trust=options.get("trust", False),
        measure_seconds=options.get("measure_seconds", 10.0),
        method=options.get("method", "auto"),
        calibration=options.get("calibration"),
        keep=_path(options.get("keep")),
        strict_precision=options.get("strict_precision", False),
    )


def split_names(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the names in `--outputs a,b`, which is repeatable."""
    names = [name.strip() for text in texts for name in text.split(",")]
    return tuple(name for name in names if name)


def parse_option(text: str) -> tuple[str, str, str]:
    """Parse `tensorrt.level=2` into backend, name, text.

    Raises:
        UsageError: text of another form.
    """
    name, equals, value = text.partition("=")
    backend, dot, option = name.strip().partition(".")
    if not (equals and dot and backend and option and value.strip()):
        raise UsageError(
            f"can't read the option {text!r}",
            where="--option",
            remedy="write it as BACKEND.NAME=VALUE, e.g. tensorrt.level=2",
        )
    return backend, option, value.strip()


def parse_budget(text: str) -> dict[str, float]:
    """Parse `mvre=0.01`.

    Raises:
        UsageError: an unknown metric, or a limit that isn't a positive number.
    """
    name, _, value = text.partition("=")
    _choice("--budget", name.strip(), BUDGETS)
    try:
        limit = float(value)
    except ValueError:
        limit = -1.0
    if not 0.0 < limit < float("inf"):
        raise UsageError(
            f"the budget {text!r} has no positive limit",
            where="--budget",
            remedy="write it as mvre=0.01",
        )
    return {name.strip(): limit}


def check_seconds(option: str, seconds: float) -> None:
    """Refuse what no clock can measure.

    Raises:
        UsageError: negative, infinite or not a number.
    """
    if not 0.0 <= seconds < float("inf"):
        raise UsageError(
            f"{seconds:g} isn't a time that can be spent", where=option, remedy="give seconds: 10"
        )


def _texts(value: str | Sequence[str]) -> list[str]:
    """Return several texts; one by itself is a text and not its letters."""
    return [value] if isinstance(value, str) else list(value)


def _choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(
            f"{value!r} isn't a choice", where=option, remedy=f"choose one of: {', '.join(choices)}"
        )


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
