"""Our engine and PyTorch on the same GPU, in alternating blocks; ratios with 95 % intervals.

Three times each. `device`: tensors on the device in and out, events around each of the calls queued
back to back. `call`: the same tensors, on the CPU's clock, each call waited for. `host`: from NumPy
to NumPy, one call after the other. In a round every side has one
block of each; the order turns round from one round to the next. A ratio is the median over rounds
of PyTorch's block median over ours (above 1: ours is quicker).
"""

from __future__ import annotations

import copy
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import networks
import numpy as np
import torch
from networks import Network
from numpy.typing import NDArray
from torch import nn

from h200.bench import Bench, Spec
from h200.quantised import SEED
from roadworthy.backends.session import Session
from roadworthy.measure.statistics import bootstrap_ratio

ROUNDS = 10
BLOCK_SECONDS = 0.06
Block = Callable[[int], dict[str, float]]
"""Takes a number of runs, returns medians in ms by kind."""
KINDS = ("device", "call", "host")

LEVEL = 2
"""Optimisation level of what is built in one call, and of account C4. At TensorRT's default, 3, an
INT8 build took six minutes."""
CALIBRATED_WITH = 8

WAYS = ("compile fp16", "eager fp16", "autocast fp16", "eager fp32")


class Torch:
    """One way of running a module in PyTorch."""

    def __init__(
        self, bench: Bench, way: str, network: str, module: nn.Module, x: NDArray[np.float32]
    ) -> None:
        self._bench, self._half = bench, way in ("compile fp16", "eager fp16", "max-autotune fp16")
        self._network, self._x = network, x
        self._call = self._made(way, module)
        self._ready = self._device()

    def _made(self, way: str, module: nn.Module) -> Callable[[torch.Tensor], Any]:
        device = self._bench.device

        def autocast(x: torch.Tensor) -> Any:
            with torch.autocast(device, torch.bfloat16 if self._bench.dry else torch.float16):
                return module(x)

        if way in ("eager fp32", "autocast fp16"):
            return autocast if way == "autocast fp16" else module
        if way in ("one call fp16", "one call int8"):
            x = torch.from_numpy(self._x).to(device)
            precision = way.removeprefix("one call ")
            kept = kept_call(self._bench, self._network, precision)
            return one_call(self._bench, module, x, precision, kept)
        half = copy.deepcopy(module).half().to(memory_format=torch.channels_last)
        if way == "eager fp16":
            return half
        if self._bench.dry:
            compiled: Any = torch.compile(half, backend="eager", dynamic=False)
        else:
            mode = "max-autotune" if "autotune" in way else "reduce-overhead"
            compiled = torch.compile(half, mode=mode, dynamic=False)
        return compiled  # type: ignore[no-any-return]

    def _device(self) -> torch.Tensor:
        x = torch.from_numpy(self._x).to(self._bench.device)
        return x.half().to(memory_format=torch.channels_last) if self._half else x

    def answers(self) -> list[NDArray[np.float32]]:
        """From NumPy to NumPy."""
        found = self._call(self._device())
        return [y.float().cpu().numpy() for y in (found if isinstance(found, tuple) else (found,))]

    def block(self, runs: int) -> dict[str, float]:
        """See `Block`."""
        for _ in range(3):
            self._call(self._ready)
        self._bench.sync()
        device = self._stopwatch(runs) if self._bench.dry else self._events(runs)
        times = [took(call, runs) for call in (self._waited_for, self.answers)]
        return {"device": device, **dict(zip(KINDS[1:], times, strict=True))}

    def _waited_for(self) -> None:
        self._call(self._ready)
        self._bench.sync()

    def _events(self, runs: int) -> float:
        events = [torch.cuda.Event(enable_timing=True) for _ in range(runs + 1)]
        events[0].record()
        for event in events[1:]:
            self._call(self._ready)
            event.record()
        torch.cuda.synchronize()
        return median(a.elapsed_time(b) for a, b in pairwise(events))

    def _stopwatch(self, runs: int) -> float:
        times = [time.perf_counter()]
        for _ in range(runs):
            self._call(self._ready)
            times.append(time.perf_counter())
        return median(b - a for a, b in pairwise(times)) * 1e3


