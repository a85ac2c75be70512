"""Depthwise convolutions and average pooling: a window that slides over each channel by itself.

Vectors run along rows of the output; what they read lies in scratch memory (`plane`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

from farm.compile.codegen.plane import SCRATCH, Plane
from farm.compile.codegen.steps import Output, interface
from farm.compile.codegen.tiling import largest_factor, vector_starts
from farm.compile.codegen.tir import (
    Expr,
    Registers,
    Stmt,
    Tensor,
    divmod_index,
    function,
    load,
    loop,
    pick,
    pieces,
    scratch,
    splat,
    vector,
)
from farm.compile.groups import Group
from farm.compile.target import Isa


def depthwise_conv2d(group: Group, isa: Isa) -> Any:
    """The kernel of a convolution with one input channel for each output channel."""
    tensors, output = interface(group)
    weight = tensors[1].flat
    height, width = group.operands[1][2:]

    def weighted(channel: Expr, tap: int, value: Expr, lanes: int) -> Expr:
        return value * splat(load(weight, channel * height * width + tap, 1), lanes)

    return _kernel(group, tensors, output, isa, weighted, None)


def average_pool2d(group: Group, isa: Isa) -> Any:
    """The kernel of an average pooling whose padding does not count."""
    tensors, output = interface(group)

    def as_it_is(_channel: Expr, _tap: int, value: Expr, _lanes: int) -> Expr:
        return value

    assert group.window is not None
    return _kernel(group, tensors, output, isa, as_it_is, _Counts(group))


class _Counts:
    """How many pixels of the image each window of a pooling covers."""

    def __init__(self, group: Group) -> None:
        assert group.window is not None
        self._window = group.window
        self._in_size, self.out_size = group.operands[0][2:], group.output[2:]

    def along(self, axis: int) -> list[int]:
        """For each output along rows (0) or columns (1)."""
        window, size = self._window, self._in_size[axis]
        taps = [tap * window.dilation[axis] for tap in range(window.kernel[axis])]
        firsts = [i * window.stride[axis] - window.pads[axis] for i in range(self.out_size[axis])]
        return [sum(0 <= first + tap < size for tap in taps) for first in firsts]


def _kernel(
    group: Group,
    tensors: list[Tensor],
    output: Output,
    isa: Isa,
    term: Callable[[Expr, int, Expr, int], Expr],
    counts: _Counts | None,
) -> Any:
    plane = Plane.of(group, isa, banded=counts is None)
    total = output.batch * output.channels
    # Small channels are several: a vector that is read right after its parts were written waits
    # until they have left the core.
    together = largest_factor(total, max(1, SCRATCH // plane.size)) if plane.bands == 1 else 1

    def block(index: Expr) -> list[Stmt]:
        padded, allocation = scratch("padded", together * plane.size)
        first, band = divmod_index(index, plane.bands, total // together)

        def fill(i: Expr) -> Iterator[Stmt]:
            channel = first * together + i
            return plane.fill(padded, i * plane.size, tensors[0].flat, channel, band)

        def sums(i: Expr) -> Iterator[Stmt]:
            source = _Source(padded, i * plane.size)
            place = divmod_index(first * together + i, output.channels, output.batch)
            return _Sums(plane, source, output, term, counts).statements(*place, band)

        return [allocation, loop(together, fill), loop(together, sums)]

    blocks = total // together * plane.bands
    return function(tensors, [loop(blocks, block, parallel=isa.threads)])


@dataclass(frozen=True)
class _Source:
    """The padded image of a channel."""

    buffer: Any
    start: Expr


class _Sums:
    """The sums over the window, a few rows of the output at a time."""

    def __init__(
        self,
        plane: Plane,
        source: _Source,
        output: Output,
        term: Callable[[Expr, int, Expr, int], Expr],
        counts: _Counts | None,
    ) -> None:
        self.plane, self.source, self.output = plane, source, output
        self.term, self.counts = term, counts
        self.lanes = plane.lanes

    def statements(self, n: Expr, channel: Expr, band: Expr) -> Iterator[Stmt]:
        """All outputs of a band: runs of rows whose windows cover equally many pixels."""
        for first, count, scale in self._runs():
            for start, size, turns in self._blocks(first, count):
                place = partial(self._rows, n, channel, band, start, size, scale)
                yield loop(turns, place)

    def _runs(self) -> list[tuple[int, int, float]]:
        """(first row, rows, factor of the sum) of runs of equal factor."""
        rows = self.plane.out_rows
        factors = [1 / count for count in self.counts.along(0)] if self.counts else [1.0] * rows
        firsts = [i for i in range(rows) if i == 0 or factors[i] != factors[i - 1]]
        ends = [*firsts[1:], rows]
        return [(a, b - a, factors[a]) for a, b in zip(firsts, ends, strict=True)]

    def _blocks(self, first: int, count: int) -> list[tuple[int, int, int]]:
        """(start, rows at a time, turns): neighbouring rows share most of what they read."""
        size = min(count, _ROWS)
        turns, rest = divmod(count, size)
        tail = [(first + turns * size, rest, 1)] if rest else []
        return [(first, size, turns), *tail]

    def _rows(
        self, n: Expr, channel: Expr, band: Expr, start: int, count: int, scale: float, turn: Expr
    ) -> Iterator[Stmt]:
        first = start + turn * count
        above, width = band * self.plane.out_rows, self.plane.out_size[1]
        starts = vector_starts(width, self.lanes) if width >= self.lanes else [0]
        for column in starts:
            registers = Registers(count, 1, self.lanes)
            yield from registers.allocate()
            yield from self._taps(registers, channel, first, column)
            for row in range(count):
                value = self._scaled(registers.get(row, 0), column, scale)
                yield from self._store(n, channel, above + first + row, column, value)

    def _taps(self, registers: Registers, channel: Expr, first: Expr, start: int) -> Iterator[Stmt]:
        for tap, row in self._order(registers.rows):
            kernel_row, kernel_column = divmod(tap, self.plane.window.kernel[1])
            index = self.plane.index(kernel_row, kernel_column, first + row, start)
            pixels = load(self.source.buffer, self.source.start + index, self.lanes)
            value = self.term(channel, tap, pixels, self.lanes)
            yield registers.set(row, 0, registers.get(row, 0) + value)

    def _order(self, rows: int) -> list[tuple[int, int]]:
        """All (tap, output row), those together that read the same vector of the image."""
        height, width = self.plane.window.kernel
        pairs = product(range(height * width), range(rows))

        def place(pair: tuple[int, int]) -> tuple[int, int]:
            tap, row = pair
            return tap % width, self.plane.index(tap // width, tap % width, row, 0)

        return sorted(pairs, key=place)

    def _scaled(self, value: Expr, start: int, scale: float) -> Expr:
        if self.counts is None:
            return value
        counts = self.counts.along(1)[start : start + self.lanes]
        factors = [scale / count for count in counts]
        return value * vector(factors + [1.0] * (self.lanes - len(factors)))

    def _store(self, n: Expr, channel: Expr, row: Expr, start: int, value: Expr) -> Iterator[Stmt]:
        width = self.plane.out_size[1]
        if width >= self.lanes:
            yield self.output.store(n, channel, row * width + start, value, self.lanes)
            return
        for at, lanes in pieces(width, self.lanes):
            part = pick([value], range(at, at + lanes))
            yield self.output.store(n, channel, row * width + at, part, lanes)


_ROWS = 4
"""Rows of outputs in registers: a 3x3 window then reads each row of the image 1.5 times, not 3."""
