"""`roadworthy bundle show` and `bundle extract`: look into a bundle, take plain files out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from roadworthy.cli import options
from roadworthy.cli.output import Outcome, Reporter

app = typer.Typer(help="Look into a bundle, or take plain files out of it.", no_args_is_help=True)


@app.command("show")
def show(
    bundle: Annotated[Path, typer.Argument(help="A bundle: unet.rw, or a folder")],
    json: options.Json = False,
) -> int:
    """Say what a bundle holds, after checking the digest of every file in it."""
    from roadworthy.bundle.reader import read_bundle
    from roadworthy.core.jsonable import plain

    reporter = Reporter("bundle show", json)
    opened = read_bundle(bundle)
    manifest = opened.manifest
    size = sum(record.bytes for record in manifest.files.values())
    if not json:
        from rich.markup import escape

        reporter.say(f"bundle     {escape(str(bundle))}: {len(manifest.files)} files, whole")
        reporter.say(
            f"made       {escape(manifest.created)} by roadworthy {escape(manifest.roadworthy)}"
        )
        for spec in manifest.signature.inputs:
            reporter.say(f"input      {escape(str(spec))}")
        for spec in manifest.signature.outputs:
            reporter.say(f"output     {escape(str(spec))}")
        reporter.say(f"preprocess {'yes' if manifest.preprocess else 'no: inputs are arrays'}")
        for record in manifest.engines:
            evidence = opened.evidence(str(record.target))
            marks = escape("".join(f" ({label})" for label in evidence.labels))
            default = " — default" if record.target.slug == manifest.default_engine else ""
            state = "verified" if record.verified else "NOT verified"
            what = f"{escape(str(record.target))}, {escape(evidence.precision)}"
            reporter.say(f"engine     {what}: {state}{marks}{default}")
        for case in manifest.cases:
            reporter.say(f"case       {escape(case.name)}: {len(case.items)} samples kept")
        reporter.say(f"size       {size / 1e6:.3g} MB")
    result = {
        "path": str(bundle),
        "manifest": plain(manifest),
        "certificates": {
            str(record.target): opened.certificate(str(record.target))
            for record in manifest.engines
        },
    }
    return reporter.finish(Outcome(result))


@app.command("extract")
def extract(
    bundle: Annotated[Path, typer.Argument(help="A bundle: unet.rw, or a folder")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    json: options.Json = False,
) -> int:
    """Write plain files for other programs: the .onnx, its contract, a sample with answers."""
    from roadworthy.bundle.reader import read_bundle

    reporter = Reporter("bundle extract", json)
    read_bundle(bundle).extract(out)
    files = sorted(str(item.relative_to(out)) for item in out.rglob("*") if item.is_file())
    if not json:
        from rich.markup import escape

        for name in files:
            reporter.say(escape(str(out / name)))
    return reporter.finish(Outcome({"out": str(out), "files": files}))
