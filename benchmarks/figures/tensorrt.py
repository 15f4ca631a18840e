"""TensorRT beside PyTorch on one GPU: what `tensorrt_h200.py` recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from chart import (
    C1_HEAD,
    C4_HEAD,
    QUICKER,
    batch_table,
    batches,
    c1_rows,
    c4_rows,
    c4_verdicts,
    error_of,
    gain,
    number,
    over,
    pair_rows,
    reason,
    told,
)
from h200.record import BESIDE

from figures.parts import Json, Ratio, Section, cell, grid, in_words, joined

# From where to where is timed.
KINDS = {"device": "on the device", "call": "call by call", "host": "NumPy to NumPy"}
_MOST_LAYERS = 10
_ONE_CALL = "one call"
_AUTOTUNE = "max-autotune"
_C1 = ("unet64", "resnet50")
_PRECISIONS = ("fp32", "tf32", "fp16", "int8")


def steps_of(record: Json) -> dict[str, Json]:
    """Return the steps; none where an older program wrote the record."""
    return dict(record.get("steps", {}))


def pairs_of(record: Json) -> dict[str, Json]:
    """Return the steps that timed our engine beside others, and timed ours at all."""
    return {
        key: step
        for key, step in steps_of(record).items()
        if "device_ms" in step.get("sides", {}).get("ours", {})
    }


def ratios_of(record: Json) -> Iterator[tuple[str, Ratio]]:
    """Yield every ratio with what ours was compared with."""
    for key, step in pairs_of(record).items():
        for way, kinds in step["ratios"].items():
            for kind, said in KINDS.items():
                if kind in kinds and not way.startswith(_ONE_CALL):
                    yield f"{cell(way)} ({_what(key)}, {said})", Ratio.of(kinds[kind])
        sides = step["sides"]
        for ours in (way for way in step["ratios"] if way.startswith(_ONE_CALL)):
            for way in step["ratios"]:
                found = over(sides, ours, way)
                if not way.startswith(_ONE_CALL) and found is not None:
                    said = f"{cell(way)} with `roadworthy.compile` ({_what(key)}, on the device)"
                    yield said, Ratio(*found)


def headline(record: Json) -> str:
    """Return times on the device, every other side's over ours, and the precisions."""
    steps = steps_of(record)
    record = {**record, "steps": {key: steps[key] for key in steps if not key.endswith(BESIDE)}}
    return joined(
        _compared(record, ("device",)),
        _autotuned(record, ("device",)),
        in_words(ratios_of(record)),
        _precisions(steps_of(record)),
        _not_worth_it(steps_of(record)),
    )


def _not_worth_it(steps: dict[str, Json]) -> str:
    """Name the lines on which INT8 is slower than FP16, or hardly quicker."""
    found = []
    for step in steps.values():
        ratio = over(step["sides"], "int8", "fp16") if step.get("precisions") else None
        if ratio is not None and (what := gain(ratio)) != QUICKER:
            found.append(f"{cell(step['network'])}, batch {step['batch']} ({what})")
    if not found:
        return ""
    return f"INT8 gains no time over FP16 here: {'; '.join(found)}."


def _precisions(steps: dict[str, Json]) -> str:
    """Return one line for every network and batch that was timed in several precisions."""
    lines = []
    for step in steps.values():
        if step.get("precisions"):
            sides = step["sides"]
            times = (_brief(sides.get(precision, {})) for precision in _PRECISIONS)
            line = [cell(step["network"]), step["batch"], *times]
            lines.append([*line, *(told(over(sides, "int8", base)) for base in ("fp32", "fp16"))])
    head = ["precisions: network", "batch", *(name.upper() for name in _PRECISIONS)]
    return grid([*head, "FP32 ÷ INT8", "FP16 ÷ INT8"], lines)


def _brief(side: Json) -> str:
    if "device_ms" not in side:
        return cell(reason(dict(side)))
    return f"{number(side['device_ms'])} ms, L2 {error_of(dict(side))}"


def _compared(record: Json, kinds: Sequence[str]) -> str:
    alone = (_ONE_CALL, _AUTOTUNE)
    pairs = {key: step for key, step in pairs_of(record).items() if not _has_way(step, alone)}
    ways = list(dict.fromkeys(way for step in pairs.values() for way in step["ratios"]))
    sides = ["ours, ms", "per second", "L2", *(f"{cell(way)} ÷ ours" for way in ways)]
    head = ["network", "timed", *sides] if len(kinds) > 1 else ["network", *sides]
    lines = []
    for key, step in pairs.items():
        ours = step["sides"]["ours"]
        # Steps recorded before calls were timed don't have them.
        for kind in (kind for kind in kinds if f"{kind}_ms" in ours):
            line = [_what(key), *([KINDS[kind]] if len(kinds) > 1 else [])]
            line += [f"{ours[f'{kind}_ms']:.3f}", f"{ours[f'{kind}_per_second']:,.0f}"]
            line.append(error_of(ours))
            lines.append([*line, *(_ratio(step, way, kind) for way in ways)])
    return grid(head, lines)


