"""An engine's account: what was built, its errors against PyTorch FP32, its times, its layers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import networks
import torch

from h200.bench import Bench, Spec
from roadworthy.backends.base import Engine
from roadworthy.backends.session import Session
from roadworthy.core.errors import RoadworthyError
from roadworthy.core.signature import Dim

HERE = Path(__file__).resolve().parent
BARE_AIM = 1.02
SECONDS = 2.0
"""Of runs for each size; 50 runs at least, 1,000 at most."""


def account(engine: Engine) -> dict[str, Any]:
    """Return what was built: where the time went, which precision runs, what was warned of."""
    return {
        "options": dict(engine.options.extra),
        "precision": engine.options.precision,
        "proof": dict(engine.proof),
        "fingerprint": dict(engine.fingerprint),
        "warnings": [line for line in engine.log if line.startswith(("[W]", "[E]"))][:10],
    }


def times_of(session: Session, feed: dict[str, Any]) -> dict[str, Any]:
    """Return medians in ms of what the runtime tells: device, enqueue, latency, host."""
    trial = median(session.time(feed, 10, 10)["host"]) / 1e9
    runs = max(50, min(1000, int(SECONDS / trial)))
    times = session.time(feed, runs, 20)
    batch = len(next(iter(feed.values())))
    found: dict[str, Any] = {f"{name}_ms": median(of) / 1e6 for name, of in times.items()}
    for name in times.keys() - {"enqueue"}:
        found[f"{name}_per_second"] = batch * 1e3 / found[f"{name}_ms"]
    return {"runs": runs, **found}


def measure(bench: Bench, spec: Spec, sizes: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    """Build, then judge and time at each (batch, height, width)."""
    engine = bench.engine(spec)
    network, module = bench.network(spec.network)
    rows = []
    with engine.open() as session:
        for batch, *side in sizes:
            x = networks.images((batch, network.shape[0], *side))
            wanted = networks.truth(module, network, x)
            errors = networks.errors(network, session.run({networks.INPUT: x}), wanted)
            row = {"batch": batch, "size": side, "relative_l2": errors}
            row |= times_of(session, {networks.INPUT: x})
            rows.append(row)
            bench.record.say(f"  {line(row)}")
    found = {**account(engine), "rows": rows}
    if spec.precision == "int8":
        found["quantisation"] = bench.quantised(spec.network).account
    return found


def line(row: dict[str, Any]) -> str:
    """Return a row for people."""
    times = ", ".join(f"{k[:-3]} {v:.4f}" for k, v in row.items() if k.endswith("_ms"))
    errors = ", ".join(f"{name} {value:.1e}" for name, value in row["relative_l2"].items())
    return f"batch {row['batch']} {row['size']}: {times} ms; L2 {errors}"


def layers(bench: Bench, spec: Spec) -> dict[str, Any]:
    """Return every layer's time, the longest first."""
    network, _ = bench.network(spec.network)
    with bench.engine(spec).open() as session:
        found = session.profile({networks.INPUT: network.images(spec.batch)}, 50)
    return {"layers": sorted(found, key=lambda layer: -float(layer["median_us"]))}


def runtime_path(bench: Bench) -> Path:
    """Return the target's runtime: a folder, or a module that is one file."""
    import roadworthy.backends

    folder = Path(roadworthy.backends.__file__ or "").parent / bench.target.backend
    whole = folder / "runtime"
    return whole if whole.is_dir() else folder / "runtime.py"


