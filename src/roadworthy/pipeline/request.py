"""What a deploy is asked for: validated once, frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

from roadworthy.core.errors import UnavailableError, UsageError
from roadworthy.core.inputspec import InputSpec, parse_inputs
from roadworthy.core.target import Target

PRECISIONS = ("auto", "fp32", "tf32", "fp16", "bf16", "int8", "fp8")
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
        precision: "auto" is the best that this version can prove, FP32 for now.
        budget: metric name to limit, e.g. {"mvre": 0.01}.
        objective: what decides between several verified targets.
        out: the bundle to write; None writes none.
        threads: of one inference; None takes what this process may use.
        trust: allow files to run the code that they bring.
        measure_seconds: spent on timing each target; 0 leaves timing out.
    """

    source: Any
    samples: Any
    weights: Path | None = None
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[str, ...] = ()
    preprocess: Path | None = None
    targets: tuple[Target, ...] = (Target(DEFAULT_TARGET),)
    precision: str = "auto"
    budget: dict[str, float] = field(default_factory=dict)
    objective: str = "latency"
    out: Path | None = None
    threads: int | None = None
    trust: bool = False
    measure_seconds: float = 10.0

    def __post_init__(self) -> None:
        _choice("--precision", self.precision, PRECISIONS)
        _choice("--objective", self.objective, OBJECTIVES)
        if not self.targets:
            raise UsageError("no target was given", where="--target")
        if len(set(self.targets)) != len(self.targets):
            raise UsageError("a target is given twice", where="--target")
        if self.precision not in ("auto", "fp32"):
            raise UnavailableError(
                f"precision {self.precision} can't be built by this version of roadworthy",
                where="--precision",
                remedy="use --precision fp32",
            )


class RequestOptions(TypedDict, total=False):
    """The options of a deploy as texts; see `Request`."""

    weights: str | Path | None
    inputs: Sequence[str]
    outputs: Sequence[str]
    preprocess: str | Path | None
    targets: Sequence[str]
    precision: str
    budget: str | None
    objective: str
    out: str | Path | None
    threads: int | None
    trust: bool
    measure_seconds: float


def make_request(source: Any, samples: Any, **options: Unpack[RequestOptions]) -> Request:
    """Parse the texts of a command line or a call into a request.

    Raises:
        UsageError: text of another form.
    """
    budget = options.get("budget")
    names = [name.strip() for text in options.get("outputs", ()) for name in text.split(",")]
    return Request(
        source=source,
        samples=samples,
        weights=_path(options.get("weights")),
        inputs=parse_inputs(list(options.get("inputs", ()))),
        outputs=tuple(name for name in names if name),
        preprocess=_path(options.get("preprocess")),
        targets=tuple(Target.parse(text) for text in options.get("targets", ()))
        or (Target(DEFAULT_TARGET),),
        precision=options.get("precision", "auto"),
        budget=parse_budget(budget) if budget else {},
        objective=options.get("objective", "latency"),
        out=_path(options.get("out")),
        threads=options.get("threads"),
        trust=options.get("trust", False),
        measure_seconds=options.get("measure_seconds", 10.0),
    )


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


def _choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(
            f"{value!r} isn't a choice", where=option, remedy=f"choose one of: {', '.join(choices)}"
        )


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
