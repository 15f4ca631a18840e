"""The benchmarks on a CPU: the example UNet, the session's own cost, every CPU backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chart import number

from figures.parts import Json, Ratio, Section, cell, grid, in_words, joined


def _unet_ratio(row: Json) -> Ratio:
    found = row["comparison"]
    return Ratio(found["ratio"], found["ratio_low"], found["ratio_high"])


def unet_headline(record: Json) -> str:
    """Return times beside PyTorch by threads."""
    rows = record["rows"]
    head = ["threads", "ours, median", "PyTorch eager FP32", "PyTorch's time over ours [95 %]"]
    lines = [
        [
            row["threads"],
            f"{row['comparison']['subject']['p50_ms']:.1f} ms",
            f"{row['comparison']['baseline']['p50_ms']:.1f} ms",
            _unet_ratio(row),
        ]
        for row in rows
    ]
    named = (
        (f"PyTorch with {row['threads']} thread{'s' * (row['threads'] > 1)}", _unet_ratio(row))
        for row in rows
    )
    return joined(grid(head, lines), in_words(named))


def unet_full(record: Json) -> str:
    """Return the headline, the spread, the error, and what judging costs."""
    head = [
        *("threads", "side", "p50 ms", "p90 ms", "runs", "steady before timing"),
        *("relative L2", "allowed", "comparing ÷ inference judged"),
    ]
    lines: list[list[Any]] = []
    for row in record["rows"]:
        worst = max(row["worst"].values(), key=lambda output: output["metrics"]["relative_l2"])
        for key in ("subject", "baseline"):
            side = row["comparison"][key]
            line = [row["threads"], cell(side["subject"]), number(side["p50_ms"])]
            line += [number(side["p90_ms"]), side["runs"], "yes" if side["steady"] else "no"]
            judged = ["", "", ""]
            if key == "subject":
                limit = worst["tolerance"]["limit"]
                judged = [f"{worst['metrics']['relative_l2']:.1e}", f"{limit:.1e}"]
                judged.append(f"{row['compare_share']:.1%}")
            lines.append([*line, *judged])
    return joined(unet_headline(record), grid(head, lines))


def _over_raw(found: Json) -> str:
    low, high = found["interval_95"]
    return f"{found['over_raw']:.3f} [{low:.3f}, {high:.3f}]"


def overhead_headline(record: Json) -> str:
    """Return our call over the raw one in a sentence."""
    said = [
        f"{_over_raw(row['session_run'])} on {cell(row['network'])}"
        + ("" if row["met"] else f" (**more than the aim, {row['aim']:g}**)")
        for row in record["results"]
    ]
    return f"Its time over the raw call's: {'; '.join(said)}." if said else ""


def overhead_full(record: Json) -> str:
    """Return our call and I/O binding over the raw call."""
    return joined(_session(record), _binding(record))


def _session(record: Json) -> str:
    head = ["network", "raw call", "`Session.run` ÷ raw [95 %]", "added", "aim"]
    lines = [
        [
            cell(row["network"]),
            f"{row['raw_median_us']:,.0f} µs",
            _over_raw(row["session_run"]),
            f"{row['session_run']['added_us']:.1f} µs",
            f"≤ {row['aim']:g}, {'met' if row['met'] else '**not met**'}",
        ]
        for row in record["results"]
    ]
    return grid(head, lines)


def _binding(record: Json) -> str:
    head = ["network", "layers", "I/O binding ÷ raw [95 %]", "added"]
    lines = [
        [
            cell(row["network"]),
            row["layers"],
            _over_raw(row["io_binding"]),
            f"{row['io_binding']['added_us']:.1f} µs",
        ]
        for row in record["results"]
    ]
    return grid(head, lines)


def backends_headline(record: Json) -> str:
    """Return in a sentence what each backend costs, from the cheapest case to the dearest."""
    ratios: dict[str, list[float]] = {}
    for row in record["rows"]:
        if row["over_raw"] is not None:
            ratios.setdefault(row["backend"], []).append(row["over_raw"])
    said = [
        f"{cell(backend)} {min(found):.3f} to {max(found):.3f} in {len(found)} cases"
        for backend, found in ratios.items()
    ]
    text = f"Our time over that of the call by hand: {'; '.join(said)}." if said else ""
    return joined(text, _unmet(record), _tuned_in_words(record))


def _tuned_in_words(record: Json) -> str:
    """Say what TVM takes beside ONNX Runtime, by rule and tuned."""
    ratios: dict[float, list[float]] = {}
    for row in record["rows"]:
        if "over_onnxruntime" in row:
            found = ratios.setdefault(row["tuning_seconds"], [])
            found.append(row["over_onnxruntime"]["ratio"])
    said = [
        f"{min(found):.2f} to {max(found):.2f} "
        + (f"tuned for {seconds:g} s" if seconds else "as it is built by rule")
        for seconds, found in sorted(ratios.items())
    ]
    return f"TVM takes that many times as long as ONNX Runtime: {'; '.join(said)}." if said else ""


def _unmet(record: Json) -> str:
    missed = [
        f"{cell(row['backend'])} on {cell(row['network'])}, {row['threads']} threads "
        f"({row['over_raw']:.3f})"
        for row in record["rows"]
        if row.get("met") is False
    ]
    return f"**The aim is missed** by {'; '.join(missed)}." if missed else ""


def backends_full(record: Json) -> str:
    """Return every case, with the spread of its rounds."""
    return joined(
        grid(
            [
                *("network", "backend", "threads", "ours, p50 ms", "by hand, p50 ms"),
                *("ours ÷ by hand", "of its rounds", "aim"),
            ],
            _backend_rows(record),
        ),
        _unmet(record),
        _tuned(record),
    )


def _tuned(record: Json) -> str:
    """Return TVM beside ONNX Runtime, each network and number of threads by rule and tuned."""
    rows = [row for row in record["rows"] if "over_onnxruntime" in row]
    head = ["network", "threads", "TVM tuned for", "TVM, p50 ms", "TVM ÷ ONNX Runtime", "build"]
    lines = [
        [
            cell(row["network"]),
            row["threads"],
            f"{row['tuning_seconds']:g} s" if row["tuning_seconds"] else "not at all",
            number(row["ours"]["p50_ms"]),
            str(Ratio.of(row["over_onnxruntime"])),
            f"{row['build_seconds']:.0f} s",
        ]
        for row in rows
    ]
    return joined("TVM, timed beside ONNX Runtime:", grid(head, lines)) if lines else ""


def _backend_rows(record: Json) -> Iterator[list[Any]]:
    for row in record["rows"]:
        if row["over_raw"] is None:
            continue
        line = [cell(row["network"]), cell(row["backend"]), row["threads"]]
        line.append(number(row["ours"]["p50_ms"]))
        spread = f"{min(row['rounds']):.3f} to {max(row['rounds']):.3f}"
        aim = "none" if row["aim"] is None else f"≤ {row['aim']:g}"
        yield [*line, number(row["raw"]["p50_ms"]), f"{row['over_raw']:.3f}", spread, aim]


SECTIONS = (
    Section(
        "unet_cpu",
        "The example UNet on a CPU",
        "ONNX Runtime's engine beside PyTorch eager at 1×1×256×256, FP32, in alternating blocks; "
        "each side is at rest while the other runs.",
        "python benchmarks/unet_cpu.py",
        ("onnxruntime", "torch"),
        unet_headline,
        unet_full,
    ),
    Section(
        "session_overhead",
        "What a session costs",
        "`Session.run`, which checks every name, dtype and shape, over `InferenceSession.run` on "
        "the same bytes; one thread. Above 1 is slower than the raw call.",
        "python benchmarks/session_overhead.py",
        ("onnxruntime",),
        overhead_headline,
        overhead_full,
    ),
    Section(
        "backends_cpu",
        "Backends on a CPU",
        "Each through roadworthy (in a process of its own), beside the same runtime called by hand "
        "with the same settings. Above 1 is slower than by hand; FP32, batch 1, random weights "
        "except the UNet's.",
        "python benchmarks/backends_cpu.py",
        ("onnxruntime", "openvino", "apache-tvm"),
        backends_headline,
        backends_full,
    ),
)
