"""`roadworthy profile A`: where an engine's time goes, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Annotated

import typer

from roadworthy.cli import options
from roadworthy.cli.output import Outcome, Reporter

if TYPE_CHECKING:
    from roadworthy.pipeline.profile import Part, Profile

_BAR = 8
_EIGHTHS = " ▏▎▍▌▋▊▉"
_NARROWEST = 20


def profile(
    subject: Annotated[str, typer.Argument(help="A bundle, an .onnx file, or a .plan")],
    samples: options.SamplesPath = None,
    preprocess: options.PreprocessFile = None,
    inputs: options.Inputs = None,
    target: options.OneTarget = None,
    threads: options.Threads = None,
    runs: Annotated[
        int, typer.Option(min=1, metavar="N", help="How often each layer is timed.")
    ] = 50,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="How many layers to show.")] = 20,
    json: options.Json = False,
) -> int:
    """Show the layers that take longest, on the names of the ONNX nodes.

    Each layer's time is its median over the runs, as the runtime's own profiler tells it. Exit 4
    when a runtime can't tell. With --json all layers come, in the order of execution.
    """
    from roadworthy.cli.progress import ProgressDisplay
    from roadworthy.pipeline.profile import run_profile

    reporter = Reporter("profile", json)
    with ProgressDisplay(silent=json) as progress:
        found = run_profile(
            subject,
            samples=samples,
            preprocess=preprocess,
            inputs=inputs or [],
            target=target,
            threads=threads,
            runs=runs,
            progress=progress,
        )
    if not json:
        import shutil

        # Wide enough for names where nobody watches: a file, a pipe.
        for line in table(found, top, shutil.get_terminal_size((120, 24)).columns):
            reporter.tell(line, hang=12)
    return reporter.finish(Outcome(found.to_json()))


def table(found: Profile, top: int, width: int) -> Iterable[str]:
    """Yield the lines of a profile, in Rich's markup, as wide as the terminal where it can be."""
    from rich.markup import escape

    rows = found.slowest[:top]
    unit, scale = ("ms", 1e3) if rows[0]["median_us"] >= 1e3 else ("µs", 1.0)
    kinds = max(len("kind"), *(len(str(row["kind"])) for row in rows))
    precisions = max(len("precision"), *(len(str(row["precision"])) for row in rows))
    fixed = f"{'#':>3}  {unit:>9}  {'share':>7}  {'':<{_BAR}}  "
    # A long word for a kind gives way to the names of the nodes.
    room = width - len(fixed) - precisions - 4 - _NARROWEST
    kinds = min(kinds, max(_NARROWEST // 2, room))
    head = f"{fixed}{'kind':<{kinds}}  {'precision':<{precisions}}  "
    yield f"[bold]{escape(found.subject)}[/], {found.precision}, median of {found.runs} runs"
    yield f"[dim]{escape(head)}ONNX nodes[/]"
    largest = rows[0]["share"] or 1.0
    for rank, row in enumerate(rows, 1):
        line = f"{rank:>3}  {row['median_us'] / scale:>9.3f}  {row['share']:>7.1%}  "
        more = f"{_head(str(row['kind']), kinds):<{kinds}}  {row['precision']:<{precisions}}  "
        bar = f"[cyan]{_bar(row['share'] / largest)}[/]"
        names = escape(_names(row["onnx"], row["name"], max(_NARROWEST, width - len(head))))
        yield f"{line}{bar}  {escape(more)}{names if row['onnx'] else f'[dim]{names}[/]'}"
    rest = found.slowest[top:]
    if rest:
        taken, share = (sum(row[key] for row in rest) for key in ("median_us", "share"))
        line = f"{'':>3}  {taken / scale:>9.3f}  {share:>7.1%}  {'':<{_BAR}}"
        yield f"{line}  [dim]the other {len(rest)}[/]"
    yield ""
    yield from _sums(found)


def _sums(found: Profile) -> Iterable[str]:
    device = "" if found.device_us is None else f", {_time(found.device_us)} of it on the device"
    yield f"layers      {_time(found.layers_us)}, each timed by itself, {len(found.layers)} of them"
    yield f"whole run   {_time(found.run_us)} end to end{device}"
    yield (
        "[dim]            The two needn't agree: a profiler costs time of its own, and a run also "
        "copies, waits and overlaps.[/]"
    )
    yield f"kinds       {_shares(found.parts('kind'))}"
    yield f"precisions  {_shares(found.parts('precision'))}"


def _shares(parts: Sequence[Part]) -> str:
    from rich.markup import escape

    shown = [f"{escape(part.name)} {part.share:.1%} ({part.layers})" for part in parts[:6]]
    rest = parts[6:]
    if rest:
        shown.append(f"{len(rest)} more {sum(part.share for part in rest):.1%}")
    return ", ".join(shown)


def _time(microseconds: float) -> str:
    if microseconds >= 1e3:
        return f"{microseconds / 1e3:.3f} ms"
    return f"{microseconds:.1f} µs"


def _bar(share: float) -> str:
    """Draw a share of 0 to 1 with eighths of a cell, `_BAR` cells wide."""
    eighths = round(share * _BAR * 8)
    bar = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return f"{bar:<{_BAR}}"


def _names(nodes: Sequence[str], own: str, width: int) -> str:
    """Shorten the names of a layer's nodes: what they have in common is said once, ends matter."""
    if not nodes:
        return _tail(own, width)
    first, *others = nodes
    levels = zip(*(name.split("/")[:-1] for name in nodes), strict=False)
    path = "".join(f"{level[0]}/" for level in takewhile(lambda level: len({*level}) == 1, levels))
    fewest = min(len(first), len(first) - len(path) + 2)
    for count in range(len(others), -1, -1):
        rest = "".join(f" + {name.removeprefix(path)}" for name in others[:count])
        rest += f" + {len(others) - count} more" if count < len(others) else ""
        if width - len(rest) >= fewest or not count:
            return _tail(first, width - len(rest)) + rest
    return first


def _head(word: str, width: int) -> str:
    """Keep a word's beginning."""
    return word if len(word) <= width else word[: width - 1] + "…"


def _tail(name: str, width: int) -> str:
    """Keep a name's end, from a "/" on if there is one: that tells layers of one block apart."""
    width = max(width, _NARROWEST // 2)
    if len(name) <= width:
        return name
    end = name[len(name) - width + 1 :]
    slash = end.find("/")
    return "…" + (end[slash:] if 0 <= slash < len(end) // 2 else end)
