"""TVM on this machine: the module, the CPU, and what code for a CPU may use."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from pathlib import Path
from typing import Any, Dict, Optional, Set

NAME = "tvm"


# Instruction sets that crash a CPU without them: LLVM's name, and Linux' in /proc/cpuinfo.
X86_FEATURES = {
    "sse3": "pni", "ssse3": "ssse3", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "sse4a": "sse4a",
    "popcnt": "popcnt", "lzcnt": "abm", "bmi": "bmi1", "bmi2": "bmi2", "movbe": "movbe",
    "avx": "avx", "avx2": "avx2", "fma": "fma", "f16c": "f16c", "fma4": "fma4", "xop": "xop",
    "adx": "adx", "aes": "aes", "pclmul": "pclmulqdq", "gfni": "gfni", "sha": "sha_ni",
    "vaes": "vaes", "vpclmulqdq": "vpclmulqdq", "avxvnni": "avx_vnni", "avx512f": "avx512f",
    "avx512cd": "avx512cd", "avx512bw": "avx512bw", "avx512dq": "avx512dq", "avx512vl": "avx512vl",
    "avx512ifma": "avx512ifma", "avx512vbmi": "avx512vbmi", "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni", "avx512bf16": "avx512_bf16", "avx512fp16": "avx512_fp16",
    "avx512bitalg": "avx512_bitalg", "avx512vpopcntdq": "avx512_vpopcntdq",
    "amx-tile": "amx_tile", "amx-int8": "amx_int8", "amx-bf16": "amx_bf16",
}  # fmt: skip


def describe(device: Optional[str]) -> Dict[str, str]:
    """Return what an engine that is built here is tied to."""
    if device not in (None, "cpu"):
        raise RuntimeError("TVM is driven on the CPU only here, not on %r" % device)
    tvm = import_tvm()
    codegen = tvm.target.codegen
    return {
        "runtime": NAME,
        "version": str(tvm.__version__),
        "device": "cpu",
        "cpu": str(codegen.llvm_get_system_cpu()),
        "features": " ".join(sorted(features_here(tvm))),
        "triple": str(codegen.llvm_get_system_triple()),
        "system": platform.system(),
        "machine": platform.machine(),
    }


def import_tvm() -> Any:
    """Import TVM with what its thread pool and its caches must know first, and without PyTorch.

    TVM imports that, where it is installed, only so that it comes first should a program use both;
    it takes two thirds of the time. A None in `sys.modules` makes an import fail.
    """
    # Pinned threads meet on the same cores when two processes pin theirs.
    os.environ.setdefault("TVM_BIND_THREADS", "0")
    if NAME in sys.modules or "torch" in sys.modules:
        return importlib.import_module(NAME)
    sys.modules["torch"] = None  # type: ignore[assignment]  # documented way to block an import
    try:
        return importlib.import_module(NAME)
    finally:
        del sys.modules["torch"]


def set_threads(tvm: Any, spec: Dict[str, Any]) -> int:
    """Set TVM's thread pool as `spec` says, to this process's CPUs where it doesn't; return it."""
    threads = int(spec.get("threads") or affinity())
    os.environ["TVM_NUM_THREADS"] = str(threads)
    tvm.get_global_func("runtime.config_threadpool")(1, threads)
    return threads


def affinity() -> int:
    """How many CPUs this process may use, where the host side didn't say."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def features_here(tvm: Any) -> Set[str]:
    """Return the instruction sets of this CPU by LLVM's names; empty where they can't be told.

    LLVM tells a CPU's name by its family and model; a hypervisor may hide some of its features.
    """
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    for line in text.splitlines():
        if line.startswith("flags"):
            flags = set(line.partition(":")[2].split())
            return {name for name, flag in X86_FEATURES.items() if flag in flags}
    return set()


def target_for(tvm: Any, mcpu: str, threads: int) -> Any:
    """Return TVM's target: this CPU without the features that it hasn't got, or one by name."""
    codegen = tvm.target.codegen
    name = mcpu or str(codegen.llvm_get_system_cpu())
    if not codegen.llvm_is_valid_cpu(name, codegen.llvm_get_system_triple()):
        raise RuntimeError("LLVM knows no CPU %r; see `llc -mcpu=help`" % name)
    kind = {"kind": "llvm", "mcpu": name, "num-cores": threads}
    wanted = features_of(tvm, tvm.target.Target(kind))
    missing = wanted - features_here(tvm)
    if missing and not mcpu and platform.machine() in ("x86_64", "AMD64"):
        kind["mattr"] = ["-" + feature for feature in sorted(missing)]
    return tvm.target.Target(kind)


def features_of(tvm: Any, target: Any) -> Set[str]:
    """Return the instruction sets that code for this target may use."""
    return set(map(str, tvm.target.codegen.llvm_get_cpu_features(target))) & set(X86_FEATURES)
