"""A certificate in a few lines on the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from roadworthy.cli.output import Reporter
from roadworthy.core.certificate import Certificate, Comparison, Latency
from roadworthy.core.verdict import METRIC_NAMES, Verdict

# Of notes and findings; the certificate has them all.
_MOST = 5


def summary(reporter: Reporter, certificate: Certificate) -> None:
    """Say what was judged, how it came out, and how fast it is."""
    from rich.markup import escape

    state = "[bold green]verified[/]" if certificate.passed else "[bold red]NOT verified[/]"
    marks = "".join(f"  [yellow]({escape(label)})[/]" for label in certificate.labels)
    reporter.tell(f"{state}  {escape(certificate.target)}, {certificate.precision}{marks}")
    reporter.tell(
        f"judge   {escape(certificate.reference.judge)}, {_samples(certificate.samples.count)}"
    )
    if certificate.lowering is not None:
        tell_lowering(reporter, certificate.lowering)
    tell_proof(reporter, certificate.engine.get("proof"))
    tell_verdict(reporter, certificate.verdict)
    for finding in certificate.samples.findings[:_MOST]:
        reporter.tell(f"[yellow]sample[/]  {escape(finding)}")
    if certificate.comparison is not None:
        tell_comparison(reporter, certificate.comparison)
    elif certificate.latency is not None:
        tell_latency(reporter, certificate.latency)


def tell_proof(reporter: Reporter, proof: Any) -> None:
    """Say what the engine computes in, and where that is less than was planned."""
    from rich.markup import escape

    from roadworthy.backends.proof import runs_in

    line = runs_in(proof)
    if line:
        reporter.tell(f"runs in {line}")
        for finding in proof.get("findings", ())[:_MOST]:
            reporter.tell(f"[yellow]less[/]    {escape(finding)}")
        for note in proof.get("notes", ())[:_MOST]:
            reporter.tell(f"        [dim]{escape(note)}[/]")


def tell_lowering(reporter: Reporter, lowering: Mapping[str, Any]) -> None:
    """Say what was quantised, with which data and method, what not and why."""
    from rich.markup import escape

    seen = lowering["calibration"]
    asked = lowering["precision"]
    counts = sorted(lowering["nodes"].items(), key=lambda item: (item[0] != asked, -item[1]))
    nodes = ", ".join(f"{counted(count, 'node')} in {dtype}" for dtype, count in counts)
    whose = f" [dim](for {escape(lowering['dialect'])})[/]" if lowering["dialect"] else ""
    reporter.tell(f"plan    {nodes or 'no node computes'}{whose}")
    reasons = Counter(item["why"] for item in lowering["exceptions"])
    for why, count in reasons.most_common():
        reporter.tell(f"        [dim]{count} × {escape(why)}[/]")
    left = f", {len(seen['skipped'])} left out" if seen["skipped"] else ""
    reporter.tell(
        f"ranges  {seen['method']}, from {_samples(seen['count'])}{left}, "
        f"{counted(seen['tensors'], 'tensor')}"
    )
    biases = lowering.get("bias_correction")
    if biases:
        level = _level(biases["without_db"], biases), _level(biases["with_db"], biases)
        better = f"{level[0]} without, {level[1]} with correction"
        state = "corrected" if biases["kept"] else "left as they are"
        reporter.tell(f"biases  {state}, {counted(biases['nodes'], 'node')} [dim]({better})[/]")
    notes = lowering.get("notes", ())
    if lowering.get("scores"):
        scores = ", ".join(
            f"{item['method']} {_level(item['sqnr_db'], item)}" for item in lowering["scores"]
        )
        # A note says that they were no samples apart.
        apart = "" if notes else " held back"
        reporter.tell(f"        [dim]on {_samples(lowering['held_back'])}{apart}: {scores}[/]")
    findings = seen["findings"]
    for note in (*notes, *findings[:_MOST]):
        reporter.tell(f"[yellow]note[/]    {escape(note)}")
    if len(findings) > _MOST:
        reporter.tell(f"        [dim]… and {len(findings) - _MOST} more: see the certificate[/]")


def _level(value: float, score: Mapping[str, Any]) -> str:
    """Return a score with its unit; those of before shares were told apart are decibels."""
    return f"{100 * value:.1f} % equal" if score.get("is_share") else f"{value:.1f} dB"


def tell_verdict(reporter: Reporter, verdict: Verdict) -> None:
    """Say, per output, its largest error against its tolerance; then the shapes and self-checks."""
    from rich.markup import escape

    for name, output in verdict.worst().items():
        metrics, tolerance = output.metrics, output.tolerance
        mark = "[green]✓[/]" if output.passed else "[red]✗[/]"
        value: float = getattr(metrics, tolerance.metric)
        reporter.tell(
            f"output  {mark} {escape(name)}: MVRE {metrics.mvre:.2g}, "
            f"{METRIC_NAMES[tolerance.metric]} {value:.2g}, allowed {tolerance.limit:.2g} "
            f"[dim]({escape(tolerance.origin)})[/]"
        )
    shapes = ", ".join(
        f"{escape(case.case)} {'×'.join(map(str, case.sizes.values()))}".strip()
        + ("" if case.passed else " [red]✗[/]")
        for case in verdict.cases
    )
    reporter.tell(f"cases   {shapes}")
    checks = ", ".join(
        f"{escape(check.name)} {'[green]✓[/]' if check.passed else '[red]✗[/]'}"
        for check in verdict.self_checks
    )
    if checks:
        reporter.tell(f"checks  {checks}")
    for failure in verdict.failures[:8]:
        reporter.tell(f"[red]failed[/]  {escape(failure)}")


def tell_latency(reporter: Reporter, latency: Latency) -> None:
    """Say one subject's times."""
    from rich.markup import escape

    reporter.tell(f"time    {escape(latency.subject)}: {_latency(latency)}")


def tell_comparison(reporter: Reporter, comparison: Comparison) -> None:
    """Say two subjects' times, and their ratio with its interval."""
    from rich.markup import escape

    faster = comparison.ratio >= 1
    ratio = comparison.ratio if faster else 1 / comparison.ratio
    low, high = comparison.ratio_low, comparison.ratio_high
    if not faster:
        low, high = 1 / high, 1 / low
    tell_latency(reporter, comparison.subject)
    reporter.tell(
        f"        [bold]{ratio:.2f}× {'faster' if faster else 'slower'}[/] "
        f"({low:.2f}–{high:.2f}) than {escape(comparison.baseline.subject)}: "
        f"p50 {comparison.baseline.p50_ms:.4g} ms"
    )


def _latency(latency: Latency) -> str:
    steady = "" if latency.steady else ", [yellow]not steady[/]"
    return (
        f"p50 {latency.p50_ms:.4g} ms, p90 {latency.p90_ms:.4g} ms, "
        f"{latency.throughput:.4g} samples/s, {_threads(latency)}, "
        f"{counted(latency.runs, 'run')}{steady}"
    )


def _threads(latency: Latency) -> str:
    if latency.threads is None:
        return "as many threads as that host takes"
    return counted(latency.threads, "thread")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: 1 node, 6 nodes."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _samples(number: int) -> str:
    return counted(number, "sample")
