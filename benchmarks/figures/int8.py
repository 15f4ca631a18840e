"""INT8 on a CPU beside other quantisers: what calibrating takes, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from figures.parts import Json, Ratio, Section, cell, grid, in_words, joined
from roadworthy.core.jsonable import number

OURS = "roadworthy"


def calibration_headline(record: Json) -> str:
    """Return peak memory and time of the plainest method at the most samples, ours and others'."""
    most = max((row["samples"] for row in record["rows"]), default=0)
    rows = [row for row in record["rows"] if row["samples"] == most and row["kind"] == "range"]
    networks = list(dict.fromkeys(row["network"] for row in rows))
    found = {(row["tool"], row["network"]): row for row in rows}
    lines = [
        [cell(tool), *(_brief(found.get((tool, network))) for network in networks)]
        for tool in dict.fromkeys(row["tool"] for row in rows)
    ]
    return joined(grid([f"{most} samples", *map(cell, networks)], lines), missed(record))


def _brief(row: Json | None) -> str:
    if row is None:
        return ""
    if row["outcome"] != "done":
        return cell(row["outcome"])
    return f"{row['peak_bytes'] / 2**20:,.0f} MiB, {row['seconds']:.1f} s"


def calibration_full(record: Json) -> str:
    """Return every run, and every aim."""
    head = ["network", "our method", "aim", "samples", "ours ÷ the best other", "at most", "met"]
    aims = [
        [
            cell(aim["network"]),
            cell(aim["method"]),
            cell(aim["aim"]),
            aim["samples"] or "most ÷ fewest",
            f"{aim['ratio']:.3f}",
            f"{aim['at_most']:g}",
            "yes" if aim["met"] else "**no**",
        ]
        for aim in record.get("aims", ())
    ]
    return joined(_runs(record["rows"]), grid(head, aims), missed(record))


def _runs(rows: Iterable[Json]) -> str:
    head = ["network", "tool", "method", "samples", "peak memory", "seconds", "without imports"]
    lines: list[list[Any]] = []
    for row in rows:
        line = [cell(row[key]) for key in ("network", "tool", "method", "samples")]
        if row["outcome"] == "done":
            line.append(f"{row['peak_bytes'] / 2**20:,.0f} MiB")
            lines.append([*line, f"{row['seconds']:.1f}", f"{row['work_seconds']:.1f}"])
        else:
            lines.append([*line, cell(f"{row['outcome']}: {row['why']}"), "", ""])
    return grid(head, lines)


def missed(record: Json) -> str:
    """Say plainly which aims aren't met, the worst case of each."""
    worst: dict[tuple[str, str], Json] = {}
    for aim in record.get("aims", ()):
        key = (aim["aim"], aim["method"])
        if not aim["met"] and aim["ratio"] > worst.get(key, {"ratio": 0.0})["ratio"]:
            worst[key] = aim
    said = [
        f"{cell(aim['aim'])} with {cell(aim['method'])} (on {cell(aim['network'])} "
        f"{aim['ratio']:.2f}, at most {aim['at_most']:g})"
        for aim in worst.values()
    ]
    return f"**Aims that are missed**, at worst: {'; '.join(said)}." if said else ""


def quantisers_headline(record: Json) -> str:
    """Return our own choice on each runtime that it is for, beside the best other file there."""
    timed = any("time" in row for row in record["rows"])
    whole = [*("network", "runtime"), "FP32 ÷ INT8, time [95 %]", "SQNR"]
    whole += ["nearest other", "its SQNR", "its FP32 ÷ INT8"]
    # Without times their columns would be empty.
    kept = [index for index, name in enumerate(whole) if timed or "÷" not in name]
    lines, ratios = [], []
    for row in _chosen(record):
        best = max(_others(record, row), key=_level, default=None)
        line = [cell(row["network"]), cell(row["runtime"]), _time(row), _decibel(row)]
        line += [_named(best), _decibel(best), _time(best)] if best else ["", "", ""]
        lines.append([line[index] for index in kept])
        if "time" in row:
            ratios.append((f"FP32 ({cell(row['network'])}, {cell(row['runtime'])})", _ratio(row)))
    told = [in_words(ratios), " ".join(_behind(record)), _wrong(record)]
    return joined(grid([whole[index] for index in kept], lines), *told)


def _wrong(record: Json) -> str:
    """Say of how many files a runtime computes something else than they say, by tool."""
    counts: dict[str, list[int]] = {}
    for row in record["rows"]:
        if "differs" in row and row["tool"] != "fp32":
            own = row["tool"] != OURS or row["dialect"] == row["runtime"]
            if own:
                count = counts.setdefault(row["tool"], [0, 0])
                count[0] += bool(row["differs"])
                count[1] += 1
    if not any(wrong for wrong, _ in counts.values()):
        return ""
    told = ", ".join(f"{cell(tool)} {wrong} of {all_}" for tool, (wrong, all_) in counts.items())
    return (
        "A runtime computes something else than the file says (more than 3 dB further from FP32 "
        f"than the same file operator by operator): {told}."
    )


def _chosen(record: Json) -> Iterator[Json]:
    for row in record["rows"]:
        if (row["tool"], row["method"], row["dialect"]) == (OURS, "auto", row["runtime"]):
            yield row


