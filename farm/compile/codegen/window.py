"""Depthwise convolutions and average pooling: a window that slides over each channel by itself.

A channel is copied into scratch memory with its padding, and with a stride its rows and columns
are dealt out by their phase, so that what neighbouring outputs read is contiguous again. Vectors
run along rows of the output; narrow rows take a vector that is only partly stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import ceil
from typing import Any

from farm.compile.codegen.rows import copy_row, zero_row
from farm.compile.codegen.steps import Output, parameters
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
from farm.compile.groups import Group, Window
from farm.compile.target import Isa


def depthwise_conv2d(group: Group, isa: Isa) -> Any:
    """The kernel of a convolution with one input channel for each output channel."""
    tensors = parameters(group)
    weight = tensors[1].flat
    height, width = group.operands[1][2:]

    def weighted(channel: Expr, tap: int, value: Expr, lanes: int) -> Expr:
        return value * splat(load(weight, channel * height * width + tap, 1), lanes)

    return _kernel(group, tensors, isa, weighted, None)


def average_pool2d(group: Group, isa: Isa) -> Any:
    """The kernel of an average pooling whose padding does not count."""
    tensors = parameters(group)

    def as_it_is(_channel: Expr, _tap: int, value: Expr, _lanes: int) -> Expr:
        return value

    assert group.window is not None
    return _kernel(group, tensors, isa, as_it_is, _Counts(group))


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
    isa: Isa,
    term: Callable[[Expr, int, Expr, int], Expr],
    counts: _Counts | None,
) -> Any:
    output = Output(group, tensors)
    plane = _Plane.of(group, isa)

    total = output.batch * output.channels
    together = largest_factor(total, max(1, _SCRATCH // plane.size))

    def block(index: Expr) -> list[Stmt]:
        padded, allocation = scratch("padded", together * plane.size)

        def fill(i: Expr) -> Iterator[Stmt]:
            channel = index * together + i
            return plane.fill(padded, i * plane.size, tensors[0].flat, channel, group.relu_input)

        def sums(i: Expr) -> Iterator[Stmt]:
            source = _Source(padded, i * plane.size)
            place = divmod_index(index * together + i, output.channels, output.batch)
            return _Sums(plane, source, output, term, counts).statements(*place)

        return [allocation, loop(together, fill), loop(together, sums)]

    return function(tensors, [loop(total // together, block, parallel=isa.threads)])


_SCRATCH = 4096
"""Floats of padded channels at a time. They fit the first-level cache, and small channels are
several: a vector that is read right after its parts were written waits for the writes."""


@dataclass(frozen=True)
class _Source:
    """The padded image of a channel."""

    buffer: Any
    start: Expr


@dataclass(frozen=True)
class _Plane:
    """One channel of the image, padded and dealt out by phases: (phases, phases, rows, pitch)."""

    in_size: tuple[int, int]
    out_size: tuple[int, int]
    window: Window
    lanes: int
    isa: Isa

    @classmethod
    def of(cls, group: Group, isa: Isa) -> _Plane:
        assert group.window is not None
        (_, _, h, w), (_, _, oh, ow) = group.operands[0], group.output
        lanes = min(isa.lanes, 1 << (ow - 1).bit_length())
        return cls((h, w), (oh, ow), group.window, lanes, isa)

    def phases(self, axis: int) -> int:
        return min(self.window.stride[axis], self._span(axis) + 1)

    def _span(self, axis: int) -> int:
        return (self.window.kernel[axis] - 1) * self.window.dilation[axis]

    @property
    def rows(self) -> int:
        return self.out_size[0] + self._span(0) // self.window.stride[0]

    @property
    def pitch(self) -> int:
        """Values in a row, with room for a whole vector at its last output."""
        width = ceil(self.out_size[1] / self.lanes) * self.lanes
        return width + self._span(1) // self.window.stride[1]

    def index(self, tap_row: int, tap_column: int, row: Expr, column: Expr) -> Expr:
        """Where the value is that a tap of the kernel reads for output (row, column)."""
        (sy, sx), (dy, dx) = self.window.stride, self.window.dilation
        (oy, py), (ox, px) = divmod(tap_row * dy, sy), divmod(tap_column * dx, sx)
        first_row = (py * self.phases(1) + px) * self.rows + oy
        return (first_row + row) * self.pitch + ox + column

    @property
    def size(self) -> int:
        return self.phases(0) * self.phases(1) * self.rows * self.pitch

    def fill(
        self, buffer: Any, base: Expr, image: Any, channel: Expr, relu: bool
    ) -> Iterator[Stmt]:
        """Fills the scratch memory at `base` with a channel."""
        start = channel * self.in_size[0] * self.in_size[1]
        for phase in product(range(self.phases(0)), range(self.phases(1))):
            yield from self._phase(image, start, buffer, base, phase, relu)

    def _phase(
        self,
        image: Any,
        start: Expr,
        buffer: Any,
        base: Expr,
        phase: tuple[int, int],
        relu: bool,
    ) -> list[Stmt]:
        height, width = self.in_size
        (sy, sx), pads = self.window.stride, self.window.pads
        base = base + (phase[0] * self.phases(1) + phase[1]) * self.rows * self.pitch
        first = min(self.rows, max(0, -(-(pads[0] - phase[0]) // sy)))
        last = max(first, min(self.rows, (height - 1 + pads[0] - phase[0]) // sy + 1))
        shift = phase[1] - pads[1]

        def row(index: Expr) -> list[Stmt]:
            y = (index + first) * sy + phase[0] - pads[0]
            target = base + (index + first) * self.pitch
            source = start + y * width
            return copy_row(
                buffer, target, image, source, self.pitch, width, shift, sx, relu, self.isa
            )

        above = zero_row(buffer, base, first * self.pitch, self.isa)
        below_start, below = base + last * self.pitch, (self.rows - last) * self.pitch
        copied = [loop(last - first, row)] if last > first else []
        return [*above, *copied, *zero_row(buffer, below_start, below, self.isa)]


class _Sums:
    """The sums over the window, a few rows of the output at a time."""

    def __init__(
        self,
        plane: _Plane,
        source: _Source,
        output: Output,
        term: Callable[[Expr, int, Expr, int], Expr],
        counts: _Counts | None,
    ) -> None:
        self.plane, self.source, self.output = plane, source, output
        self.term, self.counts = term, counts
        self.lanes = plane.lanes

    def statements(self, n: Expr, channel: Expr) -> Iterator[Stmt]:
        """All outputs of a channel: runs of rows that cover equally many pixels."""
        for first, count, scale in self._runs():
            for start, size, turns in self._blocks(first, count):
                place = partial(self._rows, n, channel, start, size, scale)
                yield loop(turns, place)

    def _runs(self) -> list[tuple[int, int, float]]:
        """(first row, rows, factor of the sum) of runs of equal factor."""
        rows = self.plane.out_size[0]
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
        self, n: Expr, channel: Expr, start: int, count: int, scale: float, turn: Expr
    ) -> Iterator[Stmt]:
        first = start + turn * count
        width = self.plane.out_size[1]
        starts = vector_starts(width, self.lanes) if width >= self.lanes else [0]
        for column in starts:
            registers = Registers(count, 1, self.lanes)
            yield from registers.allocate()
            yield from self._taps(registers, channel, first, column)
            for row in range(count):
                value = self._scaled(registers.get(row, 0), column, scale)
                yield from self._store(n, channel, first + row, column, value)

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
