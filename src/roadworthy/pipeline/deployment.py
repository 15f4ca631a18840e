"""How a deploy ended: per target an engine with its certificate, or the error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadworthy.backends.base import Engine
from roadworthy.core.certificate import Certificate
from roadworthy.core.errors import EXIT_OK, RoadworthyError, worst_exit_code
from roadworthy.core.signature import Signature
from roadworthy.core.target import Target


@dataclass(frozen=True)
class TargetResult:
    """One target's end. `error` None means that it verified and met the budget.

    `precision` is the one that was tried, and `others` says of each other one why it isn't that.
    """

    target: Target
    precision: str
    engine: Engine | None
    certificate: Certificate | None
    error: RoadworthyError | None
    others: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True when it may ship."""
        return self.error is None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, without the engine's bytes."""
        return {
            "target": str(self.target),
            "precision": self.precision,
            "ok": self.ok,
            "exit_code": EXIT_OK if self.error is None else self.error.exit_code,
            "error": None if self.error is None else self.error.to_json(),
            "certificate": self.certificate,
            "others": list(self.others),
        }


@dataclass(frozen=True)
class Deployment:
    """How a deploy ended.

    `bundle` is None when nothing verified, or no bundle was asked for; `chosen` is the target that
    the objective prefers, `why` says why, and why each other one lost.
    """

    results: tuple[TargetResult, ...]
    signature: Signature
    bundle: Path | None
    chosen: Target | None
    why: str

    @property
    def exit_code(self) -> int:
        """0 when every target verified, else the worst of theirs."""
        return worst_exit_code([r.error.exit_code for r in self.results if r.error is not None])

    @property
    def error(self) -> RoadworthyError | None:
        """The error that the exit code stands for."""
        for result in self.results:
            if result.error is not None and result.error.exit_code == self.exit_code:
                return result.error
        return None

    def require(self) -> Deployment:
        """Return self when every target verified, else raise the worst error."""
        if self.error is not None:
            raise self.error
        return self

    def to_json(self) -> Mapping[str, Any]:
        """Return the `result` of the command line's JSON document."""
        return {
            "bundle": None if self.bundle is None else str(self.bundle),
            "chosen": None if self.chosen is None else str(self.chosen),
            "why": self.why,
            "signature": self.signature,
            "targets": list(self.results),
        }
