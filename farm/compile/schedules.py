"""Schedules of fused kernels on CPUs."""

from __future__ import annotations

from typing import Any

from tvm import s_tir, tirx
from tvm.s_tir.dlight.base import ScheduleRule


def largest_factor(extent: int, limit: int) -> int:
    """The largest factor of `extent` that is at most `limit`."""
    return max(n for n in range(1, min(extent, limit) + 1) if extent % n == 0)


class CpuRule(ScheduleRule):  # type: ignore[misc]
    """Tiles convolutions for registers and vectorises everything else over its last axis."""

    def __init__(self, target: Any) -> None:
        self.target = target
        self.lanes = 16
        self.registers = 24

    def apply(self, func: Any, _target: Any, _tunable: bool) -> Any:
        if not isinstance(func, tirx.PrimFunc):
            return None
        schedule = s_tir.Schedule(func)
        root = schedule.get_sblock("root")
        blocks = schedule.get_child_blocks(root)
        outputs = schedule.get_output_blocks(root)
        convolutions = [
            b
            for b in blocks
            if self._name(schedule, b).startswith(("conv2d", "depthwise_conv2d", "grouped_conv"))
        ]
        if len(convolutions) == 1 and len(outputs) == 1:
            self._convolution(schedule, convolutions[0], outputs[0], blocks)
        else:
            self._elementwise(schedule, blocks)
        return schedule

    def _name(self, schedule: Any, block: Any) -> str:
        return str(schedule.get(block).name_hint)

    def _extent(self, schedule: Any, loop: Any) -> int:
        return int(schedule.get(loop).extent)

    def _convolution(self, schedule: Any, conv: Any, output: Any, blocks: Any) -> None:
        name = self._name(schedule, conv)
        position = [self._name(schedule, b) for b in blocks].index(name)
        for block in blocks[position + 1 :]:
            if self._name(schedule, block) != self._name(schedule, output):
                schedule.compute_inline(block)
        for block in blocks[:position]:
            self._vectorise(schedule, block)
        batch, channel, row, column, *reduction = schedule.get_loops(conv)
        if self._name(schedule, output) == name:
            output = schedule.cache_write(conv, 0, "global")
        width = self._extent(schedule, column)
        lanes = width if width <= self.lanes else largest_factor(width, self.lanes)
        channels = (
            1
            if name.startswith("depthwise")
            else largest_factor(self._extent(schedule, channel), 8)
        )
        left = max(1, self.registers // channels)
        columns = largest_factor(width // lanes, min(left, 2)) if lanes >= 8 else 1
        rows = largest_factor(self._extent(schedule, row), min(max(1, left // columns), 4))
        c_outer, c_inner = schedule.split(channel, [None, channels])
        r_outer, r_inner = schedule.split(row, [None, rows])
        w_outer, w_inner, w_lanes = schedule.split(column, [None, columns, lanes])
        schedule.reorder(
            batch, c_outer, r_outer, w_outer, *reduction, c_inner, r_inner, w_inner, w_lanes
        )
        schedule.vectorize(w_lanes)
        for loop in (c_inner, r_inner, w_inner):
            schedule.unroll(loop)
        schedule.reverse_compute_at(output, w_outer, preserve_unit_loops=True)
        last = schedule.get_loops(output)[-1]
        if self._extent(schedule, last) <= 64:
            schedule.vectorize(last)
        schedule.set_scope(conv, 0, "local")
        fused = schedule.fuse(batch, c_outer)
        if self._extent(schedule, fused) > 1:
            schedule.parallel(fused)
        schedule.decompose_reduction(conv, reduction[0])

    def _vectorise(self, schedule: Any, block: Any) -> None:
        last = schedule.get_loops(block)[-1]
        lanes = largest_factor(self._extent(schedule, last), self.lanes)
        _, inner = schedule.split(last, [None, lanes])
        if lanes > 1:
            schedule.vectorize(inner)

    def _elementwise(self, schedule: Any, blocks: Any) -> None:
        for block in blocks:
            kinds = {iter_var.iter_type for iter_var in schedule.get(block).iter_vars}
            if 2 not in kinds and schedule.get_loops(block):
                self._vectorise(schedule, block)
