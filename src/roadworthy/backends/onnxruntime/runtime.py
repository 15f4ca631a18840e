"""ONNX Runtime where the engine runs. Standard library, NumPy and onnxruntime only, Python 3.8+."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import numpy as np
import onnxruntime as ort


def usable_cpus() -> int:
    """Return how many CPUs this process may use: its affinity, cut by the cgroup's quota.

    A container of 2 CPUs on a host of 64 must not get a pool of 64 threads.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _cgroup_quota()
    return max(1, min(count or 1, quota if quota else count or 1))


def _cgroup_quota() -> Optional[int]:
    """Return the whole CPUs that the cgroup (v2, then v1) grants, None without a limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
    except (OSError, ValueError):
        try:
            quota = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text().strip()
            period = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if quota in ("max", "-1"):
        return None
    return max(1, -(-int(quota) // int(period)))


def session_options(
    threads: int, optimise: bool, spinning: bool, provider: str
) -> ort.SessionOptions:
    """Return ONNX Runtime's session options for ours; nothing is left to its defaults."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = (
        ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        if optimise
        else ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    if provider == "CUDAExecutionProvider":
        # Asked for CUDA: an operator that only the CPU has is an error, not a silent detour.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


class Runner:
    """One ONNX Runtime session over in-memory files."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        threads: int,
        optimise: bool = True,
        spinning: bool = True,
        provider: str = "CPUExecutionProvider",
        tf32: bool = False,
    ) -> None:
        options = session_options(threads, optimise, spinning, provider)
        providers: List[Any] = [provider]
        if provider == "CUDAExecutionProvider":
            providers = [(provider, {"use_tf32": "1" if tf32 else "0"})]
        self.session = _open(files, options, providers)
        got = self.session.get_providers()
        if got[0] != provider:
            raise RuntimeError(
                "asked for %s, but the session runs on %s" % (provider, ", ".join(got))
            )
        self.outputs = [output.name for output in self.session.get_outputs()]

    def run(self, feed: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Run once. The results own their memory: ONNX Runtime allocates them for each call."""
        return dict(zip(self.outputs, self.session.run(self.outputs, feed)))

    def close(self) -> None:
        """Release the session."""
        self.__dict__.pop("session", None)


def _open(
    files: Mapping[str, bytes], options: ort.SessionOptions, providers: List[Any]
) -> ort.InferenceSession:
    """Open the first file; the others are its external data, found by name beside it."""
    names = list(files)
    if len(names) == 1:
        return ort.InferenceSession(files[names[0]], options, providers=providers)
    with tempfile.TemporaryDirectory(prefix="roadworthy-") as folder:
        for name in names:
            Path(folder, name).write_bytes(files[name])
        # ONNX Runtime has copied or pre-packed the weights once the session stands.
        return ort.InferenceSession(str(Path(folder, names[0])), options, providers=providers)
