"""How loop nests are run: in vectors, in registers, on several threads; by rule."""

from __future__ import annotations

import importlib
from typing import Any, List, NamedTuple, Optional

import numpy as np

from .failure import said

# Below so many steps a loop nest is quicker on one thread than handed out to several.
_PARALLEL_FROM = 1 << 14
# Values of an iteration variable's kind in TVM's IterVar, and of a loop's in its For.
_SPATIAL, _SERIAL = 0, 0


class Tile(NamedTuple):
    """How sums are tiled: vector elements, vectors held in registers, which loop is outermost."""

    vector: int
    registers: int
    channels_outer: bool


class Scheduled(NamedTuple):
    """A scheduled function: "tiled" (vectors, registers, threads), "parallel" or "plain"."""

    function: Any
    kind: str
    note: str = ""
    steps: int = 0


class Scheduler:
    """The rules. They never change what is computed, nor the order in which anything is summed."""

    def __init__(self, tvm: Any, lanes: int, registers: int) -> None:
        self.tvm = tvm
        self.s_tir = importlib.import_module("tvm.s_tir")
        self.undefined = importlib.import_module("tvm.tirx.analysis").undefined_vars
        self.lanes = lanes
        self.default = Tile(2 * lanes, registers, True)

    def tiles(self) -> List[Tile]:
        """Return what tuning tries beside the default."""
        most = self.default.registers
        return [
            Tile(vectors * self.lanes, registers, outer)
            for outer in (True, False)
            for vectors in (1, 2, 4)
            for registers in (most, most // 2, most // 4)
            if Tile(vectors * self.lanes, registers, outer) != self.default
        ]

    def schedule(self, function: Any, tile: Optional[Tile] = None) -> Scheduled:
        """Return the function scheduled; as it was where TVM refuses a step."""
        try:
            return self._schedule(function, tile or self.default)
        except self.s_tir.schedule.ScheduleError as error:
            lines = [line for line in str(error).splitlines() if line.startswith("Error message")]
            return Scheduled(function, "plain", lines[0] if lines else said(error))

    def _schedule(self, function: Any, tile: Tile) -> Scheduled:
        sch = self.s_tir.Schedule(function)
        self._inline(sch)
        kinds, steps = [], 0
        blocks = self._blocks(sch)
        for block in blocks:
            if not self._is_map(sch, block):
                kinds.append(self._reduction(sch, block, tile))
                steps += self._steps(sch, sch.get_loops(block))
        for block in self._blocks(sch):
            loops = sch.get_loops(block)
            untouched = all(int(sch.get(loop).kind) == _SERIAL for loop in loops)
            if self._is_map(sch, block) and untouched:
                kinds.append(self._map(sch, block))
        best = "tiled" if "tiled" in kinds else "parallel" if "parallel" in kinds else "plain"
        return Scheduled(sch.mod["main"], best, "", steps)

    def _blocks(self, sch: Any) -> List[Any]:
        return list(sch.get_child_blocks(sch.get_sblock("root")))

    def _is_map(self, sch: Any, block: Any) -> bool:
        """Tell whether a block computes each element by itself."""
        return all(int(var.iter_type) == _SPATIAL for var in sch.get(block).iter_vars)

    def _sizes(self, sch: Any, loops: List[Any]) -> List[int]:
        """Return the loops' extents; 0 for one that isn't known yet."""
        extents = [sch.get(loop).extent for loop in loops]
        return [int(e) if isinstance(e, (int, self.tvm.tirx.IntImm)) else 0 for e in extents]

    def _steps(self, sch: Any, loops: List[Any]) -> int:
        """Return how often the innermost statement runs; what isn't known counts as 64."""
        return int(np.prod([size or 64 for size in self._sizes(sch, loops)], dtype=np.int64))

    def _inline(self, sch: Any) -> None:
        """Compute elementwise steps where they are used; not inside sums, where each term would."""
        changed = True
        while changed:
            changed = False
            for block in self._blocks(sch):
                users = sch.get_consumers(block)
                if not users or not all(self._is_map(sch, b) for b in [block, *users]):
                    continue
                try:
                    sch.compute_inline(block)
                except self.s_tir.schedule.ScheduleError:
                    continue
                changed = True
                break

    def _parallel(self, sch: Any, loops: List[Any], steps: int) -> str:
        if not loops or steps < _PARALLEL_FROM:
            return "plain"
        sch.parallel(sch.fuse(*loops) if len(loops) > 1 else loops[0])
        return "parallel"

    def _map(self, sch: Any, block: Any) -> str:
        """Hand the outer loops to threads; LLVM turns the innermost into vectors by itself."""
        loops = sch.get_loops(block)
        steps = self._steps(sch, loops)
        if len(loops) == 1 and steps >= _PARALLEL_FROM:
            size = self._sizes(sch, loops)[0]
            chunk = _divisor(size, 4096)
            if chunk >= 64:
                loops = list(sch.split(loops[0], [None, chunk]))
        return self._parallel(sch, loops[:-1], steps)

    def _reduction(self, sch: Any, block: Any, tile: Tile) -> str:
        """Tile a sum (product, maximum, …): a block of results in registers, threads outside."""
        statement = sch.get(block)
        spatial = [int(var.iter_type) == _SPATIAL for var in statement.iter_vars]
        loops = sch.get_loops(block)
        if len(loops) != len(spatial) or not any(spatial):
            return "plain"
        outer = [loop for loop, keep in zip(loops, spatial) if keep]
        inner = [loop for loop, keep in zip(loops, spatial) if not keep]
        steps = self._steps(sch, loops)
        ordered = spatial == sorted(spatial, reverse=True)
        width = self._width(sch, statement, outer, tile) if ordered and inner else 0
        if width < 4:
            return self._parallel(sch, outer, steps) if ordered else "plain"
        return self._tiled(sch, block, outer, inner, width, tile, steps)

    def _width(self, sch: Any, statement: Any, outer: List[Any], tile: Tile) -> int:
        """Return how many neighbours to compute in one vector; 0 where they don't lie together."""
        last = [v for v in statement.iter_vars if int(v.iter_type) == _SPATIAL][-1].var
        for read in statement.reads:
            for axis in list(read.region)[:-1]:
                if any(var.same_as(last) for var in self.undefined(axis.min)):
                    return 0
        if len(statement.writes) != 1:
            return 0
        size = self._sizes(sch, outer)[-1]
        return _divisor(size, tile.vector, self.lanes) or _divisor(size, tile.vector)

    def _tiled(
        self, sch: Any, block: Any, outer: List[Any], inner: List[Any], width: int, tile: Tile,
        steps: int,
    ) -> str:  # fmt: skip
        writer = self._writer(sch, block, outer)
        *others, last = outer
        vectors, lane = sch.split(last, [None, width])
        held: List[Any] = []
        if others:
            size = self._sizes(sch, [others[-1]])[0]
            rows = _divisor(size, max(1, tile.registers // -(-width // self.lanes))) if size else 1
            row, kept = sch.split(others.pop(), [None, rows])
            held = [kept]
            others = [*others, row]
        # Channels outside: their weights stay in the cache while the pixels pass.
        first = others[:-2] if tile.channels_outer else others
        outside = [*first, vectors, *others[len(first) :]]
        sch.reorder(*outside, *inner, *held, lane)
        writer = writer or sch.cache_write(block, 0, "local")
        sch.reverse_compute_at(writer, outside[-1])
        if self._sizes(sch, sch.get_loops(writer)[-1:]) == [width]:
            sch.vectorize(sch.get_loops(writer)[-1])
        sch.vectorize(lane)
        for loop in held:
            sch.unroll(loop)
        self._parallel(sch, outside, steps)
        sch.decompose_reduction(block, inner[0])
        return "tiled"

    def _writer(self, sch: Any, block: Any, outer: List[Any]) -> Any:
        """Return the elementwise block that turns the sums into results, if there is just one."""
        users = sch.get_consumers(block)
        if len(users) != 1 or not self._is_map(sch, users[0]) or sch.get_consumers(users[0]):
            return None
        sizes = self._sizes(sch, outer)
        if 0 in sizes or self._sizes(sch, sch.get_loops(users[0])) != sizes:
            return None
        sch.set_scope(block, 0, "local")
        return users[0]


def _divisor(size: int, limit: int, multiple: int = 1) -> int:
    """Return the largest divisor of `size` up to `limit` that is a multiple; 0 if there is none."""
    top = min(size, limit)
    return next((d for d in range(top, 0, -1) if size % d == 0 and d % multiple == 0), 0)