def _autotuned(record: Json, kinds: Sequence[str]) -> str:
    """Say how torch.compile fares when it may try all its kernels, which takes it minutes."""
    said = []
    for key, step in pairs_of(record).items():
        for way in (way for way in step["ratios"] if way.startswith(_AUTOTUNE)):
            times = (f"{_ratio(step, way, kind)} {KINDS[kind]}" for kind in kinds)
            took = number(step["sides"][way].get("setup_seconds"))
            said.append(
                f'After {took} s of compiling, `torch.compile(mode="{_AUTOTUNE}")` takes this many '
                f"times as long as ours: {', '.join(times)} ({_what(key)})."
            )
    return " ".join(said)


def _has_way(step: Json, names: str | tuple[str, ...]) -> bool:
    return any(way.startswith(names) for way in step["ratios"])


def _what(key: str) -> str:
    return cell(key.removeprefix("pairs "))


def _ratio(step: Json, way: str, kind: str) -> str:
    found = step["ratios"].get(way, {}).get(kind)
    if found is not None:
        return str(Ratio.of(found))
    return "failed" if "error" in step["sides"].get(way, {}) else ""


def full(record: Json) -> str:
    """Return every step: pairs, engines, the bare graph, overlap, largest batches, layers."""
    steps = steps_of(record)
    return joined(
        _compared(record, tuple(KINDS)),
        _autotuned(record, tuple(KINDS)),
        in_words(ratios_of(record)),
        *(_titled(f"{name}, batch 1, frames per second", _c1(steps, name)) for name in _C1),
        _elsewhere(steps),
        _titled("Precisions", _precisions_full(steps)),
        _titled("INT8 by where Q/DQ stands", _placements(steps)),
        _titled("Every side", _sides(steps)),
        _titled("Engines", _engines(steps)),
        _titled("ResNet-50 FP16 by batch", batch_table(rows) if (rows := batches(steps)) else ""),
        _titled("Our call beside a bare CUDA graph launch", _bare(steps)),
        _titled(
            "Copies beside computing, images per second",
            _overlap(steps),
        ),
        _titled("Largest batch", _largest(steps)),
        *(_titled(cell(key), _layers(step)) for key, step in steps.items() if "layers" in step),
        _titled("Steps that failed", _failed(steps)),
        _titled("Steps on a machine that wasn't quiet", _not_quiet(steps)),
    )


# What the table of precisions can't say itself.
_BUILT = (
    "The builds of this table shared the GPU (`--build-only`, a process per engine): their times "
    "are not those of a build alone, and TensorRT's choice of kernels may be slightly worse. The "
    "UNet is at 16 instead of 64, where its last Concat would have 2^31 elements, one more than "
    "TensorRT can number."
)


def _precisions_full(steps: dict[str, Json]) -> str:
    table = _c4(steps)
    return joined(table, _BUILT) if table else ""


_COPIES = (
    "*Copies* are TensorRT's own between layers (Reformat): into another precision, scale or order "
    "in memory; their time is of a profile, layer by layer, and its share of that profile's sum."
)


def _placements(steps: dict[str, Json]) -> str:
    """Return what INT8 takes by where Q/DQ stands, and how much of it goes into copies."""
    head = ["network", "batch", "placement", "device ms", "FP16 ÷ it", "copies", "their time", "L2"]
    lines = []
    for step in steps.values():
        for name, side in step["sides"].items() if step.get("placements") else ():
            about = [cell(step["network"]), step["batch"], cell(name)]
            if "layers" not in side:
                lines.append([*about, cell(reason(dict(side)))])
                continue
            took = [(row["kind"] == "Reformat", row["median_us"]) for row in side["layers"]]
            copies = [microseconds for is_copy, microseconds in took if is_copy]
            share = sum(copies) / sum(microseconds for _, microseconds in took)
            ratio = None if name == "FP16" else over(step["sides"], name, "FP16")
            times = [number(side["device_ms"]), told(ratio)]
            spent = f"{sum(copies):.0f} µs, {share:.0%}"
            lines.append([*about, *times, len(copies), spent, error_of(dict(side))])
    return joined(grid(head, lines), _COPIES) if lines else ""


def _titled(title: str, text: str) -> str:
    return f"### {title}\n\n{text}" if text else ""


def _c1(steps: dict[str, Json], network: str) -> str:
    if not any(key.startswith(f"{_ONE_CALL} {network} batch 1") for key in steps):
        return ""
    return grid(["way", *C1_HEAD[1:]], map(_line, c1_rows(dict(steps), network)))


def _elsewhere(steps: dict[str, Json]) -> str:
    """Say why one call takes longer than its engine, where it does."""
    if not any(step.get("elsewhere") and _has_way(step, _ONE_CALL) for step in steps.values()):
        return ""
    return (
        "TensorRT was in another interpreter than PyTorch here: one call's tensors went to the "
        "host, through shared memory, and back at every call. In one process they stay on the GPU "
        "and are read in place."
    )


