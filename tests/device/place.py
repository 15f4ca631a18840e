"""Which target the device tests mean, and how it is built for in seconds.

ROADWORTHY_TENSORRT names it where it isn't plain `tensorrt`, for instance
`tensorrt@python=/opt/trt86/bin/python3.10`.
"""

from __future__ import annotations

import os

from roadworthy.backends.base import CompileOptions
from roadworthy.core.target import Target

TARGET = Target.parse(os.environ.get("ROADWORTHY_TENSORRT", "tensorrt"))

# Low levels build in seconds; answers must be right at each of them.
QUICK = (("build-cache", "off"), ("level", "0"))
# TensorRT wants a range for every open axis. The contract's sizes go from none to 1000.
_WHOLE = (*QUICK, ("open", "0..1000"), ("timing-cache", "off"))


def conformance_options(target: Target) -> CompileOptions:
    """Return what a backend is told in the conformance suite."""
    extra = tuple(sorted(_WHOLE)) if target.backend == "tensorrt" else ()
    return CompileOptions(threads=1, spinning=False, extra=extra)
