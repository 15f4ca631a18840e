"""A runtime as `backends/*/runtime.py` are, on NumPy, that can also crash, hang and fill memory."""

import ctypes
import os
import resource
import signal
import sys
import time

import numpy as np

NAME = "numpy"


def describe(device):
    if device == "missing-package":
        import no_such_package_anywhere  # noqa: F401
    if device == "absent":
        raise RuntimeError("there is no such device")
    return {"runtime": NAME, "version": np.__version__}


def build(files, spec, say):
    say("building")
    misbehave(spec.get("build"))
    content = b"".join(files.values())
    return {"files": {"engine": content}, "log": ["built"], "proof": {"bytes": len(content)}}


class Runner:
    def __init__(self, files, spec):
        self.spec = spec
        self.size = sum(len(content) for content in files.values())

    def run(self, feed):
        misbehave(self.spec.get("run"))
        if self.spec.get("grow"):
            return {name: np.tile(array, self.spec["grow"]) for name, array in feed.items()}
        return dict(feed)

    def profile(self, feed, runs):
        return [{"name": "copy", "onnx": ["copy"], "kind": "Identity", "median_us": 1.0}]

    def close(self):
        pass


def misbehave(how):
    if how == "segv":
        sys.stderr.write("about to read address 0\n")
        sys.stderr.flush()
        ctypes.string_at(0)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exit":
        os._exit(7)
    elif how == "hang":
        time.sleep(60)
    elif how == "memory":
        resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
        np.ones(1 << 30)
    elif how == "error":
        raise RuntimeError("node Conv_7 has no implementation")
    elif how == "defect":
        raise KeyError("oops")
    elif how:
        raise AssertionError(how)
