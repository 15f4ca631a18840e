"""What a plan is tied to, and whether a place has it. Checked before the plan is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from roadworthy.backends.base import REBUILD
from roadworthy.core.errors import UnavailableError

# A plan loads with these equal; TensorRT refuses all else (or, worse, crashes).
BINDING = ("version", "compute_capability", "system", "machine")
# These may differ: the plan loads, but was neither tuned nor verified there.
NOTED = ("device_name", "driver", "cuda")
_WORDS = {
    "version": "TensorRT",
    "compute_capability": "compute capability",
    "system": "system",
    "machine": "processor",
    "device_name": "GPU",
    "driver": "driver",
    "cuda": "CUDA runtime",
}


@dataclass(frozen=True, slots=True)
class Differences:
    """How two fingerprints differ: `fatal` ones and `notes`, each one a short sentence."""

    fatal: tuple[str, ...]
    notes: tuple[str, ...]


def compare(
    expected: Mapping[str, str], found: Mapping[str, str], compatibility: str = "none"
) -> Differences:
    """Compare what an engine was built for with what is here.

    `compatibility` is the engine's hardware compatibility option: `ampere_plus` runs on any
    compute capability from 8.0 on.
    """
    fatal = [_line(key, expected, found) for key in BINDING if _differs(key, expected, found)]
    if compatibility == "ampere_plus" and _ampere(found):
        fatal = [line for line in fatal if not line.startswith("compute capability")]
    notes = [_line(key, expected, found) for key in NOTED if _differs(key, expected, found)]
    return Differences(tuple(fatal), tuple(notes))


def check(
    expected: Mapping[str, str],
    found: Mapping[str, str],
    where: str,
    compatibility: str = "none",
) -> tuple[str, ...]:
    """Return the notes, or refuse.

    Raises:
        UnavailableError: the plan can't be loaded there; says what was expected and found.
    """
    differences = compare(expected, found, compatibility)
    if differences.fatal:
        raise UnavailableError(
            "this engine can't be loaded here: " + "; ".join(differences.fatal),
            where=where,
            remedy=REBUILD,
        )
    return differences.notes


def _differs(key: str, expected: Mapping[str, str], found: Mapping[str, str]) -> bool:
    # A plan that came without a fingerprint states nothing: TensorRT itself judges it.
    return key in expected and expected[key] != found.get(key)


def _line(key: str, expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    return f"{_WORDS[key]}: expected {expected[key]}, found {found.get(key, 'nothing')}"


def _ampere(found: Mapping[str, str]) -> bool:
    return int(found.get("compute_capability", "0").partition(".")[0] or 0) >= 8
