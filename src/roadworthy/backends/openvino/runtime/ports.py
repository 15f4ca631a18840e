"""The inputs and outputs of a model, found again by their names."""

from __future__ import annotations

from typing import Any, Mapping, Optional, Sequence, Tuple

from .failure import some
from .library import ov

# Name, index, element type.
Ports = Sequence[Tuple[str, int, Any]]


def input_ports(ports: Sequence[Any], spec: Mapping[str, Any]) -> Ports:
    """Return (name, index, element type) of the inputs; those that nothing uses are gone.

    1. By name.
    2. An input that becomes an output unchanged goes by the output's name in OpenVINO. If as many
       names are left as ports, they belong together in order, which OpenVINO keeps.
    3. Otherwise only if the shapes leave no choice.
    """
    found = {
        index: name
        for index, port in enumerate(ports)
        for name in spec["inputs"]
        if name in port.get_names()
    }
    lost = [name for name in spec["inputs"] if name not in found.values()]
    strangers = [index for index in range(len(ports)) if index not in found]
    if len(lost) == len(strangers):
        found.update(zip(strangers, lost))
    else:
        for index in strangers:
            shape = ports[index].get_partial_shape()
            fitting = [name for name in lost if _fits(spec["shapes"].get(name), shape)]
            if len(fitting) != 1 or len(strangers) != 1:
                raise RuntimeError(
                    "OpenVINO renamed the input %s, and any of %s could be it"
                    % (" or ".join(ports[index].get_names()), some(fitting))
                )
            found[index] = fitting[0]
    return [(found[index], index, port.get_element_type()) for index, port in enumerate(ports)]


def output_ports(ports: Sequence[Any], names: Sequence[str]) -> Ports:
    """Return (name, index, element type) of the outputs, in the order of the names."""
    found = []
    for name in names:
        hits = [index for index, port in enumerate(ports) if name in port.get_names()]
        if not hits:
            raise RuntimeError("OpenVINO lost the output %r while it read the model" % name)
        found.append((name, hits[0], ports[hits[0]].get_element_type()))
    return found


def _fits(axes: Optional[Sequence[Any]], shape: Any) -> bool:
    return axes is None or bool(shape_of(axes).compatible(shape))


def shape_of(axes: Sequence[Any]) -> Any:
    """Return a shape whose axes are sizes or [low, high]."""
    return ov.PartialShape([_dimension(axis) for axis in axes])


def _dimension(axis: Any) -> Any:
    if isinstance(axis, int):
        return ov.Dimension(axis)
    low, high = axis
    return ov.Dimension(low, -1 if high is None else high)
