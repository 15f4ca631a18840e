"""Runs quantisers as programs of their own: ours and others', each by a Python that has it.

The others' environments are made on first use under `.venv-quantisers/`, which git ignores. A run
is watched: the resident memory of its process tree and the time are limited, and what came of it is
a plain record, whichever way it ended.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from roadworthy.core.cpus import usable_cpus

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE / "quantiser_tools"
ENVIRONMENTS = HERE.parent / ".venv-quantisers"
GIB = 2**30

_POLL_SECONDS = 0.02
_INSTALL_SECONDS = 900
_LAST_LINE = 300  # characters of what a failed run said


@dataclass(frozen=True)
class Tool:
    """One quantiser.

    Attributes:
        name: its key in `TOOLS`, and its environment's.
        methods: those worth comparing, the simplest first.
        packages: what its environment needs, one pip call each; none: this interpreter has it.
    """

    name: str
    methods: tuple[str, ...]
    packages: tuple[tuple[str, ...], ...] = ()

    @property
    def script(self) -> Path:
        """The program that drives it."""
        return SCRIPTS / f"with_{self.name}.py"


@dataclass(frozen=True)
class Limits:
    """What one run may take: bytes of resident memory, and seconds."""

    memory: int = 6 * GIB
    seconds: float = 600.0


# The ONNX Runtime that we use ourselves: it does the calibrating inference of all of them.
_SHARED = ("onnx>=1.21,<1.22", "onnxruntime>=1.31,<1.32")
TOOLS = {
    tool.name: tool
    for tool in (
        Tool("roadworthy", ("minmax", "percentile", "mse", "entropy", "auto")),
        Tool("onnxruntime", ("minmax", "percentile", "entropy")),
        Tool("nncf", ("default", "mixed"), (("nncf==3.4.*", "openvino==2026.4.*", *_SHARED),)),
        Tool(
            "modelopt",
            ("max", "entropy"),
            (
                ("torch==2.13.0",),
                # Without its extra [onnx], which brings onnxruntime-gpu over onnxruntime.
                (
                    "nvidia-modelopt==0.47.*",
                    *("cppimport", "lief", "onnxconverter-common", "onnxscript"),
                    *("onnx-graphsurgeon", "polygraphy", "onnxslim"),
                    *_SHARED,
                ),
            ),
        ),
    )
}


def interpreter(tool: Tool) -> tuple[str | None, str]:
    """Return the Python that has a tool, made if need be; or None and why it can't be had."""
    if not tool.packages:
        return sys.executable, ""
    folder = ENVIRONMENTS / tool.name
    python, ready = folder / "bin" / "python", folder / "complete.json"
    wanted = json.dumps(tool.packages)
    if ready.exists() and ready.read_text() == wanted:
        return str(python), ""
    print(f"making an environment for {tool.name} …", flush=True)
    steps = [[sys.executable, "-m", "venv", "--clear", str(folder)]]
    steps += [[str(python), "-m", "pip", "install", "-q", *group] for group in tool.packages]
    for step in steps:
        try:
            done = subprocess.run(
                step, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return None, f"can't be installed here: {type(error).__name__}"
        if done.returncode:
            return None, f"can't be installed here: {told(done.stderr)}"
    ready.write_text(wanted)
    return str(python), ""


def run_tool(
    tool: Tool,
    method: str,
    model: Path,
    samples: Path,
    count: int,
    out: Path,
    limits: Limits,
    *options: str,
) -> dict[str, Any]:
    """Quantise `model` with the first `count` samples of a folder, in a process of its own.

    Returns:
        "outcome": "done", "killed" (too much memory), "timed out", "failed" or "unavailable";
        "why" unless done; "seconds" of the whole process and "peak_bytes", the most that its
        process tree ever had resident; and, when done, what the script reports itself.
    """
    python, why = interpreter(tool)
    if python is None:
        return {"outcome": "unavailable", "why": why}
    with TemporaryDirectory() as name:
        folder = Path(name)
        report = folder / "report.json"
        command = [python, str(tool.script), str(model), str(samples), str(out), str(report)]
        command += ["--method", method, "--count", str(count), *options]
        with (folder / "log").open("wb") as log:
            started = time.monotonic()
            # A folder of its own: ONNX Runtime and ModelOpt leave files beside them.
            child = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=folder, start_new_session=True, env=_env(tool)
            )
            try:
                outcome, why, peak = _watch(child, started, limits)
            finally:
                _end_group(child)
        found: dict[str, Any] = {"outcome": outcome, "seconds": time.monotonic() - started}
        found["seconds"] = round(found["seconds"], 2)
        if outcome == "done" and (child.returncode or not report.exists()):
            found["outcome"], why = "failed", told((folder / "log").read_text(errors="replace"))
        own = json.loads(report.read_text()) if report.exists() else {}
        found["peak_bytes"] = max(peak, own.pop("peak_bytes", 0))
        return found | ({"why": why} if why else {}) | own


def _watch(child: subprocess.Popen[bytes], started: float, limits: Limits) -> tuple[str, str, int]:
    """Return outcome, reason and peak; the caller ends what is still running."""
    peak = 0
    while child.poll() is None:
        resident, high = tree_memory(child.pid)
        peak = max(peak, high)
        if resident > limits.memory:
            return "killed", f"killed at {limits.memory / GIB:g} GiB", peak
        if time.monotonic() - started > limits.seconds:
            return "timed out", f"stopped after {limits.seconds:g} s", peak
        time.sleep(_POLL_SECONDS)
    return "done", "", peak


def tree_memory(pid: int) -> tuple[int, int]:
    """Return bytes that a process and its descendants have resident, and the sum of their peaks."""
    resident = high = 0
    for one in _tree(pid):
        try:
            text = Path(f"/proc/{one}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        values = dict(line.split(":", 1) for line in text.splitlines() if line.startswith("Vm"))
        resident += int(values.get("VmRSS", "0 kB").split()[0]) * 1024
        high += int(values.get("VmHWM", "0 kB").split()[0]) * 1024
    return resident, high


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found = children.read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in found:
            yield from _tree(int(child))


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """End the process and whatever it started."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _env(tool: Tool) -> dict[str, str]:
    """The others must not find our packages; all may use the same processors."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment = dict(os.environ) if not tool.packages else kept
    return {**environment, "OMP_NUM_THREADS": str(usable_cpus())}


def told(text: str) -> str:
    """Return the last thing that was said, in one line, without this machine's folders."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else "it said nothing"
    return re.sub(r"(?<![\w.])/(?:[\w.+-]+/)+", "", last)[-_LAST_LINE:]
