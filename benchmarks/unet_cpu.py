"""The example UNet on this CPU: our engine beside PyTorch, and what verification costs.

Per number of threads the example is deployed (static 1×1×256×256, FP32) and timed as every deploy
does it: alternating blocks, the engine in a process of its own that is stopped while PyTorch runs;
the ratio of block medians with a 95 % bootstrap interval. `compare_share` is the time spent in
comparing answers over the time of the inferences that it judges (aim: at most 0.10).
"""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import Any

import torch

from roadworthy.core.cpus import usable_cpus
from roadworthy.core.jsonable import dumps, plain
from roadworthy.measure.environment import environment
from roadworthy.pipeline.deploy import deploy
from roadworthy.pipeline.request import make_request

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parent / "examples" / "unet"
COMPARE_AIM = 0.10


def one(threads: int, seconds: float) -> dict[str, Any]:
    """Deploy the example with this many threads and return what its certificate measured."""
    torch.set_num_threads(threads)
    request = make_request(
        f"{EXAMPLE / 'model.py'}:unet",
        EXAMPLE / "scenes",
        weights=EXAMPLE / "unet.safetensors",
        threads=threads,
        measure_seconds=seconds,
    )
    certificate = deploy(request).require().results[0].certificate
    assert certificate is not None
    spent = certificate.verdict.seconds
    return {
        "threads": threads,
        "comparison": plain(certificate.comparison),
        "worst": plain(certificate.verdict.worst()),
        "seconds": plain(spent),
        "compare_share": spent["compare"] / spent["engine"],
    }


def main() -> int:
    """Measure, print a table, record it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "unet_cpu.json")
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    rows = [one(threads, arguments.seconds) for threads in sorted({1, usable_cpus()})]
    for row in rows:
        found = row["comparison"]
        print(
            f"{row['threads']} threads: ONNX Runtime {found['subject']['p50_ms']:.1f} ms, "
            f"PyTorch {found['baseline']['p50_ms']:.1f} ms, {found['ratio']:.2f}× "
            f"[{found['ratio_low']:.2f}, {found['ratio_high']:.2f}], "
            f"comparing {row['compare_share']:.1%} of the inference"
        )
    found = {"recorded": date.today().isoformat(), "environment": environment(), "rows": rows}
    arguments.out.write_text(dumps(found), encoding="utf-8")
    return 0 if all(row["compare_share"] <= COMPARE_AIM for row in rows) else 5


if __name__ == "__main__":
    raise SystemExit(main())
