"""INT8 by several quantisers: how right, and how quick, on this CPU?

    python benchmarks/quantisers.py [--seconds 6] [--networks unet,detr_small,yolo_small] [--resume]

Every tool gets the same FP32 file and the same samples, and writes an INT8 file (a process of its
own, see `quantisers_tools.py`). Each file is judged on the same samples that no tool has seen, by
three ways to run it: "literal" is ONNX Runtime with its optimiser off, operator by operator: what
the file means; then ONNX Runtime and OpenVINO as roadworthy runs them. A runtime whose answers are
more than 3 dB further from FP32 than the literal ones computes something else: `differs`. SQNR is
10·log10 of the power of the FP32 answers over that of the difference, per output or part of one
(`networks.columns`); `agreement` is the share of equal argmax (pixels, queries, cells); IoU is
that of the scenes' exact masks. Time: the file beside FP32 in the same runtime, batch 1, both in
processes of their own, in alternating blocks; the ratio (over 1: INT8 is quicker) with its 95 %
interval. `--short` takes fewer methods; the detectors are always short unless `--all`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx_ir as ir
import quantisers_networks as cases
from networks import INPUT, Network
from numpy.typing import NDArray
from quantisers_tools import GIB, TOOLS, Limits, run_tool, told

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.registry import find
from roadworthy.core.cpus import cpu_features, usable_cpus
from roadworthy.core.errors import RoadworthyError
from roadworthy.core.files import write_text
from roadworthy.core.jsonable import dumps, plain
from roadworthy.core.signature import Answers
from roadworthy.core.target import Target
from roadworthy.graph.signature import signature_of
from roadworthy.measure.environment import environment
from roadworthy.measure.paired import compare
from roadworthy.measure.subject import EngineSubject

HERE = Path(__file__).resolve().parent
SCHEMA = "roadworthy-benchmark/quantisers/1"
RUNTIMES = ("onnxruntime", "openvino")
LITERAL = "literal"
DIFFERS_DB = 3.0
FEATURES = ("avx2", "avx512_vnni", "avx_vnni", "amx_int8")
SHORT = {
    "roadworthy": ("minmax", "auto"),
    "onnxruntime": ("minmax",),
    "nncf": ("default",),
    "modelopt": ("max", "entropy"),
}

Row = dict[str, Any]


@dataclass
class Bench:
    """One network with what is unseen, and FP32's answers to it."""

    case: cases.Exported
    folder: Path
    count: int
    threads: int
    seconds: float
    unseen: list[NDArray[np.float32]]
    masks: list[NDArray[np.uint8]]
    exact: list[Answers] = field(default_factory=list)
    baselines: dict[str, Engine] = field(default_factory=dict)
    known: dict[tuple[str, str], Row] = field(default_factory=dict)

    def engine(self, runtime: str, model: ir.Model, precision: str) -> Engine:
        """Compile for a runtime, or for the literal one."""
        plain_run = runtime == LITERAL
        backend = "onnxruntime" if plain_run else runtime
        options = CompileOptions(precision=precision, threads=self.threads, optimise=not plain_run)
        return find(backend).compile(model, signature_of(model), Target(backend), options)

    def answers(self, engine: Engine) -> list[Answers]:
        """Run all that is unseen."""
        with engine.open() as session:
            return [session.run({INPUT: image}) for image in self.unseen]


def prepare(name: str, asked: argparse.Namespace, folder: Path) -> Bench:
    """Export, write the samples, run FP32."""
    case = cases.export(name, asked.size, folder)
    images = cases.calibration_images(case.network, asked.size, asked.samples)
    cases.write_samples(folder / "samples", images)
    unseen = list(cases.unseen_images(case.network, asked.size, asked.unseen))
    masks = [mask for _, mask in unseen if mask is not None]
    bench = Bench(
        case,
        folder,
        asked.samples,
        usable_cpus(),
        asked.seconds,
        [image for image, _ in unseen],
        masks,
    )
    bench.exact = bench.answers(bench.engine(LITERAL, case.model, "fp32"))
    bench.baselines = {one: bench.engine(one, case.model, "fp32") for one in RUNTIMES}
    return bench