def far(bench: Bench, engine: Engine, script: Path, *arguments: object) -> dict[str, Any]:
    """Run a script where the runtime is: RUNTIME ENGINE ARGUMENTS; it prints one JSON object."""
    python = (bench.target.where or f"python={sys.executable}").removeprefix("python=")
    name, content = next(iter(engine.files.items()))
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / name
        plan.write_bytes(content)
        done = subprocess.run(
            [python, script, runtime_path(bench), plan, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=max(10.0, bench.record.left),
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{script.name} ended with {done.returncode}: {done.stderr[-1500:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def shape_text(shape: Sequence[int]) -> str:
    """Return a shape as the scripts take it."""
    return "x".join(map(str, shape))


def bare(bench: Bench, spec: Spec) -> dict[str, Any]:
    """Return our device-to-device call beside a bare CUDA graph launch of the same plan."""
    if bench.dry:
        return {"not done": "a CUDA graph needs a GPU"}
    network, _ = bench.network(spec.network)
    shape = shape_text((spec.batch, *network.shape))
    script = HERE.parent / "tensorrt_bare.py"
    found = far(bench, bench.engine(spec), script, networks.INPUT, shape, 1000, 10)
    bench.record.say(f"  bare {found['bare_ms']:.4f} ms, ours {found['ours_ms']:.4f}")
    return {**found, "aim": BARE_AIM, "met": found["ratio"] <= BARE_AIM}


def threads(bench: Bench, spec: Spec) -> dict[str, Any]:
    """Return images per second from NumPy to NumPy: one by one, `run_many`, and with threads.

    `beside` is measured where the runtime is: "host" one run after another, "overlapped" copies
    beside computing by `run_many`, "latency" and "device" the same without NumPy, and without
    copies. From here (`run`, `run_many`) every array also goes to the worker and back, through
    shared memory. `threads` is beside the runtime too: several runners instead of `run_many`.
    """
    network, _ = bench.network(spec.network)
    engine = bench.engine(spec)
    count = 8 if bench.dry else 200
    feeds = [{networks.INPUT: network.images(spec.batch, seed=n)} for n in range(4)]
    feeds = [feeds[n % 4] for n in range(count)]
    found: dict[str, Any] = {"batch": spec.batch, "runs": count}
    with engine.open() as session:
        calls: dict[str, Any] = {"run": lambda: [session.run(feed) for feed in feeds]}
        if hasattr(session, "run_many"):
            calls["run_many"] = lambda: list(session.run_many(feeds))
        for name, call in calls.items():
            session.run(feeds[0])
            found[name] = {"per_second": spec.batch * count / elapsed(call)}
        times = session.time(feeds[0], count, 20)
        found["beside"] = {
            name: {
                "ms": sum(of) / len(of) / 1e6,
                "per_second": spec.batch * 1e9 * len(of) / sum(of),
            }
            for name, of in times.items()
            if name != "enqueue"
        }
    shape = shape_text((spec.batch, *network.shape))
    found["threads"] = far(
        bench, engine, HERE / "far.py", "threads", networks.INPUT, shape, 1 if bench.dry else 3
    )
    bench.record.say(f"  {found}")
    return found


def elapsed(call: Any) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def largest(bench: Bench, network_name: str, first: int, seconds: float) -> dict[str, Any]:
    """Double the batch until it is refused, then bisect to within an eighth.

    Every try is built at level 0, which takes the first kernels that fit (the question is what
    fits, not how fast it is), and run. Ends after `seconds` at the latest.
    """
    if not bench.dry:
        torch.cuda.empty_cache()
    tries: list[dict[str, Any]] = []
    until = bench.record.left - seconds
    good, bad, batch = 0, 0, first
    while bench.record.left > until and len(tries) < (2 if bench.dry else 9):
        tries.append(found := one_batch(bench, network_name, batch))
        bench.record.say(f"  {found}")
        good, bad = (good, batch) if "error" in found else (batch, bad)
        batch = (good + bad) // 2 if bad else 2 * batch
        if bad and bad - good <= max(1, good // 8):
            break
    return {"largest": good, "refused": bad or None, "tries": tries}


def one_batch(bench: Bench, name: str, batch: int) -> dict[str, Any]:
    """Build for exactly this batch, run it, tell the memory it took."""
    network, _ = bench.network(name)
    axes = ((0, Dim("batch", batch, batch)),)
    spec = Spec(name, "fp16", level=0, axes=axes)
    shape = shape_text((batch, *network.shape))
    try:
        engine = bench.engine(spec)
        ran = far(bench, engine, HERE / "far.py", "once", networks.INPUT, shape, 3)
    except (RoadworthyError, RuntimeError) as error:
        return {"batch": batch, "error": str(error)[:600]}
    return {"batch": batch, "build_seconds": engine.proof.get("seconds"), **ran}
