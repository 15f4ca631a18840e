"""No figure of README.md or RESULTS.md is written by hand, and no link of the documents is dead."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "benchmarks" / "readme.py"
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")],
)
PLACES = re.compile(r"<!-- figures: (\S+) -->\n(.*?)<!-- end -->", re.DOTALL)
MACHINE = {"environment": {"cpu": "A CPU", "cpus_usable": 3, "packages": {"torch": "9.8.7"}}}


def program(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, "--root", root, *arguments], capture_output=True, text=True
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with the README and no records."""
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    shutil.copy(ROOT / "README.md", tmp_path)
    return tmp_path


def record(root: Path, name: str, content: object) -> None:
    text = json.dumps(content)
    (root / "benchmarks" / "results" / f"{name}.json").write_text(text, "utf-8")


def figures(root: Path) -> dict[str, str]:
    """What stands in each place of the README."""
    return dict(PLACES.findall((root / "README.md").read_text("utf-8")))


def session(over: float, name: str = "tiny") -> dict[str, object]:
    pair = {"over_raw": over, "interval_95": [over - 0.01, over + 0.01], "added_us": 4.25}
    row = {"network": name, "layers": 7, "raw_median_us": 55.0, "aim": 1.1, "met": over <= 1.1}
    return {**row, "session_run": pair, "io_binding": pair}


def test_the_repository_is_up_to_date():
    ended = program(ROOT, "--check")
    assert ended.returncode == 0, f"run: python benchmarks/readme.py\n{ended.stdout}{ended.stderr}"


def test_without_records_there_are_no_figures(root):
    assert program(root).returncode == 0
    assert set(figures(root).values()) == {""}
    assert "|" not in (root / "benchmarks" / "RESULTS.md").read_text("utf-8")


def test_a_record_makes_its_section_with_machine_date_command_and_link(root):
    record(root, "session_overhead", {**MACHINE, "recorded": "2031-02-03", "results": []})
    assert program(root).returncode == 0
    assert figures(root)["session_overhead"] == "", "no rows, no section"
    rows = [session(1.042)]
    record(root, "session_overhead", {**MACHINE, "recorded": "2031-02-03", "results": rows})
    assert program(root).returncode == 0
    made = figures(root)
    told = made.pop("session_overhead")
    assert set(made.values()) == {""}
    assert "1.042 [1.032, 1.052] on tiny" in told
    assert "A CPU, 3 cores" in told
    assert "recorded 2031-02-03" in told
    assert "`python benchmarks/session_overhead.py`" in told
    assert "(benchmarks/results/session_overhead.json)" in told
    full = (root / "benchmarks" / "RESULTS.md").read_text("utf-8")
    assert "| tiny | 55 µs | 1.042 [1.032, 1.052] | 4.2 µs | ≤ 1.1, met |" in full


def test_what_is_slower_is_said(root):
    record(root, "session_overhead", {"results": [session(1.5)]})
    assert program(root).returncode == 0
    assert "more than the aim" in figures(root)["session_overhead"]


def test_the_check_tells_an_outdated_page_and_changes_nothing(root):
    assert program(root).returncode == 0
    assert program(root, "--check").returncode == 0
    record(root, "session_overhead", {"results": [session(1.042)]})
    before = (root / "README.md").read_bytes()
    ended = program(root, "--check")
    assert ended.returncode == 1
    assert "+Its time over the raw call's: 1.042" in ended.stdout
    assert (root / "README.md").read_bytes() == before


def test_names_of_a_record_are_no_markdown(root):
    record(root, "session_overhead", {"results": [session(1.0, "a|b `c` [d](e)")]})
    assert program(root).returncode == 0
    assert r"a\|b \`c\` \[d\](e)" in figures(root)["session_overhead"]


def test_a_benchmark_without_a_place_is_refused(root):
    page = root / "README.md"
    page.write_text(page.read_text("utf-8").replace("figures: unet_cpu", "figures: other"), "utf-8")
    ended = program(root)
    assert ended.returncode != 0
    assert "README.md has places for" in ended.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document):
    for link in re.findall(r"\]\(([^)#]+)\)", document.read_text("utf-8")):
        if "://" not in link:
            assert (document.parent / link).exists(), link


def side(ms: float, **more: object) -> dict[str, object]:
    times = {f"{kind}_ms": ms for kind in ("device", "host")}
    rates = {f"{kind}_per_second": 1e3 / ms for kind in ("device", "host")}
    rounds = [{"device": ms, "host": ms}] * 6
    return {**times, **rates, "rounds": rounds, "relative_l2": {"y": 2e-3}, **more}


def ratio(value: float) -> dict[str, dict[str, float]]:
    one = {"ratio": value, "low": value - 0.01, "high": value + 0.01}
    return {"device": one, "host": one}


