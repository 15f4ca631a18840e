"""Make the suite's lists of exceptions of a record, or compare the two.

    python -m tests.device.list_exceptions record.jsonl [--into tests/conformance] [--check]

Writes `BACKEND_refused.json` and `BACKEND_wrong.json` (`tests/conformance/exceptions.py`). A test
that is listed already, and whose error still says what its group says, stays there with the reason
that a person wrote; a new one gets a group by what the error says. `--check` writes nothing and
fails where lists and record differ. What no list can hold (tests that weren't run, timed out or
died, defects, wrong answers that verification lets pass) is told, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import collections
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.conformance import exceptions
from tests.conformance.networks import NUMPY_DTYPES, SMALL_DTYPES
from tests.device.outcomes import DIED, names
from tests.device.record_conformance import read

Outcome = dict[str, Any]
Group = dict[str, Any]

CLAIMS = "test_a_claimed_dtype_comes_back_to_the_bit"
# What errors say, and the reason that is given for all that say so; \1 is the first group's text.
KNOWN = (
    (r"roadworthy runs tensors only", "sequences and optionals: roadworthy runs tensors only"),
    (r"has no (\w+) inputs or outputs", r"no \1 inputs or outputs"),
    (
        r"reads ONNX up to opset .*? (\((\w+)\) can't be said in it: ([^\d=]*[A-Za-z_]))",
        r"\2 in its opset: \3",
    ),
    (r"No importer registered for op: (\w+)", r"its ONNX parser has no \1"),
    (r"Plugin not found", "its ONNX parser has no such operator, nor a plugin of that name"),
    (r"decide shapes inside the network", "an input's values decide shapes: no range is known"),
    (r"its parser ignores reduction", "its parser ignores the reductions of scatters"),
    (r"its parser crashes on volumes", "its parser crashes on volumes"),
    (r"TensorRT has no tensor that is both", "an input that is an output too"),
    (r"computes INT64 as INT32", "INT64 beyond INT32"),
    (r"reaches the limit of INT32", "INT64 beyond INT32, or at its limit"),
    (DIED.pattern, r"the runtime crashes: \g<0>"),
)
# What every error of a kind begins with tells nothing apart.
_BEGINS = re.compile(
    r"^TensorRT (?:\S+ could not build|can't take) this model: |Error Code \d+: Internal Error \("
)
# Names, numbers and operators vary within one reason.
_VARIES = re.compile(
    r"\(Unnamed Layer\* \d+\)|\bnode_of_\w+|\w+_expanded_function_\w+"
    r"|'[^']*'|\"[^\"]*\"|\(\w*\):|\[[^\]]*\]|-?\d[\d.e+-]*"
)
_TOO_LITTLE = 12


def says(error: str) -> tuple[str, str]:
    """Return words of an error by which its like is known, and the reason to be listed."""
    what = error.splitlines()[0]
    for pattern, reason in KNOWN:
        match = re.search(pattern, what)
        if match is not None:
            # Without what comes before them: a node's name isn't in every error of the group.
            words = match.group(1) if "node" in match.group(0) else match.group(0)
            return words, match.expand(reason)
    parts = _BEGINS.split(what)
    pieces = [piece.strip(" ;:,.") for part in parts for piece in _VARIES.split(part)]
    longest = max(pieces, key=len)
    if len(longest) < _TOO_LITTLE:
        longest = what
    return longest, f"the runtime says: {longest}"


def joined(outcomes: list[Outcome]) -> list[Outcome]:
    """Return a test of the contract that is refused whatever its parameters as one outcome."""
    by_test: dict[str, list[Outcome]] = collections.defaultdict(list)
    for outcome in outcomes:
        by_test[outcome["test"]].append(outcome)
    found: list[Outcome] = []
    for test in by_test.values():
        whole = all(o["kind"] == "contract" and o["outcome"] == "refused" for o in test)
        if whole and len({says(o["error"]) for o in test}) == 1:
            found.append({**test[0], "name": test[0]["name"].partition("[")[0]})
        else:
            found += test
    return found


def refused_groups(outcomes: Iterable[Outcome], known: list[Group]) -> list[Group]:
    """Return the refused (and crashed) tests in groups; known groups first, as they were."""
    errors = {o["name"]: o["error"] for o in outcomes if o["outcome"] in ("refused", "crashed")}
    groups = []
    for group in known:
        kept = [
            test
            for test in group["tests"]
            if group["says"] in errors.get(test, "") or group.get("unless_locale")
        ]
        for test in kept:
            errors.pop(test, None)
        if kept:
            groups.append({**group, "tests": kept})
    made: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for test, error in sorted(errors.items()):
        made[says(error)].append(test)
    for (words, reason), tests in sorted(made.items(), key=lambda item: item[0][::-1]):
        assert all(words in errors[test] for test in tests), (words, tests)
        groups.append({"reason": reason, "says": words, "tests": tests})
    return groups


def wrong_groups(outcomes: Iterable[Outcome], known: list[Group]) -> list[Group]:
    """Return the wrong answers in groups by operator and by whether verification fails them."""
    wrong = {o["name"]: o for o in outcomes if o["outcome"] == "wrong" and o["kind"] == "onnx"}
    groups = []
    for group in known:
        kept = [
            test
            for test in group["tests"]
            if test in wrong and wrong[test]["caught"] == group["caught"]
        ]
        for test in kept:
            del wrong[test]
        if kept:
            groups.append({**group, "tests": kept})
    made: dict[tuple[bool, str], list[Outcome]] = collections.defaultdict(list)
    for outcome in wrong.values():
        made[bool(outcome["caught"]), outcome["operator"]].append(outcome)
    for (caught, operator), found in sorted(made.items(), reverse=True):
        first = found[0]
        seen = f"{first['name']}: {first['error']}"
        if first["relative_l2"] is not None:
            seen += f"; relative L2 {first['relative_l2']:.1g}"
        said = "another answer than the standard's" if caught else "rounding"
        groups.append(
            {
                "kind": "runtime" if caught else "rounding",
                "caught": caught,
                "reason": f"{operator}: {said} ({seen})",
                "tests": sorted(outcome["name"] for outcome in found),
            }
        )
    return groups


def unlistable(outcomes: list[Outcome], done: set[str]) -> list[str]:
    """Return, one line each, what no list can hold."""
    lines = [f"not run: {name}" for name in names() if name not in done]
    for outcome in outcomes:
        name, kind, error = outcome["name"], outcome["outcome"], outcome.get("error", "")
        if kind in ("died", "timed out", "defect"):
            lines.append(f"{kind}: {name}: {error}")
        elif kind == "wrong" and outcome["kind"] == "contract" and not name.startswith(CLAIMS):
            lines.append(f"breaks the contract: {name}: {error}")
        elif kind == "wrong" and outcome["kind"] == "onnx":
            lines += _doubts(outcome)
    return lines


def _doubts(outcome: Outcome) -> list[str]:
    """Verification must fail a wrong answer, and let rounding pass."""
    if outcome["caught"] is None:
        return [f"not judged: {outcome['name']}: {outcome['unjudged']}"]
    if not outcome["caught"] and not outcome["rounding"]:
        return [f"wrong and NOT caught: {outcome['name']}: {outcome['error']}"]
    return []


def claimed(outcomes: list[Outcome]) -> tuple[list[str], list[str]]:
    """Return the dtypes that come back to the bit, and those that come back changed."""
    ended = {
        outcome["name"].removeprefix(f"{CLAIMS}[").rstrip("]"): outcome["outcome"]
        for outcome in outcomes
        if outcome["name"].startswith(CLAIMS)
    }
    known = [dtype for dtype in (*NUMPY_DTYPES, *SMALL_DTYPES) if dtype in ended]
    good = [dtype for dtype in known if ended[dtype] == "passed"]
    return good, [dtype for dtype in known if ended[dtype] not in ("passed", "refused", "crashed")]


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path)
    parser.add_argument("--into", type=Path, default=exceptions.HERE)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    header, *outcomes = read(given.record)
    listable = joined([o for o in outcomes if not o["name"].startswith(CLAIMS)])
    problems = unlistable(outcomes, {outcome["test"] for outcome in outcomes})
    for kind, make in (("refused", refused_groups), ("wrong", wrong_groups)):
        path = given.into / f"{header['target']}_{kind}.json"
        known = json.loads(path.read_text()) if path.exists() else []
        groups = make(listable, known)
        if not given.check:
            path.write_text(json.dumps(groups, indent=2, ensure_ascii=False) + "\n")
        elif groups != known:
            problems += _changes(kind, known, groups)
        print(f"{kind}: {sum(len(g['tests']) for g in groups)} tests in {len(groups)} groups")
    good, changed = claimed(outcomes)
    print(f"dtypes to claim: {', '.join(good)}")
    if changed:
        problems.append(f"dtypes that come back changed and aren't refused: {', '.join(changed)}")
    print(*problems, sep="\n")
    sys.exit(1 if problems else 0)


def _changes(kind: str, known: list[Group], groups: list[Group]) -> list[str]:
    before = {test for group in known for test in group["tests"]}
    after = {test for group in groups for test in group["tests"]}
    return [
        *(f"listed as {kind}, and isn't any more: {name}" for name in sorted(before - after)),
        *(f"{kind}, and isn't listed so: {name}" for name in sorted(after - before)),
    ] or [f"the groups of {kind} tests changed"]


if __name__ == "__main__":
    main()