def took(call: Callable[[], object], runs: int) -> float:
    """Return the median of runs one after the other, in ms."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return median(times) * 1e3


def one_call(
    bench: Bench, module: nn.Module, x: torch.Tensor, precision: str, kept: Path | None = None
) -> Callable[[torch.Tensor], Any]:
    """Return `roadworthy.compile`'s module; where TensorRT is elsewhere, tensors go by the host.

    INT8 is calibrated (and verified) with `CALIBRATED_WITH` more images. What `in_one_call` kept is
    loaded, as a user would the next day.
    """
    import roadworthy

    if kept is not None and kept.exists():
        return roadworthy.EngineModule.load(kept)
    more: dict[str, Any] = {}
    if not bench.dry:
        more["options"] = [f"{bench.target.backend}.level={LEVEL}"]
    if precision == "int8":
        shape, device = tuple(x.shape), x.device
        images = [networks.images(shape, SEED + index) for index in range(CALIBRATED_WITH)]
        more["samples"] = [(torch.from_numpy(image).to(device),) for image in images]
    elif bench.dry:
        precision = "fp32"
    found = roadworthy.compile(module, (x,), target=str(bench.target), precision=precision, **more)
    if kept is not None:
        found.save(kept)
    return found


def kept_call(bench: Bench, network: str, precision: str) -> Path:
    """Return where an engine made in one call is kept: other programs on the machine need it."""
    about = [str(bench.target), network, precision, str(LEVEL), str(bench.dry)]
    mark = hashlib.sha256("\n".join(about).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"roadworthy-benchmark-{mark}.rw")


def in_one_call(bench: Bench, spec: Spec) -> None:
    """Make what the measuring run will load, anew."""
    network, module = bench.network(spec.network)
    x = torch.from_numpy(network.images(spec.batch)).to(bench.device)
    kept = kept_call(bench, spec.network, spec.precision)
    kept.unlink(missing_ok=True)
    with fresh():
        one_call(bench, module, x, spec.precision, kept)


def ours(session: Session, feed: dict[str, Any]) -> Block:
    """Return our side: the runtime times itself where it is."""

    def block(runs: int) -> dict[str, float]:
        times = session.time(feed, runs, 3)
        # A CPU's runtime has "host" alone.
        return {kind: median(times.get(kind, times["host"])) / 1e6 for kind in KINDS}

    return block


@contextmanager
def fresh() -> Iterator[None]:
    """Compile for this shape alone: nothing left from the one before, FP32 without TF32."""
    torch._dynamo.reset()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    with torch.inference_mode():
        yield
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def paired(bench: Bench, spec: Spec, batch: int, ways: tuple[str, ...]) -> dict[str, Any]:
    """Time our engine and PyTorch's ways at one batch."""
    network, module = bench.network(spec.network)
    x = network.images(batch)
    feed = {networks.INPUT: x}
    found: dict[str, Any] = {"batch": batch, "engine": spec.key, "sides": {}, "ratios": {}}
    found["elsewhere"] = bool(bench.target.where)
    with fresh(), bench.engine(spec).open() as session:
        wanted = networks.truth(module, network, x)
        sides: dict[str, Block] = {"ours": ours(session, feed)}
        found["sides"]["ours"] = {
            "relative_l2": networks.errors(network, session.run(feed), wanted)
        }
        for way in ways:
            began = time.monotonic()
            try:
                side = Torch(bench, way, spec.network, module, x)
                answers = dict(zip(network.outputs, side.answers(), strict=True))
                side.block(3)
            except Exception as error:  # one way's fault must not lose the others
                found["sides"][way] = {"error": f"{type(error).__name__}: {error}"[:1000]}
                bench.record.say(f"  {way}: {error}")
                continue
            sides[way] = side.block
            found["sides"][way] = {
                "setup_seconds": round(time.monotonic() - began, 1),
                "relative_l2": networks.errors(network, answers, wanted),
            }
        alternate(bench, network, batch, sides, found)
    failed = [way for way in ways if way not in sides]
    return {**found, **({"error": f"failed: {', '.join(failed)}"} if failed else {})}


def alternate(
    bench: Bench,
    network: Network,
    batch: int,
    sides: dict[str, Block],
    found: dict[str, Any],
    base: str = "ours",
) -> None:
    """Do the rounds; add medians, and ratios over `base`, to `found`."""
    blocks: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    runs = {name: _runs(bench, block) for name, block in sides.items()}
    for turn in range(ROUNDS):
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            blocks[name].append(sides[name](runs[name]))
    for name, rounds in blocks.items():
        account = found["sides"][name]
        account["runs"], account["rounds"] = runs[name], rounds
        for kind in KINDS:
            account[f"{kind}_ms"] = ms = median(one[kind] for one in rounds)
            account[f"{kind}_per_second"] = batch * 1e3 / ms
        if name != base:
            found["ratios"][name] = {kind: _ratio(rounds, blocks[base], kind) for kind in rounds[0]}
        bench.record.say(
            f"  {network.name} batch {batch}, {name}: device {account['device_ms']:.4f} ms, "
            f"host {account['host_ms']:.4f} ms {_told(found['ratios'].get(name), base)}"
        )


def _runs(bench: Bench, block: Block) -> int:
    trial = block(2 if bench.dry else 5)
    wanted = int(BLOCK_SECONDS * 1e3 / max(trial.values()))
    return 2 if bench.dry else max(5, min(100, wanted))


def _ratio(theirs: list[dict[str, float]], mine: list[dict[str, float]], kind: str) -> Any:
    pairs = [(a[kind], b[kind]) for a, b in zip(theirs, mine, strict=True)]
    ratio, low, high = bootstrap_ratio(pairs)
    return {"ratio": ratio, "low": low, "high": high}


def _told(ratios: Any, base: str) -> str:
    if not ratios:
        return ""
    one = ratios["device"]
    return f"({one['ratio']:.2f}× {base} [{one['low']:.2f}, {one['high']:.2f}] on the device)"
