"""How arrays pass between a `Session` and ONNX Runtime, which also takes text."""

from __future__ import annotations

from functools import partial

from roadworthy.backends import exchange
from roadworthy.core.errors import InputError, UnavailableError
from roadworthy.core.signature import Array, Signature


class Exchange(exchange.Exchange):
    """Converts the arrays of one signature; text becomes objects."""

    def __init__(self, signature: Signature) -> None:
        super().__init__(signature)
        texts = [spec.name for spec in signature.inputs if spec.dtype == "str"]
        if texts and self.out_of:
            raise UnavailableError(
                f"ONNX Runtime for Python can't take text and give {', '.join(self.out_of)} "
                f"({', '.join(str(dtype) for dtype in self.out_of.values())}) in one call",
                where=str(signature),
                remedy="cast these outputs to float32 in the model",
            )
        self.into |= {name: partial(_text, name) for name in texts}


def _text(name: str, array: Array) -> Array:
    """Return text as objects; ONNX Runtime would write `str(value)` for whatever isn't text."""
    if array.dtype.kind != "O":
        return array.astype(object)
    strangers = {type(value).__name__ for value in array.flat if not isinstance(value, str)}
    if strangers:
        raise InputError(
            f"input {name!r} takes text, but its array also holds {', '.join(sorted(strangers))}",
            remedy="give an array in which every element is a str",
        )
    return array