def test_pytorch_beside_an_engine_and_where_the_engine_is_slower(root):
    pair = {
        "sides": {"ours": side(2.0), "eager": side(1.0), "lost": {"error": "no | memory"}},
        "ratios": {"eager": ratio(0.5)},
        "error": "failed: lost",
    }
    precisions = {
        "precisions": True,
        "network": "tiny",
        "batch": 3,
        "level": 2,
        "sides": {
            name: side(ms, proof={})
            for name, ms in [("fp32", 8.0), ("tf32", 4.0), ("fp16", 2.0), ("int8", 4.0)]
        },
        "ratios": {},
    }
    print_ = {"runtime": "tensorrt", "version": "8.6.0"}
    steps = {
        "pairs tiny batch 1": pair,
        "precisions tiny": precisions,
        "e": {"fingerprint": print_},
    }
    record(root, "tensorrt_h200", {"machine": {"gpu": "A GPU"}, "steps": steps})
    assert program(root).returncode == 0
    told = figures(root)["tensorrt_h200"]
    assert "| tiny batch 1 | 2.000 | 500 | 2.0e-03 | 0.50× [0.49, 0.51] |" in told
    assert "**Ours is slower than** eager (tiny batch 1, on the device) 0.50×" in told
    assert "INT8 gains no time over FP16 here: tiny, batch 3 (slower)." in told
    assert "A GPU, tensorrt 8.6.0" in told
    full = (root / "benchmarks" / "RESULTS.md").read_text("utf-8")
    assert r"| pairs tiny batch 1 | lost | failed |  |  |  | no \| memory |" in full
    assert "| pairs tiny batch 1 | failed: lost |" in full


def test_other_quantisers_and_where_they_are_better(root):
    time = {"subject": {"p50_ms": 7.0}, "ratio_low": 0.8, "ratio": 0.9, "ratio_high": 0.95}
    key = {"network": "tiny", "runtime": "openvino", "outcome": "done", "agreement": 0.99}
    ours = {"tool": "roadworthy", "method": "auto", "dialect": "openvino", "worst_sqnr_db": 30.0}
    other = {"tool": "nncf", "method": "default", "dialect": None, "worst_sqnr_db": 33.0}
    quick = {**time, "ratio_low": 1.4, "ratio": 1.5, "ratio_high": 1.6}
    broken = {**key, "tool": "modelopt", "method": "max", "dialect": None, "worst_sqnr_db": "nan"}
    rows = [{**key, **ours, "time": time}, {**key, **other, "time": quick}, broken]
    record(root, "quantisers", {"rows": rows, "files": []})
    assert program(root).returncode == 0
    told = figures(root)["quantisers"]
    assert "| tiny | openvino | 0.90× [0.80, 0.95] | 30.0 dB | nncf default | 33.0 dB |" in told
    assert "**Ours is slower than** FP32 (tiny, openvino) 0.90×" in told
    assert "**Nearer to FP32 than ours** on tiny on openvino: nncf default (33.0 dB)" in told
    assert "**Quicker than ours** on tiny on openvino: nncf default (1.50× [1.40, 1.60])" in told
    assert "no finite answer" in (root / "benchmarks" / "RESULTS.md").read_text("utf-8")


def test_files_that_a_runtime_computes_wrongly_are_counted_and_no_column_is_empty(root):
    key = {"network": "tiny", "runtime": "openvino", "outcome": "done", "agreement": 0.99}
    ours = {"tool": "roadworthy", "method": "auto", "dialect": "openvino", "worst_sqnr_db": 30.0}
    other = {"tool": "nncf", "method": "default", "dialect": None, "worst_sqnr_db": 9.0}
    elsewhere = {**ours, "dialect": "onnxruntime", "differs": True}
    rows = [{**key, **ours, "differs": False}, {**key, **elsewhere}]
    rows += [{**key, **other, "differs": True}, {**key, **other, "method": "x", "differs": False}]
    record(root, "quantisers_without_vnni", {"rows": rows, "files": []})
    assert program(root).returncode == 0
    told = figures(root)["quantisers_without_vnni"]
    assert "| tiny | openvino | 30.0 dB | nncf default | 9.0 dB |" in told
    assert "÷" not in told
    # Our plan for another runtime is no claim of ours for this one.
    assert "than the same file operator by operator): roadworthy 0 of 1, nncf 1 of 2." in told


def test_what_calibrating_takes_and_missed_aims(root):
    key = {"network": "tiny", "method": "minmax", "kind": "range", "samples": 64}
    done = {"outcome": "done", "peak_bytes": 3 * 2**20, "seconds": 4.5, "work_seconds": 2.5}
    killed = {"outcome": "killed", "why": "killed at 6 GiB"}
    rows = [{**key, "tool": "roadworthy", **done}, {**key, "tool": "nncf", **killed}]
    aim = {"network": "tiny", "method": "minmax", "samples": 64, "at_most": 1.0, "ratio": 1.25}
    aims = [{**aim, "aim": "quickest", "met": False}, {**aim, "aim": "flat peak", "met": True}]
    record(root, "calibration", {"rows": rows, "aims": aims})
    assert program(root).returncode == 0
    told = figures(root)["calibration"]
    assert "| roadworthy | 3 MiB, 4.5 s |" in told
    assert "| nncf | killed |" in told
    assert "**Aims that are missed**, at worst: quickest with minmax (on tiny 1.25" in told
    assert "flat peak" not in told
    assert "killed: killed at 6 GiB" in (root / "benchmarks" / "RESULTS.md").read_text("utf-8")
