"""Many runs that overlap: as many requests are under way as keep the device busy."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any, Deque, Dict, Generator, Iterable, List, Mapping, Optional, Tuple

import numpy as np

from .arrays import answers_of, lend
from .failure import plainly
from .ports import Ports


class ManyCalls:
    """The requests of a compiled model that run beside one another, made when needed."""

    def __init__(self, compiled: Any, inputs: Ports, outputs: Ports, most: int) -> None:
        self._compiled = compiled
        self._inputs, self._outputs = inputs, outputs
        self._most = most
        self._idle: List[Any] = []
        self._flying: List[Any] = []

    def run(
        self, feeds: Iterable[Dict[str, np.ndarray]]
    ) -> Generator[Dict[str, np.ndarray], None, None]:
        """Yield the answers to feeds in order; see `Runner.run_many`."""
        source = iter(feeds)
        flying: Deque[Tuple[Any, Any]] = deque()
        failure: Optional[BaseException] = None
        ready: Optional[Dict[str, np.ndarray]] = None
        more = True
        try:
            while True:
                while more and len(flying) < self._most:
                    try:
                        flying.append(self._launch(next(source)))
                    except StopIteration:
                        more = False
                    except Exception as error:
                        failure, more = error, False
                if ready is not None:
                    yield ready
                if not flying:
                    break
                ready = self._land(*flying.popleft())
            if failure is not None:
                raise failure
        finally:
            for request, _ in flying:
                self._stop(request)

    def _launch(self, feed: Mapping[str, np.ndarray]) -> Tuple[Any, Any]:
        """Start a run; return its request, and what must be kept until it has ended."""
        with plainly():
            request = self._idle.pop() if self._idle else self._compiled.create_infer_request()
            copies = {name: array.copy() for name, array in feed.items()}
            kept = lend(request, self._inputs, copies)
            request.start_async(share_inputs=True)
        self._flying.append(request)
        return request, (copies, kept)

    def _land(self, request: Any, kept: Any) -> Dict[str, np.ndarray]:
        """Wait for a run's answers; `kept` is the memory that it reads, and may answer with."""
        with plainly():
            request.wait()
        self._flying.remove(request)
        answers = answers_of(request, self._outputs)
        self._idle.append(request)
        del kept
        return answers

    def _stop(self, request: Any) -> None:
        """End a run that nobody waits for any more; its memory may only go then."""
        if request in self._flying:
            self._flying.remove(request)
            with suppress(Exception):  # that it was cancelled, or why it failed
                request.cancel()
                request.wait()
            self._idle.append(request)

    def close(self) -> None:
        """Release the requests and the compiled model, after what still runs has ended."""
        for request in list(self._flying):
            self._stop(request)
        self._idle.clear()
        self._compiled = None
