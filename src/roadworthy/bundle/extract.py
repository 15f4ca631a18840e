"""Take a bundle apart into plain files that any program can use, with a contract that explains."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from roadworthy.bundle import arrays
from roadworthy.bundle.reader import Bundle, CaseData
from roadworthy.bundle.readme import readme
from roadworthy.core.errors import UsageError
from roadworthy.core.files import replacing_folder
from roadworthy.core.jsonable import dumps
from roadworthy.core.signature import Array

CONTRACT_SCHEMA = "roadworthy/contract/1"


def extract(bundle: Bundle, folder: Path) -> None:
    """Write a bundle's content as plain files.

    `model.onnx` (and its external data), `contract.json`, `preprocess.json`, `certificates/` with
    the build logs, files of engines other than the model under `engines/`, one sample under
    `sample/` (an `.npy` per tensor, and the raw file), `README.txt`.

    Args:
        bundle: an open bundle.
        folder: doesn't exist yet, or is empty.

    Raises:
        UsageError: the folder has something in it, or lies within the bundle.
        BundleError: the bundle changed meanwhile, or its arrays aren't what the signature says.
    """
    folder = folder.absolute()
    _check_place(bundle, folder)
    _, items = next(iter(bundle.cases()))
    sample = items[0]
    feed, answers = _tensor_files("feed", sample.feed), _tensor_files("answers", sample.answers)
    raw = _raw_name(bundle)
    account = {"name": sample.sample, "raw": raw, "feed": feed, "answers": answers}
    contract = _contract(bundle, account)
    with replacing_folder(folder) as partial:
        for name in _kept(bundle):
            _put(partial / name, bundle.read(name))
        _put_tensors(partial, sample, feed, answers)
        if raw and sample.raw is not None:
            _put(partial / raw, sample.raw)
        _put(partial / "contract.json", dumps(contract).encode())
        _put(partial / "README.txt", readme(bundle, contract).encode())


def _check_place(bundle: Bundle, folder: Path) -> None:
    if folder.is_symlink() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(
            "the folder has something in it already",
            where=str(folder),
            remedy="name a new folder, or empty this one",
        )
    if folder.resolve().is_relative_to(bundle.path.resolve()):
        raise UsageError(
            "the folder lies within the bundle", where=str(folder), remedy="name one outside it"
        )


def _kept(bundle: Bundle) -> list[str]:
    """Return the files that are taken over as they are."""
    return [name for name in bundle.manifest.files if not name.startswith("cases/")]


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _raw_name(bundle: Bundle) -> str | None:
    raw = bundle.manifest.cases[0].items[0].raw
    return None if raw is None else f"sample/raw{Path(raw).suffix}"


def _tensor_files(kind: str, tensors: Mapping[str, Array]) -> dict[str, str]:
    """Return a portable file name for each tensor: names of tensors may hold any character."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for index, name in enumerate(tensors):
        safe = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:80] or "tensor"
        if safe.casefold() in taken:
            safe = f"{safe}-{index}"
        taken.add(safe.casefold())
        found[name] = f"sample/{kind}/{safe}.npy"
    return found


def _put_tensors(
    folder: Path, sample: CaseData, feed: Mapping[str, str], answers: Mapping[str, str]
) -> None:
    for tensors, files in ((sample.feed, feed), (sample.answers, answers)):
        for name, file in files.items():
            _put(folder / file, arrays.npy(_plain(tensors[name]), name))


def _plain(array: Array) -> Array:
    """Return an array that `.npy` can hold: bits for the dtypes NumPy doesn't know, text as U."""
    if array.dtype.kind == "O":
        return array.astype(np.str_)
    return arrays.bits_of(array)


def _contract(bundle: Bundle, sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that a program needs to know to call the model and to trust it."""
    preprocess = bundle.preprocess
    return {
        "schema": CONTRACT_SCHEMA,
        "roadworthy": bundle.manifest.roadworthy,
        "created": bundle.manifest.created,
        "model": list(bundle.manifest.model),
        "signature": bundle.signature,
        "preprocess": preprocess,
        "classes": _classes(preprocess),
        "sample": sample,
        "verification": [
            _verification(bundle, str(record.target)) for record in bundle.manifest.engines
        ],
    }


def _classes(preprocess: Mapping[str, Any] | None) -> Any:
    """Return the class names of the task that the preprocess states, None where it states none."""
    task = None if preprocess is None else preprocess.get("task")
    return task.get("classes") if isinstance(task, dict) else None


def _verification(bundle: Bundle, target: str) -> dict[str, Any]:
    """Return what one engine's certificate says of its answers: who judged, by which limits."""
    record = bundle.record(target)
    evidence = bundle.evidence(target)
    samples = evidence.samples
    return {
        "target": target,
        "engine": list(record.files),
        "fingerprint": record.fingerprint,
        "precision": evidence.precision,
        "passed": evidence.passed,
        "labels": evidence.labels,
        "certificate": record.certificate,
        "reference": {"kind": evidence.reference.kind, "judge": evidence.reference.judge},
        "samples": {
            "source": samples.source,
            "count": samples.count,
            "digest": samples.digest,
        },
        "outputs": [
            {
                "case": case.case,
                "output": output.name,
                "tolerance": output.tolerance,
                "measured": output.metrics,
            }
            for case in evidence.verdict.cases
            for output in case.outputs
        ],
    }
