"""The figures of README.md, and RESULTS.md, from the recorded JSON files: none is written by hand.

    python benchmarks/readme.py            # write both
    python benchmarks/readme.py --check    # exit 1 and a diff where they aren't up to date

README.md has a place for each benchmark, `<!-- figures: NAME -->` to `<!-- end -->`; what stands
between is replaced. A benchmark that isn't recorded, or recorded no rows, leaves its place empty.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from figures import cpu, int8, tensorrt
from figures.parts import Json, Section, joined, origin

from roadworthy.core.files import write_text

HERE = Path(__file__).resolve().parent
SECTIONS: tuple[Section, ...] = (*cpu.SECTIONS, *tensorrt.SECTIONS, *int8.SECTIONS)
RESULTS_HEAD = """# Results

Made from the files in [results](results) by `python benchmarks/readme.py`; don't edit it. How to
read and repeat them: [README.md](README.md)."""
_PLACE = re.compile(r"(<!-- figures: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def load(folder: Path) -> dict[str, Json]:
    """Return the records of a folder by name; what isn't recorded isn't there."""
    files = ((section.name, folder / f"{section.name}.json") for section in SECTIONS)
    return {name: json.loads(file.read_text("utf-8")) for name, file in files if file.exists()}


def readme(text: str, records: dict[str, Json], folder: str) -> str:
    """Return README.md's text with its figures renewed.

    Args:
        text: as it is.
        records: by name.
        folder: of the records, from README.md.

    Raises:
        ValueError: a benchmark has no place, or a place no benchmark.
    """
    wanted = {section.name: section for section in SECTIONS if section.headline}
    places = [match[2] for match in _PLACE.finditer(text)]
    if sorted(places) != sorted(wanted):
        raise ValueError(f"README.md has places for {places}, the benchmarks are {list(wanted)}")

    def renewed(match: re.Match[str]) -> str:
        section = wanted[match[2]]
        record = records.get(section.name)
        body = section.headline(record) if record and section.headline else ""
        if not (record and body):
            return f"{match[1]}{match[4]}"
        said = origin(section, record, f"{folder}/{section.name}.json")
        made = joined(f"**{section.title}.** {section.about} {said}", body)
        return f"{match[1]}{made}\n\n{match[4]}"

    return _PLACE.sub(renewed, text)


def results(records: dict[str, Json], folder: Path) -> str:
    """Return RESULTS.md's text: every table of every record, and the charts beside them."""
    blocks = [RESULTS_HEAD]
    for section in SECTIONS:
        record = records.get(section.name)
        body = section.full(record) if record else ""
        if not (record and body):
            continue
        chart = f"{section.name}.svg"
        drawn = f"![{section.title}](results/{chart})" if (folder / chart).exists() else ""
        said = origin(section, record, f"results/{section.name}.json")
        blocks.append(joined(f"## {section.title}", section.about, body, drawn, said))
    return joined(*blocks) + "\n"


def difference(name: str, old: str, new: str) -> Iterable[str]:
    """Return a unified diff, empty where there is none."""
    lines = (text.splitlines(keepends=True) for text in (old, new))
    return difflib.unified_diff(*lines, name, f"{name}, as recorded")


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if outdated")
    parser.add_argument("--root", type=Path, default=HERE.parent, help="of the repository")
    asked = parser.parse_args()
    folder = asked.root / "benchmarks" / "results"
    records = load(folder)
    page, tables = asked.root / "README.md", asked.root / "benchmarks" / "RESULTS.md"
    now = page.read_text("utf-8")
    made = {page: readme(now, records, "benchmarks/results"), tables: results(records, folder)}
    outdated = False
    for path, text in made.items():
        known = path.read_text("utf-8") if path.exists() else ""
        if asked.check:
            sys.stdout.writelines(difference(path.name, known, text))
        elif known != text:
            write_text(path, text)
            print(f"written: {path.relative_to(asked.root)}")
        outdated |= known != text
    if asked.check and outdated:
        print("outdated: run python benchmarks/readme.py", file=sys.stderr)
    return 1 if asked.check and outdated else 0


if __name__ == "__main__":
    raise SystemExit(main())
