"""The model, read, given the sizes of its signature, and compiled in the precision asked for."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any, Iterator, List, Mapping

from .failure import some
from .library import core, ov
from .ports import input_ports, shape_of
from .settings import PRECISIONS, properties


def compile_model(
    files: Mapping[str, bytes], spec: Mapping[str, Any], device: str, profiling: bool = False
) -> Any:
    """Return the compiled model; with profiling, one whose requests tell their steps' times."""
    told = properties(device, spec)
    told["PERF_COUNT"] = profiling
    with _read(files) as model:
        _reshape(model, spec)
        return core().compile_model(model, device, told)


def check_precision(
    files: Mapping[str, bytes], spec: Mapping[str, Any], ran: Mapping[str, List[str]]
) -> None:
    """Raise unless what was asked for is what is executed; `ran` is `steps.floats_by_type`."""
    asked = PRECISIONS[spec["precision"]][0]
    strays = sorted(set(ran) - {asked, "f32"})
    if strays and not _has_halves(files):
        raise RuntimeError(
            "%s was asked for, but OpenVINO executes %s in %s"
            % (asked, some(ran[strays[0]]), strays[0])
        )
    if asked != "f32" and asked not in ran:
        raise RuntimeError(
            "%s was asked for, but OpenVINO executes no step in it; in f32: %s"
            % (asked, some(ran.get("f32", [])) or "none either")
        )


def _has_halves(files: Mapping[str, bytes]) -> bool:
    """Tell whether the model itself states 16-bit floats, so that they are nobody's choice."""
    kinds = {ov.Type.f16, ov.Type.bf16}
    with _read(files) as model:
        return any(
            output.get_element_type() in kinds for op in model.get_ops() for output in op.outputs()
        )


@contextlib.contextmanager
def _read(files: Mapping[str, bytes]) -> Iterator[Any]:
    """Read the first file, for a `with` block; the others are its external data, beside it by name.

    OpenVINO reads the names of such files at once, and weights from them when it compiles.
    """
    names = list(files)
    if len(names) == 1:
        yield core().read_model(files[names[0]])
        return
    with tempfile.TemporaryDirectory(prefix="roadworthy-") as folder:
        for name in names:
            Path(folder, name).write_bytes(files[name])
        # On Windows a folder whose files are mapped can't be removed.
        core().set_property({"ENABLE_MMAP": False})
        yield core().read_model(str(Path(folder, names[0])))


def _reshape(model: Any, spec: Mapping[str, Any]) -> None:
    """Give the inputs the signature's sizes and ranges, where the model leaves more open."""
    wanted = {}
    for name, index, _ in input_ports(model.inputs, spec):
        port, axes = model.inputs[index], spec["shapes"].get(name)
        if axes is not None and port.get_partial_shape() != shape_of(axes):
            wanted[port] = shape_of(axes)
    if wanted:
        model.reshape(wanted)
