"""Kernels that only move memory: elementwise operations, means of whole channels, constants."""

from __future__ import annotations

from typing import Any

from farm.compile.codegen.steps import interface
from farm.compile.codegen.tiling import vector_lanes, vector_starts
from farm.compile.codegen.tir import (
    Expr,
    Registers,
    Stmt,
    divmod_index,
    function,
    horizontal_sum,
    load,
    loop,
    pieces,
    splat,
)
from farm.compile.groups import Group, levels
from farm.compile.target import Isa

_UNROLLED = 8
"""Vectors of a channel that are written out; longer channels are a loop."""


def elementwise(group: Group, isa: Isa) -> Any:
    """The kernel of a group's steps on its first operand, or on a constant (`Fill`)."""
    tensors, output = interface(group)
    lanes = vector_lanes(output.pixels, isa)

    def vectors(channel: Expr, start: Expr) -> Stmt:
        n, c = divmod_index(channel, output.channels, output.batch)
        if group.main == "Fill":
            value = splat(group.value, lanes)
        else:
            value = load(tensors[0].flat, channel * output.pixels + start, lanes)
        return output.store(n, c, start, value, lanes)

    def row(channel: Expr) -> list[Stmt]:
        starts = vector_starts(output.pixels, lanes)
        if len(starts) <= _UNROLLED:
            return [vectors(channel, start) for start in starts]
        full = output.pixels // lanes
        return [
            loop(full, lambda i: [vectors(channel, i * lanes)]),
            *(vectors(channel, start) for start in starts[full:]),
        ]

    return function(tensors, [loop(output.batch * output.channels, row, parallel=isa.threads)])


def global_average_pool(group: Group, isa: Isa) -> Any:
    """The kernel of the mean over each channel."""
    tensors, output = interface(group)
    batch, channels, pixels = levels(group.operands[0])
    lanes = vector_lanes(pixels, isa)

    def mean(channel: Expr) -> list[Stmt]:
        sums = Registers(1, 1, lanes)

        def add(i: Expr) -> list[Stmt]:
            values = load(tensors[0].flat, channel * pixels + i * lanes, lanes)
            return [sums.set(0, 0, sums.get(0, 0) + values)]

        total = horizontal_sum(sums.get(0, 0), lanes)
        for at, width in pieces(pixels % lanes, lanes):
            start = channel * pixels + pixels - pixels % lanes + at
            total += horizontal_sum(load(tensors[0].flat, start, width), width)
        n, c = divmod_index(channel, channels, batch)
        value = total * splat(1 / pixels, 1)
        return [
            *sums.allocate(),
            loop(pixels // lanes, add),
            output.store(n, c, 0, value, 1),
        ]

    return function(tensors, [loop(batch * channels, mean, parallel=isa.threads)])
