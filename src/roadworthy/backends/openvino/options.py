"""OpenVINO's own options, from `--option name=value`."""

from __future__ import annotations

from dataclasses import dataclass

from roadworthy.backends.base import CompileOptions
from roadworthy.core.errors import UsageError

_SWITCH = {"on": True, "off": False}
_KNOWN = {
    "cache_dir": "cache_dir=FOLDER keeps compiled models there",
    "mode": "mode=latency|throughput: one run as fast as can be, or many at once (latency)",
    "pinning": "pinning=on|off binds threads to cores (off)",
}
_CHOICES = {"mode": ("latency", "throughput"), "pinning": tuple(_SWITCH)}


@dataclass(frozen=True, slots=True)
class OpenVinoOptions:
    """What `--option` can say to OpenVINO.

    Attributes:
        cache_dir: a folder where OpenVINO keeps compiled models, on the machine where it compiles;
            its key is the model's content and all settings. None: no cache.
        pinning: bind each thread to a core. Faster on a machine that runs nothing else; two
            processes that do it meet on the same cores.
        mode: "latency": all threads work on one run. "throughput": OpenVINO splits them into
            streams and says how many runs keep them busy, which `Session.run_many` overlaps. A run
            by itself takes longer then. The precision stays as stated in either.
    """

    cache_dir: str | None = None
    pinning: bool = False
    mode: str = "latency"

    @classmethod
    def parse(cls, options: CompileOptions) -> OpenVinoOptions:
        """Read the textual options.

        Raises:
            UsageError: an unknown name or value.
        """
        given = dict(options.extra)
        for name, text in given.items():
            if name not in _KNOWN:
                raise _refusal(f"OpenVINO has no option {name!r}")
            if text not in _CHOICES.get(name, (text,)) or not text:
                raise _refusal(f"OpenVINO's option {name} can't be {text!r}")
        return cls(
            given.get("cache_dir"),
            _SWITCH[given.get("pinning", "off")],
            given.get("mode", "latency"),
        )


def _refusal(what: str) -> UsageError:
    known = "; ".join(f"openvino.{text}" for text in _KNOWN.values())
    return UsageError(what, where="--option", remedy=f"there are: {known}")
