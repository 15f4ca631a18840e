"""An engine and one input as files, for the process that times them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.core.jsonable import dumps
from roadworthy.core.signature import Array, Feed, Signature
from roadworthy.core.target import Target

_ACCOUNT = "engine.json"
USERS_PATH = "ROADWORTHY_USERS_PYTHONPATH"
"""The environment variable that keeps the user's PYTHONPATH while ours is in its place."""


def write_engine(folder: Path, engine: Engine, feed: Feed) -> None:
    """Write the engine's files, the feed as `.npy` files, and `engine.json` which lists them.

    Names come from the user's model; on disk they are numbers, so that none can climb out.
    """
    for index, content in enumerate(engine.files.values()):
        (folder / f"file{index}").write_bytes(content)
    for index, array in enumerate(feed.values()):
        np.save(folder / f"feed{index}.npy", _storable(array), allow_pickle=False)
    account = {
        "target": str(engine.target),
        "signature": engine.signature,
        "options": asdict(engine.options),
        "fingerprint": engine.fingerprint,
        "files": list(engine.files),
        "feed": [[name, array.dtype.name] for name, array in feed.items()],
    }
    (folder / _ACCOUNT).write_text(dumps(account), encoding="utf-8")


def read_engine(folder: Path) -> tuple[Engine, dict[str, Array]]:
    """Read what `write_engine` wrote."""
    account: dict[str, Any] = json.loads((folder / _ACCOUNT).read_text(encoding="utf-8"))
    engine = Engine(
        target=Target.parse(account["target"]),
        signature=Signature.from_json(account["signature"]),
        files={
            name: (folder / f"file{index}").read_bytes()
            for index, name in enumerate(account["files"])
        },
        options=_options(account["options"]),
        fingerprint=account["fingerprint"],
    )
    feed = {
        name: _restored(np.load(folder / f"feed{index}.npy", allow_pickle=False), dtype)
        for index, (name, dtype) in enumerate(account["feed"])
    }
    return engine, feed


def _storable(array: Array) -> Array:
    """`.npy` knows neither text objects nor ml_dtypes (bfloat16, float8, …; their kind is V)."""
    if array.dtype.kind in "OT":
        return array.astype(np.str_)
    return array.view(f"u{array.dtype.itemsize}") if array.dtype.kind == "V" else array


def _restored(array: Array, dtype: str) -> Array:
    if array.dtype.kind == "U" or array.dtype.name == dtype:
        return array
    import ml_dtypes

    restored: Array = array.view(np.dtype(getattr(ml_dtypes, dtype)))
    return restored


def _options(data: dict[str, Any]) -> CompileOptions:
    """Read options back: JSON has no tuples."""
    extra = tuple((str(name), str(text)) for name, text in data["extra"])
    return CompileOptions(**{**data, "extra": extra})
