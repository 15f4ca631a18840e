"""INT8 from ONNX: how much memory and time does it take, with how many samples?

    python benchmarks/calibration.py [--size 512] [--samples 16,64,256] [--rounds 3] [--resume]

Ours beside ONNX Runtime's quantiser, NNCF and ModelOpt on the example UNet and a DETR-like and a
YOLO-like network: from an ONNX file and a folder of samples to an INT8 ONNX file, the same files
for all. Every run is a process of its own, after another, with all usable processors. Peak memory
is the resident memory of its process tree (VmHWM), everything counted, imports and model too; a run
that reaches the limit is killed, and larger ones aren't tried. `seconds` is the whole process,
`work_seconds` without the imports. ONNX Runtime's plain FP32 inference of all the samples is shown
as what nobody can go below ("none"). Machines drift: ours and the quickest others of a kind take
turns again where they are near each other, `--rounds` times in all, and medians count. NNCF
corrects biases on top of its statistics; "auto" (ours) tries four methods on samples that were held
back.

Aims: our peak is flat in the number of samples, and the lowest; our time is at most the fastest
other's for the same kind of method. It exits 5 where one isn't met.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import quantisers_networks as cases
from quantisers_tools import GIB, TOOLS, Limits, run_tool

from roadworthy.core.files import write_text
from roadworthy.core.jsonable import dumps
from roadworthy.measure.environment import environment

HERE = Path(__file__).resolve().parent
SCHEMA = "roadworthy-benchmark/calibration/1"
PLAIN = ("onnxruntime", "none")
# (tool, method): the kind that it is compared within; None for what has no counterpart.
RUNS: dict[tuple[str, str], str | None] = {
    PLAIN: None,
    ("roadworthy", "minmax"): "range",
    ("onnxruntime", "minmax"): "range",
    ("nncf", "default"): "range",
    ("modelopt", "max"): "range",
    ("roadworthy", "entropy"): "entropy",
    ("onnxruntime", "entropy"): "entropy",
    ("modelopt", "entropy"): "entropy",
    ("roadworthy", "auto"): None,
}
MEASURED = ("seconds", "work_seconds", "peak_bytes", "calibration_seconds")
NEAR = 1.15
"""Others that took so many times as long as the quickest race too: their order may be chance."""
BEYOND_DOUBT = 1.5
"""Who took so many times as long as ours needn't run again."""
FLAT = 1.05
"""Peak with the most samples over peak with the fewest: up to this it counts as flat."""

Row = dict[str, Any]


def hopeless(earlier: list[Row], count: int, limits: Limits) -> str:
    """Return why a run needn't be tried after smaller ones of the same tool, or nothing."""
    for row in earlier:
        if row["outcome"] in ("killed", "timed out"):
            return f"{row['why']} with {row['samples']} samples already"
        if row["outcome"] in ("failed", "unavailable"):
            return str(row["why"])
    if not earlier:
        return ""
    # Start-up counts too, so that this is an upper bound: a little beyond is still tried.
    expected = earlier[-1]["seconds"] * count / earlier[-1]["samples"]
    return f"would take some {expected:.0f} s" if expected > 2 * limits.seconds else ""


def quantise(
    case: cases.Exported, folder: Path, limits: Limits, tool: str, method: str, count: int
) -> Row:
    """Run one tool with the first `count` samples of the folder; see `run_tool`."""
    options = ["--transformer"] if case.network.name in cases.TRANSFORMERS else []
    samples, out = folder / "samples", folder / "int8.onnx"
    return run_tool(TOOLS[tool], method, case.file, samples, count, out, limits, *options)


def measure(
    case: cases.Exported, folder: Path, counts: list[int], limits: Limits, found: list[Row]
) -> Iterator[Row]:
    """Yield the rows of one network, every tool and method; those in `found` aren't run again."""
    for (tool, method), kind in RUNS.items():
        earlier: list[Row] = []
        for count in counts:
            key = {"network": case.network.name, "tool": tool, "method": method, "samples": count}
            row = next((one for one in found if key.items() <= one.items()), None)
            if row is None and (why := hopeless(earlier, count, limits)):
                row = {**key, "kind": kind, "outcome": "not tried", "why": why}
            if row is None:
                row = {**key, "kind": kind, **quantise(case, folder, limits, tool, method, count)}
            if row["outcome"] != "not tried":
                earlier.append(row)
            yield row


def race(
    case: cases.Exported, folder: Path, limits: Limits, rows: list[Row], rounds: int
) -> Iterator[Row]:
    """Run ours and the quickest others of each kind and number of samples again, in turns.

    Each such row gets `runs`, and its figures become their medians. It is yielded then.
    """
    done = [row for row in rows if row["kind"] and row["outcome"] == "done"]
    for ours in (row for row in done if row["tool"] == "roadworthy" and "runs" not in row):
        alike = {name: ours[name] for name in ("kind", "samples")}.items()
        others = [row for row in done if row["tool"] != "roadworthy" and alike <= row.items()]
        quickest = min((row["seconds"] for row in others), default=0.0)
        most = min(NEAR * quickest, BEYOND_DOUBT * ours["seconds"])
        near = [row for row in others if row["seconds"] <= most and "runs" not in row]
        racing = [ours, *near]
        runs: list[list[Row]] = [[dict(row)] for row in racing]
        for _ in range(rounds - 1):
            for row, taken in zip(racing, runs, strict=True):
                what = row["tool"], row["method"], row["samples"]
                taken.append(quantise(case, folder, limits, *what))
        for row, taken in zip(racing, runs, strict=True):
            good = [one for one in taken if one["outcome"] == "done"]
            row["runs"] = [{key: one[key] for key in MEASURED if key in one} for one in good]
            for key in MEASURED:
                if key in row:
                    row[key] = median(one[key] for one in good)
            yield row


