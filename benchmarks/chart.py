"""Tables and a chart from `tensorrt_h200.py`'s record.

    python benchmarks/chart.py benchmarks/results/tensorrt_h200.json

Writes `tensorrt_h200.md` (latency and throughput by batch, ours beside PyTorch, accounts C1 and C4)
and `tensorrt_h200.svg` (latency against throughput over the batches) beside the record.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from roadworthy.core.files import write_text
from roadworthy.measure.statistics import bootstrap_ratio
from roadworthy.report.markup import Html, el, join, text

WIDTH, HEIGHT, LEFT, BOTTOM = 640.0, 360.0, 70.0, 50.0
KEY = "device_per_second"
STYLE = "text{font:13px sans-serif;fill:#333}.axis{stroke:#999}.line{fill:none;stroke:#0b6bcb}"


def batches(steps: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the FP16 ResNet-50 rows of one engine over batches, and of those for one batch."""
    found = []
    for key, step in steps.items():
        if key.startswith("resnet50 fp16") and "rows" in step:
            found += [{"engine": key, **row} for row in step["rows"]]
    return sorted(found, key=lambda row: (row["batch"], row["engine"]))


def table(head: list[str], rows: list[list[Any]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def number(value: float | None) -> str:
    """Return a number in three digits or so, a dash for what wasn't measured."""
    return "–" if value is None else f"{value:,.3f}" if value < 100 else f"{value:,.0f}"


def batch_table(rows: list[dict[str, Any]]) -> str:
    """Return latency and throughput by batch."""
    names = ("device_ms", "latency_ms", "host_ms", "device_per_second", "host_per_second")
    head = ["batch", "engine", *(name.replace("_", " ") for name in names)]
    lines = [[r["batch"], r["engine"], *(number(r.get(name)) for name in names)] for r in rows]
    return table(head, lines)


def pair_rows(steps: dict[str, Any]) -> Iterator[list[Any]]:
    """Return every side of every pairing: frames per second, and PyTorch's time over ours."""
    for key, step in steps.items():
        for way, side in step.get("sides", {}).items():
            if "error" in side or "device_ms" not in side:
                yield [key, way, "failed", "", "", "", side.get("error", "")[:60]]
                continue
            ratio = step["ratios"].get(way, {}).get("device")
            told = (
                f"{ratio['ratio']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]" if ratio else ""
            )
            worst = max(side["relative_l2"].values())
            ms = [number(side[f"{kind}_ms"]) for kind in ("device", "host")]
            fps = [number(side[f"{kind}_per_second"]) for kind in ("device", "host")]
            yield [key, way, *ms, *fps, f"{told} (L2 {worst:.0e})"]


def over(sides: dict[str, Any], one: str, other: str) -> tuple[float, float, float] | None:
    """Return the device time of `other` over that of `one`, round by round, with its interval."""
    if any("rounds" not in sides.get(name, {}) for name in (one, other)):
        return None
    rounds = zip(sides[other]["rounds"], sides[one]["rounds"], strict=True)
    return bootstrap_ratio([(theirs["device"], mine["device"]) for theirs, mine in rounds])


def told(ratio: tuple[float, float, float] | None) -> str:
    """Return a ratio with its interval; a dash where there is none."""
    return "–" if ratio is None else f"{ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}]"


def error_of(side: dict[str, Any]) -> str:
    """Return the error of the worst output."""
    return f"{max(side['relative_l2'].values()):.1e}"


def reason(side: dict[str, Any]) -> str:
    """Return why there are no times, in a table's cell."""
    return str(side.get("error", "not measured")).splitlines()[0][:80]


C1_ROWS = (
    ("PyTorch FP32", "fp16", "eager fp32"),
    ("PyTorch AMP (autocast FP16)", "fp16", "autocast fp16"),
    ("TensorRT FP16", "fp16", "ours"),
    ("TensorRT INT8", "int8", "ours"),
    ("one call, FP16", "fp16", "one call fp16"),
    ("one call, INT8", "int8", "one call int8"),
)
C1_HEAD = ["", "device ms", "device FPS", "host ms", "host FPS", "L2 error", "× PyTorch FP32"]


def c1_rows(steps: dict[str, Any], network: str) -> list[list[str]]:
    """Return account C1's table: frames per second of every way, at batch 1.

    FP16 and INT8 were timed apart, each beside PyTorch FP32: the last column is within its group.
    """
    groups = {"fp16": f"one call {network} batch 1", "int8": f"one call {network} batch 1, int8"}
    rows = []
    for name, group, way in C1_ROWS:
        sides = steps.get(groups[group], {}).get("sides", {})
        side = sides.get(way, {})
        if "device_ms" not in side:
            rows.append([name, reason(side), *[""] * 5])
            continue
        kinds = [f"{kind}_{unit}" for kind in ("device", "host") for unit in ("ms", "per_second")]
        speed = told(over(sides, way, "eager fp32"))
        rows.append([name, *(number(side[kind]) for kind in kinds), error_of(side), speed])
    return rows


QUICKER = "quicker"
_HARDLY = 1.01
C4_HEAD = [
    *("network", "batch", "precision", "device ms", "images/s", "host ms", "L2 error"),
    *("× FP32", "× FP16", "INT8 layers", "build s", "level"),
]


def c4_rows(steps: dict[str, Any]) -> Iterator[list[str]]:
    """Return account C4's table: precisions timed in alternating blocks, FP32 first."""
    for step in steps.values():
        if not step.get("precisions"):
            continue
        sides = step["sides"]
        for precision in ("fp32", "tf32", "fp16", "int8"):
            side = sides.get(precision, {})
            about = [step["network"], str(step["batch"]), precision.upper()]
            if "device_ms" not in side:
                yield [*about, reason(side), *[""] * 8]
                continue
            times = [number(side[k]) for k in ("device_ms", "device_per_second", "host_ms")]
            faster = [told(over(sides, precision, base)) for base in ("fp32", "fp16")]
            share = side["proof"].get("share", {}).get("int8", 0.0)
            seconds = number(side["proof"].get("seconds"))
            layers = f"{share:.0%}" if "share" in side["proof"] else "–"
            level = str(step["level"])
            yield [*about, *times, error_of(side), *faster, layers, seconds, level]


def gain(ratio: tuple[float, float, float]) -> str:
    """Say in words what a ratio of times, with its interval, shows: `QUICKER`, or why not that."""
    _, low, high = ratio
    if high < 1.0:
        return "slower"
    if low <= 1.0:
        return "not told apart"
    return QUICKER if high > _HARDLY else "less than 1 % quicker"


def c4_verdicts(steps: dict[str, Any]) -> Iterator[str]:
    """Say of each line whether INT8 is worth it; slower, or no different, is said so."""
    for step in steps.values():
        ratio = over(step["sides"], "int8", "fp16") if step.get("precisions") else None
        if ratio is None:
            continue
        costs = " against ".join(error_of(step["sides"][name]) for name in ("int8", "fp16"))
        yield (
            f"- {step['network']}, batch {step['batch']}: INT8 against FP16: {gain(ratio)} "
            f"({told(ratio)} times as fast); L2 error {costs}."
        )


def accounts(steps: dict[str, Any]) -> str:
    """Return the accounts C1 and C4, as far as they were measured."""
    parts = []
    for network in ("unet64", "resnet50"):
        if f"one call {network} batch 1" in steps or f"one call {network} batch 1, int8" in steps:
            parts.append(f"\n# C1: {network}, batch 1\n\n{table(C1_HEAD, c1_rows(steps, network))}")
    rows = list(c4_rows(steps))
    if rows:
        parts.append(f"\n# C4: precisions\n\n{table(C4_HEAD, rows)}")
        parts.append("\n".join(c4_verdicts(steps)) + "\n")
    return "\n".join(parts)


def chart(rows: list[dict[str, Any]]) -> Html:
    """Return latency (x, ms) against throughput (y, images per second), both from zero.

    A line joins the batches of one engine; engines built for a single batch are hollow points.
    """
    batches_of = Counter(row["engine"] for row in rows)
    right, top = (1.1 * max(row[axis] for row in rows) for axis in ("device_ms", KEY))

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = x / right * (WIDTH - LEFT - 20), y / top * (HEIGHT - BOTTOM - 30)
        return LEFT + across, HEIGHT - BOTTOM - up

    parts = [_line(at(0, 0), at(right, 0)), _line(at(0, 0), at(0, top))]
    for tick in _ticks(right):
        x, y = at(tick, 0)
        parts += [_line((x, y), (x, y + 5)), _label(x, y + 20, f"{tick:g}", "middle")]
    for tick in _ticks(top):
        x, y = at(0, tick)
        parts += [_line((x - 5, y), (x, y)), _label(x - 9, y + 5, f"{tick:,.0f}", "end")]
    for engine in batches_of:
        own = sorted((row["device_ms"], row[KEY]) for row in rows if row["engine"] == engine)
        path = " ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y in own)
        parts.append(el("polyline", points=path, class_="line"))
    for row in rows:
        px, py = at(row["device_ms"], row[KEY])
        hollow = batches_of[row["engine"]] == 1
        fill = "#fff" if hollow else "#0b6bcb"
        parts.append(
            el("circle", cx=f"{px:.1f}", cy=f"{py:.1f}", r="4", fill=fill, stroke="#0b6bcb")
        )
        name = f"batch {row['batch']}"
        # On the left, where no other point's label is.
        where, anchor = (-9, "end") if hollow else (9, "start")
        parts.append(_label(px + where, py + 4, name, anchor))
    parts.append(_label(LEFT + (WIDTH - LEFT) / 2, HEIGHT - 8, "ms on the device", "middle"))
    parts.append(_label(8, 16, "images per second", "start"))
    legend = "hollow: an engine built for that batch alone"
    parts.append(_label(WIDTH - 20, 16, legend, "end"))
    said = "; ".join(
        f"{row['engine']}, batch {row['batch']}: {row['device_ms']:.3g} ms, {row[KEY]:,.0f}/s"
        for row in rows
    )
    return el(
        "svg",
        el("style", Html(STYLE)),
        join(parts),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        role="img",
        aria_label=f"ResNet-50 FP16: {said}",
    )


def _ticks(end: float) -> list[float]:
    """Return round numbers from zero to `end`, four to nine of them."""
    step = 10.0 ** math.floor(math.log10(end))
    while end / step < 4:
        step /= 2
    return [step * n for n in range(int(end / step) + 1)]


def _label(x: float, y: float, value: str, anchor: str) -> Html:
    return el("text", text(value), x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _line(start: tuple[float, float], end: tuple[float, float]) -> Html:
    (x1, y1), (x2, y2) = start, end
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    return el("line", **ends, class_="axis")


def main() -> int:
    """Write both beside the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("record", type=Path)
    path = parser.parse_args().record
    steps = json.loads(path.read_text(encoding="utf-8"))["steps"]
    rows = batches(steps)
    head = ["step", "side", "device ms", "host ms", "device /s", "host /s", "over ours"]
    parts = ["# Latency and throughput by batch\n", batch_table(rows)]
    parts += ["\n# Beside PyTorch, in alternating blocks\n", table(head, list(pair_rows(steps)))]
    parts.append(accounts(steps))
    said = "\n".join(parts)
    write_text(path.with_suffix(".md"), said)
    # ONNX Runtime on a CPU has no device times: nothing to draw.
    if rows and all("device_ms" in row for row in rows):
        write_text(path.with_suffix(".svg"), chart(rows))
    print(said)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
