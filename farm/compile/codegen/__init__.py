"""Kernels for CPUs, written straight in TIR: one function for each fused group of operations."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from farm.compile.codegen.columns import MANY_TAPS, conv2d_by_columns
from farm.compile.codegen.conv import conv2d
from farm.compile.codegen.conv import schedules as conv_schedules
from farm.compile.codegen.dense import dense
from farm.compile.codegen.simple import elementwise, global_average_pool
from farm.compile.codegen.window import average_pool2d, depthwise_conv2d
from farm.compile.groups import Group, Schedule, work
from farm.compile.target import Isa

_SHARED_WORK = 100_000
"""Vector operations from which on threads share a kernel. Waking them takes 2 microseconds, and
fetching what another core has just written takes longer than writing it, as measured."""


def kernel(group: Group, isa: Isa) -> Any:
    """The PrimFunc of a group; its parameters are the group's operands, then the output."""
    threads = work(group) >= _SHARED_WORK * isa.lanes
    return _WRITERS[group.main](group, replace(isa, threads=isa.threads and threads))


def schedules(group: Group, isa: Isa) -> list[Schedule]:
    """Ways to write a group's kernel, first what its rule chooses; none where there is one way."""
    tiled = group.main == "Conv" and not (_depthwise(group) or _many_taps(group))
    return conv_schedules(group, isa) if tiled else []


def _depthwise(group: Group) -> bool:
    return group.groups == group.operands[0][1] == group.output[1]


def _many_taps(group: Group) -> bool:
    return group.window is not None and prod(group.window.kernel) >= MANY_TAPS


def _convolution(group: Group, isa: Isa) -> Any:
    if _many_taps(group):
        return conv2d_by_columns(group, isa)
    return (depthwise_conv2d if _depthwise(group) else conv2d)(group, isa)


_WRITERS = {
    "AveragePool": average_pool2d,
    "Conv": _convolution,
    "Copy": elementwise,
    "Fill": elementwise,
    "Gemm": dense,
    "GlobalAveragePool": global_average_pool,
}
