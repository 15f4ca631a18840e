"""What `Session.run` adds to ONNX Runtime's own call.

    python benchmarks/session_overhead.py [--seconds 60] [--out benchmarks/results/…json]

Two real networks, sized on this machine to about 100 µs and 10 ms a run, each opened in this one
process by roadworthy (`Engine.open().run(feed)`), and by hand (`onnxruntime.InferenceSession` on
the same bytes with the same options, `run(None, feed)`). Short blocks of both alternate; a pair of
neighbouring blocks gives one ratio, ours over theirs (1.02: roadworthy takes 2 % longer), a round
of fresh sessions gives the median of its pairs, and the interval is a bootstrap over the rounds.
One thread each: there is no pool then, and none to steal the other's core. ONNX Runtime's I/O
binding is timed in the same way.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.onnxruntime.runtime import session_options
from roadworthy.backends.registry import find
from roadworthy.core.files import write_text
from roadworthy.core.jsonable import dumps
from roadworthy.core.signature import Feed, Signature, TensorSpec
from roadworthy.core.target import Target
from roadworthy.measure.environment import environment
from roadworthy.measure.paired import warm_up
from roadworthy.measure.statistics import bootstrap_ratio, percentile
from roadworthy.measure.subject import LocalSubject
from roadworthy.measure.timing import time_runs

RESULTS = Path(__file__).parent / "results" / "session_overhead.json"
_PROVIDER = "CPUExecutionProvider"
_CHANNELS = 16
ROUNDS = 10
BLOCK_NS = 5_000_000


@dataclass(frozen=True)
class Case:
    """A network, how long it shall take, and the largest ratio we aim at."""

    name: str
    build: Callable[[int], tuple[bytes, Feed]]
    aim_ns: int
    target: float


def perceptron(layers: int) -> tuple[bytes, Feed]:
    """MatMul, Add, Relu, so many times, 256 wide."""
    rng, width = np.random.default_rng(0), 256
    nodes, weights, value = [], [], "x"
    for i in range(layers):
        w = rng.standard_normal((width, width), dtype=np.float32) / np.sqrt(width)
        weights += [_weight(f"w{i}", w), _weight(f"b{i}", np.zeros(width, np.float32))]
        nodes.append(helper.make_node("MatMul", [value, f"w{i}"], [f"m{i}"]))
        nodes.append(helper.make_node("Add", [f"m{i}", f"b{i}"], [f"a{i}"]))
        value = "y" if i == layers - 1 else f"r{i}"
        nodes.append(helper.make_node("Relu", [f"a{i}"], [value]))
    return _model(nodes, weights, [1, width]), {"x": _input(rng, (1, width))}


def convolutions(layers: int) -> tuple[bytes, Feed]:
    """3×3 Conv and Relu, so many times, 16 channels of 64×64."""
    rng, shape = np.random.default_rng(0), (1, _CHANNELS, 64, 64)
    nodes, weights, value = [], [], "x"
    for i in range(layers):
        w = rng.standard_normal((_CHANNELS, _CHANNELS, 3, 3), dtype=np.float32)
        weights.append(_weight(f"w{i}", w * np.float32((2 / (9 * _CHANNELS)) ** 0.5)))
        nodes.append(helper.make_node("Conv", [value, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1]))
        value = "y" if i == layers - 1 else f"r{i}"
        nodes.append(helper.make_node("Relu", [f"c{i}"], [value]))
    return _model(nodes, weights, list(shape)), {"x": _input(rng, shape)}


def _weight(name: str, array: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(array, np.float32), name)


def _input(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.standard_normal(shape, dtype=np.float32)


def _model(nodes: Iterable[onnx.NodeProto], weights: Any, shape: list[int]) -> bytes:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "xy")
    graph = helper.make_graph(list(nodes), "network", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def by_hand(model: bytes, threads: int) -> ort.InferenceSession:
    """Return the session that a person would open, with the options that roadworthy states."""
    options = session_options(threads, optimise=True, spinning=True, provider=_PROVIDER)
    return ort.InferenceSession(model, options, providers=[_PROVIDER])


def calibrate(case: Case, threads: int) -> int:
    """Return how many layers take about `aim_ns` here, from a trial of four."""
    layers = 4
    for _ in range(3):
        model, feed = case.build(layers)
        trial = LocalSubject("trial", partial(by_hand(model, threads).run, None, feed), threads)
        layers = max(1, round(layers * case.aim_ns / warm_up(trial, 3.0).median_ns))
    return layers


def ours(model: bytes, feed: Feed, threads: int) -> Engine:
    """Return the engine as roadworthy has it: the same bytes, the same options."""
    spec = {name: ("float32", tuple(array.shape)) for name, array in feed.items()}
    (dtype, shape) = spec["x"]
    target = Target.parse("onnxruntime")
    return Engine(
        target=target,
        signature=Signature((TensorSpec("x", dtype, shape),), (TensorSpec("y", dtype, shape),)),
        files={"model.onnx": model},
        options=CompileOptions(threads=threads, spinning=True),
        fingerprint=find("onnxruntime").fingerprint(target),
    )


def bound_call(session: ort.InferenceSession, feed: Feed) -> Callable[[], object]:
    """Return one run through I/O binding whose results are the caller's to keep.

    Outputs are bound anew for each run: bound once, every run would overwrite the last answer.
    """
    binding = session.io_binding()
    names = [output.name for output in session.get_outputs()]

    def call() -> object:
        for name, array in feed.items():
            binding.bind_cpu_input(name, array)
        for name in names:
            binding.bind_output(name)
        session.run_with_iobinding(binding)
        return dict(zip(names, binding.copy_outputs_to_cpu(), strict=True))

    return call


def run_case(case: Case, threads: int, seconds: float) -> dict[str, Any]:
    """Time one network in rounds of freshly opened sessions and return the account."""
    layers = calibrate(case, threads)
    model, feed = case.build(layers)
    count = max(1, BLOCK_NS // case.aim_ns)
    rounds = [one_round(model, feed, threads, count, seconds / ROUNDS) for _ in range(ROUNDS)]
    account: dict[str, Any] = {"network": case.name, "layers": layers, "runs_per_block": count}
    account["raw_median_us"] = round(float(np.median([pairs["raw"] for pairs in rounds])), 2)
    for key in ("session_run", "io_binding"):
        ratio, low, high = bootstrap_ratio([(pairs[key], 1.0) for pairs in rounds])
        account[key] = {
            "over_raw": round(ratio, 5),
            "interval_95": [round(low, 5), round(high, 5)],
            "added_us": round(float(np.median([pairs[f"{key}_us"] for pairs in rounds])), 2),
        }
    account["aim"] = case.target
    account["met"] = account["session_run"]["over_raw"] <= case.target
    return account


def one_round(
    model: bytes, feed: Feed, threads: int, count: int, seconds: float
) -> dict[str, float]:
    """Open new sessions, warm up, alternate short blocks; return medians over the pairs.

    Two sessions of the same bytes can differ by a percent for good: weights lie elsewhere in
    memory. So a round's pairs aren't independent, and the interval is taken over rounds.
    """
    hand, hand2 = by_hand(model, threads), by_hand(model, threads)
    with ours(model, feed, threads).open() as session:
        np.testing.assert_array_equal(session.run(feed)["y"], hand.run(None, feed)[0])
        calls: dict[str, Callable[[], object]] = {
            "raw": lambda: hand.run(None, feed),
            "session_run": lambda: session.run(feed),
            "io_binding": bound_call(hand2, feed),
        }
        for name, call in calls.items():
            warm_up(LocalSubject(name, call, threads), 2.0)
        medians = alternate(calls, count, seconds)
    raw = np.asarray(medians["raw"])
    found = {"raw": float(np.median(raw)) / 1e3}
    for key in ("session_run", "io_binding"):
        found[key] = float(np.median(medians[key] / raw))
        found[f"{key}_us"] = float(np.median(medians[key] - raw)) / 1e3
    return found


def alternate(calls: dict[str, Callable[[], object]], count: int, seconds: float) -> dict[str, Any]:
    """Return each call's block medians in ns; every block order there is comes equally often."""
    taken: dict[str, list[int]] = {name: [] for name in calls}
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        for order in permutations(calls):
            for name in order:
                times = time_runs(calls[name], count, lead=1 if count > 1 else 0)
                taken[name].append(percentile(times, 50))
    return {name: np.asarray(values) for name, values in taken.items()}


CASES = (
    Case("100 µs: MatMul, Add, Relu", perceptron, 100_000, 1.10),
    Case("10 ms: Conv, Relu", convolutions, 10_000_000, 1.01),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for each network")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    account = environment()
    results = [run_case(case, asked.threads, asked.seconds) for case in CASES]
    found = {"recorded": date.today().isoformat(), "environment": account}
    write_text(asked.out, dumps({**found, "threads": asked.threads, "results": results}))
    for result in results:
        for key in ("session_run", "io_binding"):
            one = result[key]
            low, high = one["interval_95"]
            print(f"{result['network']:27} {key:12} {one['over_raw']:.4f} [{low:.4f}, {high:.4f}]")
    return 0 if all(result["met"] for result in results) else 5


if __name__ == "__main__":
    sys.exit(main())
