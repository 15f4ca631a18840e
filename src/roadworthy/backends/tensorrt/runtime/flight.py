"""A run that was started and whose answers are still in the engine's own buffers."""

from __future__ import annotations

from contextlib import suppress
from typing import Callable, Dict, List, Optional

import numpy as np

from .binding import Binding


class Flight:
    """A run under way in a binding, which nobody else may use until it has landed.

    It lands when its answers are wanted, or when somebody else needs the binding; its answers, or
    its error, are then kept for whoever asks. `flying` is the list of those under way.
    """

    def __init__(
        self,
        flying: List[Flight],
        binding: Binding,
        wait: Callable[[], None],
        take: Callable[[], Dict[str, np.ndarray]],
    ) -> None:
        self.binding = binding
        self._flying, self._wait, self._take = flying, wait, take
        self._answers: Optional[Dict[str, np.ndarray]] = None
        self._error: Optional[Exception] = None
        flying.append(self)

    def land(self) -> None:
        """Wait for it and copy its answers out of the binding; errors are kept for `answers`."""
        if self not in self._flying:
            return
        self._flying.remove(self)
        try:
            self._wait()
            self._answers = self._take()
        except Exception as error:
            self._error = error

    def answers(self) -> Dict[str, np.ndarray]:
        """Return the answers, which are the caller's, or raise what went wrong with this run."""
        self.land()
        if self._error is not None:
            raise self._error
        if self._answers is None:
            raise RuntimeError("the engine was closed while this run was under way")
        return self._answers

    def drop(self) -> None:
        """Wait until the binding is free again; nobody wants the answers."""
        if self in self._flying:
            self._flying.remove(self)
            with suppress(Exception):  # of a run whose outcome nobody asks for
                self._wait()
