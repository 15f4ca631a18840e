"""Where an engine shall run: `backend[:device][==version][@where]`, split at the first `@`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from roadworthy.core.errors import UsageError

_FORM = re.compile(
    r"^(?P<backend>[a-z][a-z0-9_]*)(?::(?P<device>[A-Za-z0-9_.:]+))?(?:==(?P<version>[0-9][\w.]*))?$"
)


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed target. `device`, `version` and `where` are None where nothing was said."""

    backend: str
    device: str | None = None
    version: str | None = None
    where: str | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        """Parse a target such as `onnxruntime:cuda` or `tensorrt==8.6@ssh=user@jetson`.

        Raises:
            UsageError: text of another form.
        """
        head, at, where = text.strip().partition("@")
        match = _FORM.match(head)
        if match is None or (at and not where):
            raise UsageError(
                f"can't read the target {text!r}",
                where="--target",
                remedy="write it as backend[:device][==version][@where], e.g. onnxruntime:cuda",
            )
        return cls(match["backend"], match["device"], match["version"], where or None)

    def __str__(self) -> str:
        device = f":{self.device}" if self.device else ""
        version = f"=={self.version}" if self.version else ""
        where = f"@{self.where}" if self.where else ""
        return f"{self.backend}{device}{version}{where}"

    @property
    def anywhere(self) -> Target:
        """The same without a place: what an engine is made for, wherever it runs."""
        return replace(self, where=None)

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is on another host: what this machine has says nothing about it."""
        return self.where is not None and self.where.startswith("ssh=")

    @property
    def slug(self) -> str:
        """A form that is safe as a file name."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", str(self)).strip("-")
