"""A runtime as `backends/*/runtime.py` are, that doubles arrays where they lie, like TensorRT's."""

import numpy as np


class Array:
    def __init__(self, array):
        self.array = array


class Runner:
    def __init__(self, files, spec):
        pass

    def run(self, feed):
        return {"y": feed["x"] * 2}

    def run_device(self, feed, outputs=None, stream=None):
        if stream == -1:
            raise RuntimeError("there is no stream -1")
        y = (outputs or {}).get("y") or Array(np.empty_like(feed["x"].array))
        y.array[...] = feed["x"].array * 2 + (stream or 0)
        return {"y": y}

    def close(self):
        pass
