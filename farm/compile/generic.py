"""A schedule for kernels that TVM itself wrote: vectors and threads where nothing is summed."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import s_tir, tirx

from farm.compile.target import Isa

_REDUCTION = 2
"""`IterVar.iter_type` of an axis that is summed over."""


@tvm.transform.module_pass(opt_level=0, name="GenericRule")
class GenericRule:
    """Schedules every function of a module as far as its blocks allow."""

    def __init__(self, isa: Isa) -> None:
        self._isa = isa

    def transform_module(self, module: Any, _context: Any) -> Any:
        for variable, function in module.functions_items():
            if isinstance(function, tirx.PrimFunc):
                module[variable] = self._scheduled(function)
        return module

    def _scheduled(self, function: Any) -> Any:
        if str(function.body.block.name_hint) != "root":
            return function  # one block, written as loops that are not to be moved
        schedule = s_tir.Schedule(function)
        for block in schedule.get_child_blocks(schedule.get_sblock("root")):
            self._block(schedule, block)
        return schedule.mod["main"]

    def _block(self, schedule: Any, block: Any) -> None:
        axes = schedule.get(block).iter_vars
        loops = schedule.get_loops(block)
        if len(loops) != len(axes) or not loops:
            return
        sums = [i for i, axis in enumerate(axes) if int(axis.iter_type) == _REDUCTION]
        if not sums:
            self._elementwise(schedule, loops)
        elif sums[0] == len(axes) - len(sums) > 0:
            self._reduction(schedule, block, loops[: sums[0]], loops[sums[0] :])

    def _elementwise(self, schedule: Any, loops: Any) -> None:
        fused = schedule.fuse(*loops)
        if int(schedule.get(fused).extent) % self._isa.lanes == 0:
            outer, inner = schedule.split(fused, [None, self._isa.lanes])
            schedule.vectorize(inner)
            schedule.parallel(outer)

    def _reduction(self, schedule: Any, block: Any, spatial: Any, sums: Any) -> None:
        """Sums vectors of neighbouring outputs, so that no vector is summed across its lanes."""
        *outer, last = spatial
        if int(schedule.get(last).extent) % self._isa.lanes:
            return
        split, vector = schedule.split(last, [None, self._isa.lanes])
        schedule.reorder(*outer, split, *sums, vector)
        schedule.vectorize(vector)
        schedule.decompose_reduction(block, sums[0])
