"""`roadworthy report`: a bundle's certificates as one page for a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from roadworthy.cli import options
from roadworthy.cli.output import Outcome, Reporter


def report(
    bundle: Annotated[Path, typer.Argument(help="A bundle: unet.rw, or a folder")],
    out: Annotated[Path, typer.Option(help="The page to write: report.html")],
    json: options.Json = False,
) -> int:
    """Write all the evidence as one page that needs nothing else."""
    from rich.markup import escape

    from roadworthy.core.errors import UsageError
    from roadworthy.core.files import write_text
    from roadworthy.pipeline.page import bundle_page

    reporter = Reporter("report", json)
    if out.suffix.lower() not in (".html", ".htm"):
        # A slip such as `--out unet.rw` would put a page in a bundle's place.
        raise UsageError(f"a page isn't named {out.name!r}", where="--out", remedy="name it .html")
    page = bundle_page(bundle)
    write_text(out, page)
    reporter.say(f"report  {escape(str(out))}")
    return reporter.finish(Outcome({"out": str(out), "bytes": len(page.encode())}))