def _not_quiet(steps: dict[str, Json]) -> str:
    """Name the steps whose host times something else on the machine may have lengthened."""
    busy = ((key, step["also_running"]) for key, step in steps.items() if "also_running" in step)
    return grid(["step", "what else ran"], ([cell(key), cell(what)] for key, what in busy))


def _c4(steps: dict[str, Json]) -> str:
    return joined(grid(C4_HEAD, map(_line, c4_rows(steps))), "\n".join(c4_verdicts(steps)))


def _line(row: Sequence[object]) -> list[str]:
    """Return a row of `chart.py`'s: its text is ours, but errors may hold a table's bar."""
    return [str(value).replace("|", r"\|") for value in row]


def _sides(steps: dict[str, Json]) -> str:
    by_itself = ("precisions", "placements")
    steps = {key: one for key, one in steps.items() if not any(map(one.get, by_itself))}
    head = ["step", "side", "device ms", "host ms", "device /s", "host /s", "side ÷ ours (error)"]
    return grid(head, map(_line, pair_rows(steps)))


def _engines(steps: dict[str, Json]) -> str:
    head = ["engine", "size", "device ms", "host ms", "relative L2", "build s", "TensorRT"]
    lines: list[list[Any]] = []
    for key, step in steps.items():
        for row in step.get("rows", ()):
            size = "×".join(map(str, (row["batch"], *row["size"])))
            times = [number(row.get("device_ms")), number(row.get("host_ms"))]
            error = f"{max(row['relative_l2'].values()):.1e}"
            seconds = number(step["proof"].get("seconds"))
            version = step["fingerprint"].get("version", "")
            lines.append([cell(key), size, *times, error, seconds, cell(version)])
    return grid(head, lines)


def _bare(steps: dict[str, Json]) -> str:
    head = ["step", "bare ms", "ours ms", "ours ÷ bare", "aim"]
    return grid(
        head,
        (
            [
                cell(key),
                f"{step['bare_ms']:.4f}",
                f"{step['ours_ms']:.4f}",
                f"{step['ratio']:.4f}",
                f"≤ {step['aim']:g}, {'met' if step['met'] else '**not met**'}",
            ]
            for key, step in steps.items()
            if "bare_ms" in step
        ),
    )


def _overlap(steps: dict[str, Json]) -> str:
    found = {key: step for key, step in steps.items() if "per_second" in step.get("threads", {})}
    counts = list(dict.fromkeys(n for one in found.values() for n in one["threads"]["per_second"]))
    head = ["step", "`run`", "`run_many`", *(f"{count} beside it" for count in counts)]
    lines = []
    for key, step in found.items():
        ours = [number(step.get(name, {}).get("per_second")) for name in ("run", "run_many")]
        there = (number(step["threads"]["per_second"].get(count)) for count in counts)
        lines.append([cell(key), *ours, *there])
    return grid(head, lines)


def _largest(steps: dict[str, Json]) -> str:
    head = ["step", "largest that ran", "smallest that was refused", "why"]
    lines = []
    for key, step in steps.items():
        if "largest" in step:
            refused = [one for one in step["tries"] if "error" in one]
            why = min(refused, key=lambda one: one["batch"])["error"] if refused else ""
            lines.append([cell(key), step["largest"], step["refused"] or "none", _short(why)])
    return grid(head, lines)


def _layers(step: Json) -> str:
    layers = step["layers"]
    head = ["layer", "kind", "precision", "median µs", "share"]
    lines = [
        [
            cell(_short(layer["name"])),
            cell(layer["kind"]),
            cell(layer["precision"]),
            f"{layer['median_us']:.2f}",
            f"{layer['share']:.1%}",
        ]
        for layer in layers[:_MOST_LAYERS]
    ]
    rest = layers[_MOST_LAYERS:]
    if rest:
        taken, share = (sum(one[name] for one in rest) for name in ("median_us", "share"))
        lines.append([f"the other {len(rest)}", "", "", f"{taken:.2f}", f"{share:.1%}"])
    return grid(head, lines)


def _failed(steps: dict[str, Json]) -> str:
    errors = ((key, step["error"]) for key, step in steps.items() if "error" in step)
    return grid(["step", "why"], ([cell(key), cell(_short(why))] for key, why in errors))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else f"{line[:119]}…"


SECTIONS = (
    Section(
        "tensorrt_h200",
        "TensorRT on a GPU",
        "Our engines in FP16 beside PyTorch's ways of running the same network, in alternating "
        'blocks on the same GPU; *compile* is `torch.compile(mode="reduce-overhead")`. *On the '
        "device*: tensors there already, events around calls queued back to back; *call by call*: "
        "the same, each call waited for, on the CPU's clock. Ratios are the other side's time over "
        "ours, with 95 % intervals; L2 is our error against PyTorch FP32. Weights are seeded, not "
        "trained.",
        "python benchmarks/tensorrt_h200.py --target tensorrt@python=PYTHON_THAT_HAS_TENSORRT",
        ("torch",),
        headline,
        full,
    ),
)