def _others(record: Json, ours: Json) -> list[Json]:
    """Return other tools' rows of the same network on the same runtime that ran."""
    key = (ours["network"], ours["runtime"])
    return [
        row
        for row in record["rows"]
        if (row["network"], row["runtime"]) == key
        and row["tool"] not in (OURS, "fp32")
        and row["outcome"] == "done"
    ]


def _behind(record: Json) -> Iterator[str]:
    """Say where another tool's file is quicker than ours, or nearer to FP32, on its runtime."""
    for ours in _chosen(record):
        where = f"{cell(ours['network'])} on {cell(ours['runtime'])}"
        others = _others(record, ours)
        nearer = [row for row in others if _level(row) > _level(ours)]
        if nearer:
            best = max(nearer, key=_level)
            yield f"**Nearer to FP32 than ours** on {where}: {_named(best)} ({_decibel(best)})."
        timed = [row for row in others if "time" in row and "time" in ours]
        quicker = [row for row in timed if _ratio(row).low > _ratio(ours).high]
        if quicker:
            best = max(quicker, key=lambda row: _ratio(row).value)
            yield f"**Quicker than ours** on {where}: {_named(best)} ({_time(best)})."


def quantisers_full(record: Json) -> str:
    """Return every file on every runtime."""
    head = [
        *("network", "file", "runtime", "p50 ms", "FP32 ÷ INT8 [95 %]", "SQNR of the worst part"),
        *("same answer chosen", "IoU lost", "computes what the file says"),
    ]
    lines = []
    for row in record["rows"]:
        line = [cell(row["network"]), _named(row), cell(row["runtime"])]
        if row["outcome"] != "done":
            why = f"{row['outcome']}: {row['why'].splitlines()[0][:120]}"
            lines.append([*line, cell(why), *[""] * 5])
            continue
        p50 = f"{row['time']['subject']['p50_ms']:.1f}" if "time" in row else ""
        lost = f"{row['iou_drop']:.4f}" if "iou_drop" in row else ""
        same = "" if "differs" not in row else "**no**" if row["differs"] else "yes"
        line += [p50, _time(row), _decibel(row), f"{row['agreement']:.2%}", lost, same]
        lines.append(line)
    return joined(quantisers_headline(record), grid(head, lines), _not_made(record))


def _not_made(record: Json) -> str:
    failed = [row for row in record.get("files", ()) if row["outcome"] != "done"]
    lines = [
        [cell(row["network"]), _named(row), cell(f"{row['outcome']}: {row['why']}")]
        for row in failed
    ]
    return grid(["network", "file that wasn't made", "why"], lines)


def _named(row: Json) -> str:
    parts = [row["tool"], row["method"], f"for {row['dialect']}" if row["dialect"] else None]
    return cell(" ".join(str(part) for part in parts if part))


def _level(row: Json) -> float:
    """Return the SQNR in dB; NaN is the worst."""
    found = number(row["worst_sqnr_db"])
    return float("-inf") if math.isnan(found) else found


def _decibel(row: Json) -> str:
    level = _level(row)
    return f"{level:.1f} dB" if level > float("-inf") else "no finite answer"


def _ratio(row: Json) -> Ratio:
    found = row["time"]
    return Ratio(found["ratio"], found["ratio_low"], found["ratio_high"])


def _time(row: Json) -> str:
    return str(_ratio(row)) if "time" in row else ""


SECTIONS = (
    Section(
        "quantisers",
        "INT8 on a CPU",
        "Each tool gets the same FP32 file and samples; its INT8 file is judged on samples that no "
        "tool has seen (SQNR of the worst output against FP32) and timed beside FP32 in the same "
        "runtime. Ours is `deploy`'s own choice for that runtime.",
        "python benchmarks/quantisers.py",
        ("onnxruntime", "openvino"),
        quantisers_headline,
        quantisers_full,
    ),
    Section(
        "quantisers_without_vnni",
        "INT8 on a CPU without VNNI",
        "The same on a processor whose INT8 kernels add up pairs of products in 16 bits, where "
        "weights of full range saturate. Ours has smaller weights there, unasked.",
        "python benchmarks/quantisers.py --short --seconds 0 --out "
        "benchmarks/results/quantisers_without_vnni.json",
        ("onnxruntime", "openvino"),
        quantisers_headline,
        quantisers_full,
    ),
    Section(
        "quantisers_amx",
        "INT8 on a CPU with VNNI and AMX",
        "The same on two cores of a GPU server, with other work on the others, so the intervals "
        "are wide; fewer samples. `unet28` has the example's architecture at 512², "
        "5.9 M parameters and seeded weights. The others' files have the first and last layers in "
        "INT8 too; ours leaves them in float.",
        "python benchmarks/quantisers.py --networks unet28,unet,detr_small,yolo_small --short "
        "--tools roadworthy,onnxruntime,nncf --samples 16 --unseen 8 --seconds 6 --out "
        "benchmarks/results/quantisers_amx.json",
        ("onnxruntime", "openvino"),
        quantisers_headline,
        quantisers_full,
    ),
    Section(
        "calibration",
        "Calibrating for INT8",
        "From an ONNX file and a folder of samples to an INT8 ONNX file, each tool in a process of "
        "its own: peak resident memory of everything in it, and time. Here by the plainest method "
        "of each.",
        "python benchmarks/calibration.py",
        ("onnxruntime",),
        calibration_headline,
        calibration_full,
    ),
)
