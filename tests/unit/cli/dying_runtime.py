"""ONNX Runtime's own runtime, in a process that dies where $DIES says so: "build segv", "run kill".

Sent to a worker: nothing of ours but the runtime that it stands for.
"""

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

import numpy as np

from roadworthy.backends.onnxruntime import runtime as real

describe = real.describe


def build(files, spec, say):
    say("building")
    die("build")
    return real.build(files, spec, say)


class Runner(real.Runner):
    def run(self, feed):
        die("run")
        return super().run(feed)


def die(when):
    at, how = os.environ["DIES"].split()
    if at != when:
        return
    sys.stderr.write(f"{at}: kernel 7 writes to address 0\n")
    sys.stderr.flush()
    if how == "segv":
        ctypes.string_at(0)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "memory":
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
        used = int(pages) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28), used + (1 << 28)))
        kept = []
        while True:
            kept.append(np.ones(1 << 23))  # 64 MiB each, until there is no more
