"""What TVM's importer reads wrongly though it takes it: said otherwise, or refused.

Found by running all of ONNX's backend test data on TVM 0.27 (`tests/conformance`). Without this the
answers are wrong and nothing says so. Later versions couldn't be run here, and are told the same.

Said otherwise:
    Expand whose target is computed: only the target widens, where the standard lets both. Where the
    target says 1 it is told the input's size.
    IsInf with `detect_negative` or `detect_positive` 0: both ignored. Compared with the infinity.
    Max, Mean, Min, Sum of scalars: TVM's layout pass dies of them. Taken two at a time.
Refused:
    Expand of an axis that varies: never widened, and read beyond its end where it is 1.
    BatchNormalization, Dropout in training: computed as in inference.
    NonMaxSuppression: its answer is padded to an upper bound, or empty.
    RoiAlign with mode=max: other values than the standard's.
    SequenceInsert before a position that is counted from the end: inserted one further.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any, Dict, List, Optional

# Of several inputs, by Relax's operator of two.
_PAIRWISE = {"Max": "maximum", "Mean": "add", "Min": "minimum", "Sum": "add"}


class MisreadError(Exception):
    """A node that would be read wrongly however it is said; tells why."""


def said_otherwise(
    builder: Any, operator: str, inputs: List[Any], attributes: Dict[str, Any]
) -> Optional[Any]:
    """Return what a node is in Relax where TVM's importer would get it wrong, None elsewhere.

    An input may be replaced by what the importer reads rightly.

    Args:
        builder: the importer's, of blocks.
        operator: the node's.
        inputs: Relax expressions, None where one is left out.
        attributes: as the importer parsed them.

    Raises:
        MisreadError: nothing else can be said.
    """
    reason = _why_refused(operator, inputs, attributes)
    if reason is not None:
        raise MisreadError(reason + ", and the answers would be wrong")
    if operator == "Expand" and _is_computed(inputs[1]):
        inputs[1] = _two_way(builder, inputs[0], inputs[1])
    if operator == "IsInf":
        return _infinities(inputs[0], attributes)
    if operator in _PAIRWISE and not all(map(_is_constant, inputs)):
        return _pairwise(operator, inputs) if all(map(_has_no_axes, inputs)) else None
    return None


def _why_refused(operator: str, inputs: List[Any], attributes: Dict[str, Any]) -> Optional[str]:
    """Return why a node can't be said at all, None where it can."""
    if _trains(operator, inputs, attributes):
        return "it computes training as inference"
    if operator == "Expand" and _widens_what_varies(*inputs):
        return "it never widens an axis that varies, and reads beyond its end where its size is 1"
    if operator == "NonMaxSuppression":
        return "it pads the selected indices to an upper bound, or selects none"
    if operator == "RoiAlign" and attributes.get("mode", b"avg") in (b"max", "max"):
        return "it has another mode=max than the standard"
    if operator == "SequenceInsert" and len(inputs) > 2:
        position = _constant(inputs[2])
        if position is not None and int(position) < 0:
            return "it inserts one after position %d, not before it" % position
    return None


def _trains(operator: str, inputs: List[Any], attributes: Dict[str, Any]) -> bool:
    """Tell whether a node may be in training: a Dropout, unless it is known to drop nothing."""
    if operator == "BatchNormalization":
        # Before opset 14 the further outputs say it.
        return bool(attributes.get("training_mode")) or attributes["tvm_custom"]["num_outputs"] > 1
    if operator != "Dropout" or len(inputs) < 3:
        return False
    ratio, training = inputs[1], inputs[2]
    if training is None or (_is_constant(training) and not _constant(training)):
        return False
    return ratio is None or not _is_constant(ratio) or float(_constant(ratio)) != 0.0


def _has_no_axes(value: Any) -> bool:
    shape = getattr(value.ty, "shape", None)
    return shape is not None and len(list(shape)) == 0


def _is_constant(value: Any) -> bool:
    return _constant(value) is not None


def _constant(value: Any) -> Any:
    """Return a constant's array, None of what isn't constant."""
    kind = importlib.import_module("tvm.ir").GenericConst
    return value.value.numpy() if isinstance(value, kind) else None


def _pairwise(operator: str, inputs: List[Any]) -> Any:
    relax = importlib.import_module("tvm.relax")
    found = functools.reduce(getattr(relax.op, _PAIRWISE[operator]), inputs)
    if operator == "Mean":
        found = relax.op.divide(found, relax.const(len(inputs), str(inputs[0].ty.dtype)))
    return found


def _is_computed(shape: Any) -> bool:
    """Tell a tensor that is known at run time only."""
    relax = importlib.import_module("tvm.relax")
    return isinstance(shape.ty, relax.TensorType) and not _is_constant(shape)


def _widens_what_varies(data: Any, target: Any) -> bool:
    """Tell whether an axis of the input whose size isn't known may get another size."""
    tvm = importlib.import_module("tvm")
    sizes = list(data.ty.shape or [])[::-1]
    if _is_computed(target):
        return not all(isinstance(size, tvm.tirx.IntImm) for size in sizes)
    same = importlib.import_module("tvm_ffi").structural_equal
    wanted = list(getattr(target, "values", []))[::-1]  # of a shape; constants have none
    return any(
        not isinstance(size, tvm.tirx.IntImm)
        and not (isinstance(want, tvm.tirx.IntImm) and int(want) in (1, -1))
        and not same(size, want)
        for size, want in zip(sizes, wanted)
    )


def _two_way(builder: Any, data: Any, target: Any) -> Any:
    """Return Expand's target with the input's sizes where it says 1, and of its rank at least."""
    relax = importlib.import_module("tvm.relax")
    if data.ty.shape is None or target.ty.shape is None:  # the number of axes isn't known
        return target  # the importer refuses those itself
    sizes, rank = list(data.ty.shape), int(target.ty.shape[0])
    if len(sizes) > rank:
        ones = relax.const([1] * (len(sizes) - rank), "int64")
        target = relax.op.concat([ones, target], axis=0)
    sizes = [1] * (rank - len(sizes)) + sizes
    own, one = relax.const([int(size) for size in sizes], "int64"), relax.const(1, "int64")
    return builder.emit(relax.op.where(relax.op.equal(target, one), own, target))


def _infinities(data: Any, attributes: Dict[str, Any]) -> Optional[Any]:
    """Return where the wanted infinity is; None where both are wanted."""
    op = importlib.import_module("tvm.relax").op
    negative, positive = (
        bool(attributes.get(name, 1)) for name in ("detect_negative", "detect_positive")
    )
    if negative and positive:
        return None
    if not negative and not positive:
        return op.less(data, data)  # nowhere
    const = importlib.import_module("tvm.relax").const
    return op.equal(data, const(float("inf" if positive else "-inf"), str(data.ty.dtype)))