def judge(bench: Bench, answers: Sequence[Answers], exact: Sequence[Answers]) -> Row:
    """Return SQNR per part of the outputs, their worst, agreement, IoU where masks are known."""
    parts: dict[str, list[float]] = {}
    equal: list[float] = []
    for got, wanted in zip(answers, exact, strict=True):
        found = parts_of(bench.case.network, got)
        for name, reference in parts_of(bench.case.network, wanted).items():
            sums = parts.setdefault(name, [0.0, 0.0])
            sums[0] += float((reference.astype(np.float64) ** 2).sum())
            sums[1] += float(((reference.astype(np.float64) - found[name]) ** 2).sum())
        equal.append(
            float((chosen(bench.case.network, got) == chosen(bench.case.network, wanted)).mean())
        )
    sqnr = {name: decibel(signal, noise) for name, (signal, noise) in parts.items()}
    row: Row = {
        "sqnr_db": sqnr,
        "worst_sqnr_db": min(sqnr.values()),
        "agreement": float(np.mean(equal)),
    }
    if bench.masks:
        row["iou"] = scene_iou(bench, answers)
        row["iou_drop"] = scene_iou(bench, exact)["pooled"] - row["iou"]["pooled"]
    return row


def scene_iou(bench: Bench, answers: Sequence[Answers]) -> dict[str, float]:
    """Return the foreground's IoU, by the example's own measure."""
    from metrics import iou

    predicted = np.concatenate([chosen(bench.case.network, one) for one in answers])
    found: dict[str, float] = iou(predicted, np.concatenate(bench.masks))
    return found


