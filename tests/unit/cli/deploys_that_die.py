"""A program that starts deploys to be killed; run by `test_killed.py`.

Reads a command line in JSON from each line of standard input, runs it in a child of its own and
answers `started PID` at once and, asked with an empty line, `ended STATUS`. The children begin with
everything imported but ONNX Runtime (which doesn't survive a fork, and which onnxsim imports), so
that they spend their time on the deploy.
"""

import importlib
import json
import os
import sys

# An ONNX file needs neither; they take long to import.
sys.modules["torch"] = sys.modules["openvino"] = None
for name in ("onnx.reference", "roadworthy.cli.deploy", "roadworthy.pipeline.deploy"):
    importlib.import_module(name)


def child(words: list[str]) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    sys.argv[1:] = words
    try:
        importlib.import_module("roadworthy.cli.main").main()
    except SystemExit as error:
        os._exit(error.code)
    finally:
        os._exit(99)


def serve() -> None:
    while line := sys.stdin.readline():
        assert "onnxruntime" not in sys.modules
        pid = os.fork()
        if pid == 0:
            child(json.loads(line))
        print("started", pid, flush=True)
        sys.stdin.readline()  # until then its id stays its own, even if it ended
        _, status = os.waitpid(pid, 0)
        print("ended", status, flush=True)


if __name__ == "__main__":
    serve()
