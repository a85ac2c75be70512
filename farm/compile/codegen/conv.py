"""Convolutions, as a matrix product of the weights with a packed image.

The packed image holds, for each input channel and each column of the kernel, the rows that the
kernel column reads, cut to the output's width (stride and padding are resolved while packing). A
vector of output pixels then reads contiguous memory, whatever the image's width:

    packed[c, kw, phase, row, x] = image[c, row * stride + phase - pad, x * stride + kw - pad]
    out[o, p] = sum over c, kh, kw of
        weight[o, c, kh, kw] * packed[c, kw, phase(kh), offset(kh) + p]

A convolution of 1x1 with stride 1 reads the image itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tvm import tirx

from farm.compile.codegen.rows import copy_row, zero_row
from farm.compile.codegen.steps import Output, parameters
from farm.compile.codegen.tiling import choose_tile, vector_lanes, vector_starts
from farm.compile.codegen.tir import (
    Expr,
    Registers,
    Stmt,
    Tensor,
    choose,
    divmod_index,
    function,
    load,
    loop,
    scratch,
    splat,
)
from farm.compile.groups import Group, Window
from farm.compile.target import Isa


def conv2d(group: Group, isa: Isa) -> Any:
    """The kernel of a convolution of any kind; operands: image, weight (OIHW), then the steps'."""
    tensors = parameters(group)
    output = Output(group, tensors)
    problem = Problem.of(group)
    packing = _pack if problem.needs_packing else _as_it_is

    def image(n: Expr) -> list[Stmt]:
        source, statements = packing(problem, tensors[0], n, group.relu_input, isa)
        weight = _Weight(tensors[1].flat, group.weight_block)
        product = _Product(problem, source, weight, output, isa)
        return [*statements, product.statement(n)]

    return function(tensors, [loop(problem.batch, image)])


_SHARED_COPY = 1 << 16
"""Floats from which on it pays to wake other threads for packing."""

_NEAR = 1 << 17
"""Floats of an image that stay in the second-level cache while all channels read it: 512 KiB."""


