"""Many runs from host memory to host memory, copies beside computing.

    stream in        H2D k+1        H2D k+2
    stream compute   graph k        graph k+1
    stream out       D2H k-1        D2H k
    this thread      NumPy → pinned, pinned → NumPy, of whichever lane is free

A lane is a binding: a context with its own pinned and device buffers, so that no two runs under way
touch the same memory. Within a run, events join its copy in, computing and copy out; between runs
only the streams' own order counts, so each stream is busy as long as it has work. Three stages need
three lanes: with two, feed k+1 could only be copied in once the answers k-1 had left the same lane.

What it can give, for copies in and out I and O, computing C, and this thread's copies P (to and
from pinned memory): one run takes P + I + C + O alone, and max(P, I, C, O) per run in the steady
state, as long as all of it fits within three runs: P + I + C + O ≤ 3 · max. Copies in opposite
directions have an engine each on the GPU, and P is one thread's memory copy, so for large inputs
and a quick network P decides; then there is nothing left to hide it behind.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Deque, Dict, Generator, Iterable, Optional

import numpy as np

from .binding import Binding
from .cuda import NO_TIMING, NON_BLOCKING
from .engine import on_its_gpu
from .flight import Flight
from .hostcalls import HostCalls

LANES = 3


class ManyCalls(HostCalls):
    """Calls with NumPy arrays that overlap."""

    # Fewer where the GPU's memory, or an old plan's profile, doesn't take more contexts.
    _most_lanes = LANES

    def run_many(
        self, feeds: Iterable[Dict[str, np.ndarray]]
    ) -> Generator[Dict[str, np.ndarray], None, None]:
        """Yield the answers to feeds in order; up to LANES runs are under way at once.

        Feeds are copied before the next one is asked for. A failure, be it to make a feed, to start
        it or to run it, comes after the answers to those before it, and nothing after it. Whoever
        runs something else meanwhile (`run`, another `run_many`) only costs the overlap: what is
        under way lands first. Networks with outputs whose size depends on the data, or inputs that
        are read by value, run one by one.
        """
        source = iter(feeds)
        begun: Deque[Flight] = deque()
        failure: Optional[Exception] = None
        ready: Optional[Dict[str, np.ndarray]] = None
        more = True
        try:
            while True:
                while more and len(begun) < LANES:
                    try:
                        begun.append(self._begin(next(source)))
                    except StopIteration:
                        more = False
                    except Exception as error:
                        failure, more = error, False
                if ready is not None:
                    yield ready
                if not begun:
                    break
                ready = begun.popleft().answers()
            if failure is not None:
                raise failure
        finally:
            for flight in begun:
                flight.drop()

    @on_its_gpu
    def _begin(self, feed: Dict[str, np.ndarray]) -> Flight:
        """Start a run in a free lane."""
        main = self._bound(feed)
        if main.allocators or main.host:
            # Its outputs' sizes, or its inputs by value, need the CPU between its steps.
            answers = self.run(feed)
            return Flight(self._flying, main, lambda: None, lambda: answers)
        lane = self._lane(main, feed)
        self._prepare(lane)
        try:
            self._start(lane, feed)
        except BaseException:
            # What was queued before it failed reads and writes the lane's buffers.
            for stream in (self._in, self._stream, self._out):
                with suppress(RuntimeError):
                    self._cuda.cudaStreamSynchronize(stream)
            raise
        done = lane.events[2]
        return Flight(
            self._flying,
            lane,
            lambda: self._cuda.cudaEventSynchronize(done),
            lambda: self._results(lane),
        )

    def _lane(self, main: Binding, feed: Dict[str, np.ndarray]) -> Binding:
        """Return a lane of these shapes that is free: there already, new, or waited for."""
        lanes = [main, *main.twins]
        busy = {id(flight.binding) for flight in self._flying}
        free = [lane for lane in lanes if id(lane) not in busy]
        if free:
            return free[0]
        if len(lanes) < self._most_lanes:
            # Making one allocates, warms up and captures: nothing else may be under way.
            self._settle()
            self._load(main, feed)  # a feed that doesn't fit fails here, not as a lane's failure
            try:
                main.twins.append(self._make(feed, beside=True))
            except RuntimeError as error:
                self._most_lanes = len(lanes)
                # Contexts that nobody uses hold device memory, which is what was lacking.
                self._free.clear()
                self._note("%d runs at once, not %d: %s" % (len(lanes), LANES, error))
                return main
            return main.twins[-1]
        oldest = next(flight for flight in self._flying if flight.binding in lanes)
        oldest.land()
        return oldest.binding

    def _prepare(self, lane: Binding) -> None:
        """Make what a lane needs once: streams, its events, the graph of computing alone."""
        cuda = self._cuda
        if not self._in:
            self._in = cuda.handle("cudaStreamCreateWithFlags", NON_BLOCKING)
            self._out = cuda.handle("cudaStreamCreateWithFlags", NON_BLOCKING)
        while len(lane.events) < 3:
            lane.events.append(cuda.handle("cudaEventCreateWithFlags", NO_TIMING))
        if self._use_graphs and "compute" not in lane.graphs:
            self._settle()
            self._capture(lane, "compute", lane.context.enqueue)

    def _start(self, lane: Binding, feed: Dict[str, np.ndarray]) -> None:
        """Queue a run on the three streams."""
        cuda, (copied, computed, done) = self._cuda, lane.events
        self._load(lane, feed)
        self._copy_in(lane, self._in)
        cuda.cudaEventRecord(copied, self._in)
        cuda.cudaStreamWaitEvent(self._stream, copied, 0)
        self._launch(lane, "compute", self._stream)
        cuda.cudaEventRecord(computed, self._stream)
        cuda.cudaStreamWaitEvent(self._out, computed, 0)
        self._copy_out(lane, self._out)
        cuda.cudaEventRecord(done, self._out)
