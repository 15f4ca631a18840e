"""What was built last, for whoever opens it next.

Whoever builds an engine opens it next, as a rule: the compiled model waits here for that one
opening, or until another engine is opened, so that it needn't be compiled twice.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Tuple

_BUILT: Dict[str, Tuple[Dict[str, bytes], Dict[str, Any], Any]] = {}


def keep(files: Mapping[str, bytes], spec: Mapping[str, Any], compiled: Any) -> None:
    """Keep the compiled model of these files and settings."""
    _BUILT["last"] = (dict(files), dict(spec), compiled)


def take(files: Mapping[str, bytes], spec: Mapping[str, Any]) -> Any:
    """Return the compiled model of these very files and settings, once, else None."""
    built_files, built_spec, compiled = _BUILT.pop("last", ({}, {}, None))
    same = built_spec == spec and list(built_files) == list(files)
    if same and all(content is files[name] for name, content in built_files.items()):
        return compiled
    return None