@dataclass(frozen=True)
class Problem:
    """The sizes of a convolution; channels are those of one of its `groups`."""

    batch: int
    groups: int
    in_channels: int
    out_channels: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    window: Window

    @classmethod
    def of(cls, group: Group) -> Problem:
        (n, c, h, w), (_, o, oh, ow) = group.operands[0], group.output
        assert group.window is not None
        g = group.groups
        return cls(n, g, c // g, o // g, (h, w), (oh, ow), group.window)

    @property
    def pixels(self) -> int:
        return self.out_size[0] * self.out_size[1]

    @property
    def terms(self) -> int:
        """Products in the sum of one output."""
        return self.in_channels * self.window.kernel[0] * self.window.kernel[1]

    @property
    def needs_packing(self) -> bool:
        window = self.window
        return window.kernel != (1, 1) or window.stride != (1, 1) or any(window.pads)

    @property
    def phases(self) -> list[int]:
        """The rows modulo the stride that some row of the kernel reads."""
        window = self.window
        rows = range(window.kernel[0])
        return sorted({row * window.dilation[0] % window.stride[0] for row in rows})

    @property
    def packed_rows(self) -> int:
        """Rows of one phase."""
        window = self.window
        return self.out_size[0] + (window.kernel[0] - 1) * window.dilation[0] // window.stride[0]

    def packed_index(self, channel: Expr, kernel_row: int, kernel_column: int) -> Expr:
        """Where the packed image has the first pixel for a tap of the kernel."""
        window, width = self.window, self.out_size[1]
        offset, phase = divmod(kernel_row * window.dilation[0], window.stride[0])
        plane = (channel * window.kernel[1] + kernel_column) * len(self.phases)
        return (plane + self.phases.index(phase)) * self.packed_rows * width + offset * width

    @property
    def packed_size(self) -> int:
        planes = self.groups * self.in_channels * self.window.kernel[1] * len(self.phases)
        return planes * self.packed_rows * self.out_size[1]


@dataclass(frozen=True)
class _Source:
    """What the matrix product reads: `buffer` at `start` is the image of the first channel."""

    buffer: Any
    start: Expr


def _as_it_is(
    problem: Problem, image: Tensor, n: Expr, relu: bool, isa: Isa
) -> tuple[_Source, list[Stmt]]:
    assert not relu, "only a packed image can be changed while it is read"
    del isa
    return _Source(image.flat, n * problem.groups * problem.in_channels * problem.pixels), []


def _pack(
    problem: Problem, image: Tensor, n: Expr, relu: bool, isa: Isa
) -> tuple[_Source, list[Stmt]]:
    packed, allocation = scratch("packed", problem.packed_size)
    channels = problem.groups * problem.in_channels
    parallel = isa.threads and problem.packed_size >= _SHARED_COPY

    def channel(c: Expr) -> Iterator[Stmt]:
        start = (n * channels + c) * problem.in_size[0] * problem.in_size[1]
        for column in range(problem.window.kernel[1]):
            for phase in problem.phases:
                yield from _plane(problem, image.flat, start, packed, (c, column, phase), relu, isa)

    return _Source(packed, 0), [allocation, loop(channels, channel, parallel)]


def _plane(
    problem: Problem,
    image: Any,
    start: Expr,
    packed: Any,
    place: tuple[Expr, int, int],
    relu: bool,
    isa: Isa,
) -> Iterator[Stmt]:
    """Packs the rows of one phase for one column of the kernel."""
    channel, column, phase = place
    (height, width), (_, out_width) = problem.in_size, problem.out_size
    stride, pads = problem.window.stride, problem.window.pads
    plane = channel * problem.window.kernel[1] + column
    base = (plane * len(problem.phases) + problem.phases.index(phase)) * problem.packed_rows
    first = max(0, -(-(pads[0] - phase) // stride[0]))
    last = min(problem.packed_rows, (height - 1 + pads[0] - phase) // stride[0] + 1)
    shift = column * problem.window.dilation[1] - pads[1]

    def row(index: Expr) -> list[Stmt]:
        y = (index + first) * stride[0] + phase - pads[0]
        target = (base + index + first) * out_width
        return copy_row(
            packed, target, image, start + y * width, out_width, width, shift, stride[1], relu, isa
        )

    yield from zero_row(packed, base * out_width, first * out_width, isa)
    yield loop(last - first, row)
    rest = (problem.packed_rows - last) * out_width
    yield from zero_row(packed, (base + last) * out_width, rest, isa)


@dataclass(frozen=True)
class _Weight:
    """The weights of a convolution: (O / block, I, H, W, block)."""

    buffer: Any
    block: int


@dataclass(frozen=True)
class _Rows:
    """Rows of a tile: `count` output channels of a group, from `first` on."""

    group: Expr
    first: Expr
    count: int


@dataclass(frozen=True)
class _Columns:
    """Columns of a tile: vectors of pixels that start at `pixel` + each of `starts`."""

    pixel: Expr
    starts: Sequence[int]


class _Product:
    """The matrix product, in tiles of output channels x vectors of pixels."""

    def __init__(
        self, problem: Problem, source: _Source, weight: _Weight, output: Output, isa: Isa
    ) -> None:
        self.problem, self.source, self.weight, self.output = problem, source, weight, output
        self.lanes, self.threads = vector_lanes(problem.pixels, isa), isa.threads
        self.streamed = problem.packed_size <= _NEAR
        sizes = (problem.out_channels, problem.pixels, problem.terms)
        self.tile = choose_tile(*sizes, isa, weight.block, self.streamed)

    def statement(self, n: Expr) -> Stmt:
        """All tiles of image n. The inner loop runs over the axis that is cheaper to read again."""
        if self.streamed:
            return _nest(self._rows(), self._columns(), partial(self._tile, n), self.threads)

        def swapped(columns: _Columns, rows: _Rows) -> list[Stmt]:
            return self._tile(n, rows, columns)

        return _nest(self._columns(), self._rows(), swapped, self.threads)

    def _rows(self) -> list[_Run]:
        size, groups = self.tile.rows, self.problem.groups
        full, rest = divmod(self.problem.out_channels, size)

        def whole(index: Expr) -> _Rows:
            group, tile = divmod_index(index, full, groups)
            return _Rows(group, tile * size, size)

        runs = [_Run(groups * full, whole)] if full else []
        return [*runs, _Run(groups, lambda g: _Rows(g, full * size, rest))] if rest else runs

    def _columns(self) -> list[_Run]:
        size = self.tile.columns * self.lanes
        full, rest = divmod(self.problem.pixels, size)
        starts = vector_starts(size, self.lanes)
        runs = [_Run(full, lambda i: _Columns(i * size, starts))] if full else []
        if rest:
            last = _Columns(full * size, vector_starts(rest, self.lanes))
            runs.append(_Run(1, lambda _: last))
        return runs

    def _tile(self, n: Expr, rows: _Rows, columns: _Columns) -> list[Stmt]:
        registers = Registers(rows.count, len(columns.starts), self.lanes)
        first = rows.group * self.problem.out_channels + rows.first
        sums = loop(self.problem.in_channels, lambda c: self._taps(registers, rows, columns, c))
        stores = [
            self.output.store(
                n, first + row, columns.pixel + start, registers.get(row, column), self.lanes
            )
            for row in range(rows.count)
            for column, start in enumerate(columns.starts)
        ]
        return [*registers.allocate(), sums, *stores]

    def _taps(
        self, registers: Registers, rows: _Rows, columns: _Columns, c: Expr
    ) -> Iterator[Stmt]:
        """Adds what input channel c of the group contributes to a tile."""
        problem = self.problem
        height, width = problem.window.kernel
        for tap in range(height * width):
            index = problem.packed_index(rows.group * problem.in_channels + c, *divmod(tap, width))
            index = self.source.start + index + columns.pixel
            for row in range(rows.count):
                weight = splat(
                    load(self.weight.buffer, self._weight(rows, row, c, tap), 1), self.lanes
                )
                for column, start in enumerate(columns.starts):
                    pixels = load(self.source.buffer, index + start, self.lanes)
                    total = registers.get(row, column) + pixels * weight
                    yield registers.set(row, column, total)

    def _weight(self, rows: _Rows, row: int, c: Expr, tap: int) -> Expr:
        """Where the weight of a tile's row is. Tiles start at multiples of the block."""
        problem, block = self.problem, self.weight.block
        taps = problem.window.kernel[0] * problem.window.kernel[1]
        first = rows.group * problem.out_channels + rows.first
        blocks = tirx.indexdiv(first, block) + row // block
        return ((blocks * problem.in_channels + c) * taps + tap) * block + row % block


@dataclass(frozen=True)
class _Run:
    """`count` equal parts of an axis of tiles; `part` says which one an index is."""

    count: int
    part: Callable[[Expr], Any]


def _nest(
    outer: Sequence[_Run],
    inner: Sequence[_Run],
    tile: Callable[[Any, Any], list[Stmt]],
    threads: bool,
) -> Stmt:
    """Two loops over tiles. Threads share the outer one, or the inner one if there is no other."""
    shared = sum(run.count for run in outer) > 1

    def turn(part: Any) -> list[Stmt]:
        return [_loop(inner, partial(tile, part), threads and not shared)]

    return _loop(outer, turn, threads and shared)


def _loop(runs: Sequence[_Run], body: Callable[[Any], list[Stmt]], parallel: bool) -> Stmt:
    """One loop over all parts of one or two runs."""
    first, *others = runs
    if not others:
        return loop(first.count, lambda i: body(first.part(i)), parallel)
    (second,) = others

    def turn(i: Expr) -> list[Stmt]:
        parts = first.part(i), second.part(i - first.count)
        return [choose(i < first.count, *(body(part) for part in parts))]

    return loop(first.count + second.count, turn, parallel)