def line(row: Row) -> str:
    """Return one row for people."""
    head = f"{row['network']:11} {row['tool']:12} {row['method']:8} {row['samples']:4}"
    if row["outcome"] == "done":
        return (
            f"{head} {row['peak_bytes'] / 2**20:8.0f} MiB {row['seconds']:7.1f} s "
            f"({row['work_seconds']:.1f} s without imports)"
        )
    return f"{head} {row['outcome']}: {row['why']}"


def aims(rows: list[Row], network: str) -> list[Row]:
    """Judge one network: flat, lowest, quickest."""
    done = [row for row in rows if row["network"] == network and row["outcome"] == "done"]
    ours = [row for row in done if row["tool"] == "roadworthy"]
    others = [row for row in done if row["tool"] != "roadworthy" and row["kind"]]
    found: list[Row] = []
    for method in dict.fromkeys(row["method"] for row in ours):
        own = [row for row in ours if row["method"] == method]
        peaks = [row["peak_bytes"] for row in own]
        growth = peaks[-1] / peaks[0]
        found.append(_aim(network, method, "flat peak", None, growth, FLAT))
        for row in own:
            same = [one for one in others if one["samples"] == row["samples"]]
            if lowest := min((one["peak_bytes"] for one in same), default=0):
                ratio = row["peak_bytes"] / lowest
                found.append(_aim(network, method, "lowest peak", row["samples"], ratio, 1.0))
            kin = [one["seconds"] for one in same if one["kind"] == row["kind"]]
            if kin:
                ratio = row["seconds"] / min(kin)
                found.append(_aim(network, method, "quickest", row["samples"], ratio, 1.0))
    return found


def _aim(network: str, method: str, aim: str, samples: int | None, ratio: float, at: float) -> Row:
    return {
        "network": network,
        "method": method,
        "aim": aim,
        "samples": samples,
        "ratio": round(ratio, 3),
        "at_most": at,
        "met": ratio <= at,
    }


def previous(path: Path, settings: Row) -> list[Row]:
    """Return the rows of a run with the same settings that was cut off."""
    import json

    if not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))
    if found.get("schema") != SCHEMA or found.get("settings") != settings:
        raise SystemExit(f"{path} was made with other settings: leave --resume out")
    return [row for row in found["rows"] if row["outcome"] != "not tried"]


def main() -> int:
    """Measure, print, record after every run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", default=",".join(cases.NAMES))
    parser.add_argument("--size", type=int, default=512, help="height and width")
    parser.add_argument("--samples", default="16,64,256", help="how many, ascending")
    parser.add_argument("--limit-gib", type=float, default=6.0, help="of resident memory, a run")
    parser.add_argument("--limit-seconds", type=float, default=300.0, help="of one run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of what is compared")
    parser.add_argument("--resume", action="store_true", help="keep the rows that --out has")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "calibration.json")
    asked = parser.parse_args()
    counts = sorted(int(count) for count in asked.samples.split(","))
    limits = Limits(int(asked.limit_gib * GIB), asked.limit_seconds)
    settings = {
        "size": asked.size,
        "samples": counts,
        "limit_bytes": limits.memory,
        "limit_seconds": limits.seconds,
    }
    found = previous(asked.out, settings) if asked.resume else []
    names = asked.networks.split(",")
    judged: list[Row] = []
    rows = [row for row in found if row["network"] not in names]
    document = {"schema": SCHEMA, "environment": environment(), "settings": settings}

    def record(row: Row) -> None:
        print(line(row), flush=True)
        judged[:] = [
            aim for one in dict.fromkeys(row["network"] for row in rows) for aim in aims(rows, one)
        ]
        write_text(asked.out, dumps({**document, "rows": rows, "aims": judged}) + "\n")

    for name in names:
        with TemporaryDirectory() as temporary:
            folder = Path(temporary)
            case = cases.export(name, asked.size, folder)
            images = cases.calibration_images(case.network, asked.size, counts[-1])
            cases.write_samples(folder / "samples", images)
            for row in measure(case, folder, counts, limits, found):
                rows.append(row)
                record(row)
            own = [row for row in rows if row["network"] == name]
            for row in race(case, folder, limits, own, asked.rounds):
                record(row)
    for aim in judged:
        print(
            f"{'met   ' if aim['met'] else 'MISSED'} {aim['network']:11} {aim['method']:8} "
            f"{aim['aim']:12} {aim['samples'] or '':4} {aim['ratio']:.3f}, "
            f"at most {aim['at_most']}"
        )
    return 0 if all(aim["met"] for aim in judged) else 5


if __name__ == "__main__":
    sys.exit(main())
