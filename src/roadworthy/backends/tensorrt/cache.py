"""Built engines by their content, timing caches by device and version; under the user's cache.

A key is a SHA-256 over everything that decides an engine: the model with its weights, options,
precision, fingerprint, and this code's own dialect. An entry holds its key and the digest of each
file; one that doesn't match is removed and built again: a cache never answers for another model.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roadworthy.backends.place import BuildResult
from roadworthy.core.files import cache_root, replacing_file

# Raise it when the same model, options and device would now give another engine.
DIALECT = 1
_MAGIC = b"roadworthy/tensorrt-engine/1\n"


def cache_folder() -> Path:
    """Return `$XDG_CACHE_HOME/roadworthy/tensorrt`, by default under `~/.cache`."""
    return cache_root() / "tensorrt"


def engine_key(
    files: Mapping[str, bytes], spec: Mapping[str, Any], fingerprint: Mapping[str, str]
) -> str:
    """Return the key of an engine.

    Args:
        files: the ONNX model and its weights, as they are given to TensorRT.
        spec: what the build is asked for, without the timing cache.
        fingerprint: what it will be tied to.
    """
    state = hashlib.sha256(f"dialect {DIALECT}\n".encode())
    for name, content in files.items():
        state.update(f"{name}:{len(content)}:".encode())
        state.update(content)
    for part in (spec, fingerprint):
        state.update(json.dumps(part, sort_keys=True).encode() + b"\n")
    return state.hexdigest()


def load_engine(key: str) -> BuildResult | None:
    """Return the engine of this key, or None; a damaged entry is removed."""
    try:
        path = _engine_path(key)
        found = _unpacked(path.read_bytes(), key)
        if found is None:
            path.unlink(missing_ok=True)
    except OSError:
        return None
    return found


def save_engine(key: str, built: BuildResult) -> None:
    """Keep an engine; in one step, so that a reader never meets half of it."""
    head = {
        "key": key,
        "files": [
            {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in built.files.items()
        ],
        "log": list(built.log),
        "proof": dict(built.proof),
    }
    text = json.dumps(head).encode()
    check = hashlib.sha256(text).hexdigest().encode()
    path = _engine_path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(path) as partial:
        line = b"%d %s\n" % (len(text), check)
        partial.write_bytes(b"".join((_MAGIC, line, text, *built.files.values())))


def _unpacked(content: bytes, key: str) -> BuildResult | None:
    """Return what `save_engine` packed, or None if a single byte isn't what it was."""
    if not content.startswith(_MAGIC):
        return None
    line, _, rest = content[len(_MAGIC) :].partition(b"\n")
    size, _, check = line.partition(b" ")
    if not size.isdigit() or hashlib.sha256(rest[: int(size)]).hexdigest().encode() != check:
        return None
    head, rest = json.loads(rest[: int(size)]), rest[int(size) :]
    if head["key"] != key:
        return None
    files: dict[str, bytes] = {}
    for file in head["files"]:
        part, rest = rest[: file["bytes"]], rest[file["bytes"] :]
        if hashlib.sha256(part).hexdigest() != file["sha256"]:
            return None
        files[file["name"]] = part
    return None if rest else BuildResult(files, tuple(head["log"]), head["proof"])


def load_timings(fingerprint: Mapping[str, str]) -> bytes | None:
    """Return the timing cache of this device and version, None where there is none."""
    try:
        content = _timings_path(fingerprint).read_bytes()
    except OSError:
        return None
    check, body = content[:32], content[32:]
    return body if hashlib.sha256(body).digest() == check else None


def save_timings(fingerprint: Mapping[str, str], content: bytes) -> None:
    """Keep a timing cache for the next build on the same device and version."""
    path = _timings_path(fingerprint)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(path) as partial:
        partial.write_bytes(hashlib.sha256(content).digest() + content)


def _engine_path(key: str) -> Path:
    return cache_folder() / "engines" / key


def _timings_path(fingerprint: Mapping[str, str]) -> Path:
    bound = [fingerprint.get(name, "") for name in ("version", "device_name", "compute_capability")]
    digest = hashlib.sha256("\n".join(bound).encode()).digest()
    return cache_folder() / "timings" / base64.b32encode(digest).decode().rstrip("=").lower()