def parts_of(network: Network, answers: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Return the outputs, or those of their columns that differ in kind."""
    found = {}
    for name in network.outputs:
        own = {key: at for key, at in network.columns.items() if key.startswith(f"{name}/")}
        for part, (low, high) in own.items():
            found[part] = answers[name][..., low:high]
        if not own:
            found[name] = answers[name]
    return found


def chosen(network: Network, answers: Mapping[str, Any]) -> NDArray[np.int64]:
    """Return the class of every pixel, query or cell."""
    first = answers[network.outputs[0]]
    if network.columns:
        # Boxes and objectness, then one confidence a class.
        return np.asarray(first[..., 5:].argmax(-1))
    return np.asarray(first.argmax(1 if first.ndim == 4 else -1))


def decibel(signal: float, noise: float) -> float:
    """Return 10·log10(signal / noise); of answers that aren't finite, -inf."""
    if not np.isfinite(noise):
        return -np.inf
    return float(10.0 * np.log10(signal / noise)) if noise else np.inf


def rows_of(bench: Bench, key: Row, file: Path) -> Iterator[Row]:
    """Yield one row for every way to run a file."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    model = ir.load(file)
    literal: list[Answers] | None = None
    meant: Row = {}
    for runtime in (LITERAL, *RUNTIMES):
        row = {**key, "runtime": runtime}
        if (digest, runtime) in bench.known:
            yield {**bench.known[digest, runtime], **row}
            continue
        try:
            engine = bench.engine(runtime, model, "int8")
            answers = bench.answers(engine)
            row |= {"outcome": "done", **judge(bench, answers, bench.exact)}
            if runtime == LITERAL:
                literal, meant = answers, row
            elif literal is not None:
                row["against_literal_db"] = judge(bench, answers, literal)["worst_sqnr_db"]
                row["differs"] = row["worst_sqnr_db"] < meant["worst_sqnr_db"] - DIFFERS_DB
            if runtime != LITERAL and bench.seconds > 0:
                row["time"] = timed(bench, engine, runtime)
        except RoadworthyError as error:
            row |= {"outcome": "failed", "why": told(str(error).partition("\n")[0])}
        bench.known[digest, runtime] = row
        yield row


def timed(bench: Bench, engine: Engine, runtime: str) -> Any:
    """Time an INT8 engine beside FP32 in the same runtime."""
    feed = {INPUT: bench.unseen[0]}
    ours = EngineSubject(f"int8, {runtime}", engine, feed, bench.threads)
    base = EngineSubject(f"fp32, {runtime}", bench.baselines[runtime], feed, bench.threads)
    return plain(compare(ours, base, seconds=bench.seconds))


def plans(network: str, asked: argparse.Namespace) -> Iterator[tuple[str, str, str | None]]:
    """Yield (tool, method, dialect) of what is to be made."""
    short = asked.short or (network != "unet" and not asked.all)
    for tool in asked.tools.split(","):
        for method in SHORT[tool] if short else TOOLS[tool].methods:
            for dialect in RUNTIMES if tool == "roadworthy" else (None,):
                yield tool, method, dialect


def measure(bench: Bench, asked: argparse.Namespace, limits: Limits) -> Iterator[tuple[Row, list]]:
    """Yield an account of every file that was made, and its rows."""
    name = bench.case.network.name
    for tool, method, dialect in plans(name, asked):
        key = {"network": name, "tool": tool, "method": method, "dialect": dialect}
        out = bench.folder / "int8.onnx"
        out.unlink(missing_ok=True)
        options = ["--transformer"] if name in cases.TRANSFORMERS else []
        options += ["--dialect", dialect] if dialect else []
        made = run_tool(
            TOOLS[tool],
            method,
            bench.case.file,
            bench.folder / "samples",
            bench.count,
            out,
            limits,
            *options,
        )
        rows = []
        if made["outcome"] == "done":
            made["bytes"] = out.stat().st_size
            rows = list(rows_of(bench, key, out))
        yield {**key, **made}, rows


def fp32_rows(bench: Bench) -> Iterator[Row]:
    """Yield what FP32 reaches in both runtimes, on the same samples."""
    for runtime, engine in bench.baselines.items():
        row = judge(bench, bench.answers(engine), bench.exact)
        key = {"network": bench.case.network.name, "tool": "fp32", "method": None, "dialect": None}
        yield {**key, "runtime": runtime, "outcome": "done", **row}


def line(row: Row) -> str:
    """Return one row for people."""
    own = f"{row['method'] or ''}{' for ' + row['dialect'] if row['dialect'] else ''}"
    head = f"{row['network']:11} {row['tool']:12} {own:26} {row['runtime']:12}"
    if row["outcome"] != "done":
        return f"{head} {row['outcome']}: {row['why']}"
    text = " ".join(f"{part} {value:6.1f} dB" for part, value in row["sqnr_db"].items())
    text += f", agreement {row['agreement']:.4f}"
    if "iou" in row:
        text += f", IoU {row['iou']['pooled']:.4f} ({-row['iou_drop']:+.4f})"
    if "time" in row:
        found = row["time"]
        text += f", {found['subject']['p50_ms']:.1f} ms, {found['ratio']:.2f}x "
        text += f"[{found['ratio_low']:.2f}, {found['ratio_high']:.2f}]"
    return f"{head} {text}{'  DIFFERS from what the file says' if row.get('differs') else ''}"


def previous(path: Path, settings: Row, again: list[str]) -> tuple[list[Row], list[Row]]:
    """Return files and rows of the other networks, made with the same settings."""
    if not path.exists():
        return [], []
    found = json.loads(path.read_text(encoding="utf-8"))
    if found.get("schema") != SCHEMA or found.get("settings") != settings:
        raise SystemExit(f"{path} was made with other settings: leave --resume out")
    files, rows = (
        [row for row in found[part] if row["network"] not in again] for part in ("files", "rows")
    )
    return files, rows


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", default=",".join(cases.NAMES))
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--size", type=int, help="height and width; otherwise the network's own")
    parser.add_argument("--samples", type=int, default=64, help="to calibrate with")
    parser.add_argument("--unseen", type=int, default=64, help="to judge on")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each timing; 0: none")
    parser.add_argument("--limit-gib", type=float, default=6.0, help="of a quantiser's memory")
    parser.add_argument("--limit-seconds", type=float, default=300.0, help="of a quantiser's run")
    parser.add_argument("--short", action="store_true", help="fewer methods for every network")
    parser.add_argument("--all", action="store_true", help="every method for every network")
    parser.add_argument("--resume", action="store_true", help="keep other networks' rows of --out")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "quantisers.json")
    return parser.parse_args()


def main() -> int:
    """Measure, print, record after every file."""
    asked = options()
    limits = Limits(int(asked.limit_gib * GIB), asked.limit_seconds)
    names = asked.networks.split(",")
    settings = {key: getattr(asked, key) for key in ("size", "samples", "unseen", "seconds")}
    settings |= {"limit_bytes": limits.memory, "limit_seconds": limits.seconds}
    account: Row = environment()
    account["cpu_features"] = sorted(set(FEATURES) & (cpu_features() or frozenset()))
    files, rows = previous(asked.out, settings, names) if asked.resume else ([], [])
    for name in names:
        with TemporaryDirectory() as temporary:
            bench = prepare(name, asked, Path(temporary))
            rows += fp32_rows(bench)
            for made, found in measure(bench, asked, limits):
                files.append(made)
                rows += found
                if made["outcome"] != "done":
                    print(f"{name} {made['tool']} {made['method']}: {made['why']}", flush=True)
                for row in found:
                    print(line(row), flush=True)
                document = {"schema": SCHEMA, "environment": account, "settings": settings}
                write_text(asked.out, dumps({**document, "files": files, "rows": rows}) + "\n")
    print("\nINT8 beside FP32 on this CPU, our plan for each runtime:")
    for row in rows:
        if (row["tool"], row["method"]) == ("roadworthy", "auto") and (
            row["dialect"] == row["runtime"]
        ):
            print(line(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
