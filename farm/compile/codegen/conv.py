"""Convolutions, as a matrix product of the weights with a packed image (`pack`).

    out[o, p] = sum over c, kh, kw of
        weight[o, c, kh, kw] * packed[c, kw, phase(kh), offset(kh) + p]

A convolution of 1x1 with stride 1 reads the image itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tvm import tirx

from farm.compile.codegen.pack import Packing, Problem, Source, as_it_is
from farm.compile.codegen.steps import Output, interface
from farm.compile.codegen.tiling import (
    L1_FLOATS,
    Tile,
    rank_tiles,
    vector_lanes,
    vector_starts,
)
from farm.compile.codegen.tir import (
    Expr,
    Registers,
    Stmt,
    choose,
    divmod_index,
    function,
    load,
    loop,
    prefetch,
    splat,
)
from farm.compile.groups import Group, Schedule
from farm.compile.target import Isa
from farm.core.errors import BuildError

_PACKED_BAND = 12 << 10
"""Floats of a packed band, 48 KiB: about a first-level cache."""

_BAND = 32 << 10
"""Floats of a band that is read where it is, 128 KiB: a part of any second-level cache."""

_BAND_VECTORS = 2
"""Fewest vectors of pixels in a band."""

_OTHER_TILES = 3
"""Tiles that are tried beside the one with the least estimated cycles."""

_TAPS_IN_LINE = 4
"""Taps of a block of weights in a cache line: 4 channels of 4 bytes each."""


def conv2d(group: Group, isa: Isa) -> Any:
    """The kernel of a convolution of any kind; operands: image, weight, then those of the steps."""
    tensors, output = interface(group)
    choices = schedules(group, isa)
    schedule = group.schedule or choices[0]
    if schedule not in choices:
        raise BuildError(f"{schedule} fits no {group.name} on this target; tune for it again")
    problem = replace(Problem.of(group), bands=schedule.bands)
    tile = Tile(schedule.rows, schedule.columns)
    packing = Packing(problem, tensors[0], group.relu_input, isa)
    weight = _Weight(tensors[1].flat, group.weight_block)
    shared = isa.threads and problem.bands > 1

    def band(n: Expr, index: Expr) -> list[Stmt]:
        if problem.needs_packing:
            source, statements = packing.pack(n, index)
        else:
            source, statements = as_it_is(problem, tensors[0], n, index), []
        inner = replace(isa, threads=isa.threads and not shared)
        product = _Product(problem, source, weight, output, tile, inner)
        return [*statements, product.statement(n, index)]

    def image(n: Expr) -> list[Stmt]:
        return [loop(problem.bands, partial(band, n), parallel=shared)]

    return function(tensors, [loop(problem.batch, image)])


def schedules(group: Group, isa: Isa) -> list[Schedule]:
    """Ways to write a convolution's kernel: first what the rules choose, then what is near it."""
    problem = Problem.of(group)
    counts, chosen = _bands(problem, isa)
    tiles = _tiles(replace(problem, bands=counts[chosen]), group.weight_block, isa)
    found = [(counts[chosen], tile) for tile in tiles[: 1 + _OTHER_TILES]]
    for bands in (*counts[max(0, chosen - 1) : chosen], *counts[chosen + 1 : chosen + 2]):
        found.append((bands, _tiles(replace(problem, bands=bands), group.weight_block, isa)[0]))
    return [Schedule(bands, tile.rows, tile.columns) for bands, tile in found]


def _bands(problem: Problem, isa: Isa) -> tuple[list[int], int]:
    """The counts of bands that there can be, and the place of the chosen one.

    So many that one stays near, as long as it is some vectors long.
    """
    near = _PACKED_BAND if problem.needs_packing else _BAND
    rows = problem.out_size[0]
    counts = [n for n in range(1, rows + 1) if rows % n == 0]
    long = [n for n in counts if rows // n * problem.out_size[1] >= _BAND_VECTORS * isa.lanes]
    fits = [n for n in long if replace(problem, bands=n).band_size <= near]
    return long or [1], (long.index(fits[0]) if fits else max(0, len(long) - 1))


def _tiles(problem: Problem, block: int, isa: Isa) -> list[Tile]:
    near = problem.band_size <= L1_FLOATS
    return rank_tiles(problem.out_channels, problem.pixels, isa, block, near)


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
        self,
        problem: Problem,
        source: Source,
        weight: _Weight,
        output: Output,
        tile: Tile,
        isa: Isa,
    ) -> None:
        self.problem, self.source, self.weight, self.output = problem, source, weight, output
        self.lanes, self.threads = vector_lanes(problem.pixels, isa), isa.threads
        self.tile = tile

    def statement(self, n: Expr, band: Expr) -> Stmt:
        """All tiles of a band. It stays near while rows of weights pass by, each of them once."""
        tile = partial(self._tile, n, band * self.problem.pixels)
        shared = self.threads and sum(run.count for run in self._rows()) > 1

        def turn(rows: _Rows) -> list[Stmt]:
            inner = partial(tile, rows)
            return [_loop(self._columns(), inner, self.threads and not shared)]

        return _loop(self._rows(), turn, shared)

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

    def _tile(self, n: Expr, pixel: Expr, rows: _Rows, columns: _Columns) -> list[Stmt]:
        registers = Registers(rows.count, len(columns.starts), self.lanes)
        first = rows.group * self.problem.out_channels + rows.first
        sums = loop(self.problem.in_channels, lambda c: self._taps(registers, rows, columns, c))
        stores = [
            self.output.store(
                n,
                first + row,
                pixel + columns.pixel + start,
                registers.get(row, column),
                self.lanes,
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
            if tap % _TAPS_IN_LINE == 0:
                yield from self._prefetch(rows, c, tap)
            index = self._source(rows.group * problem.in_channels + c, *divmod(tap, width))
            index = index + columns.pixel
            for row in range(rows.count):
                weight = splat(
                    load(self.weight.buffer, self._weight(rows, row, c, tap), 1), self.lanes
                )
                for column, start in enumerate(columns.starts):
                    pixels = load(self.source.buffer, index + start, self.lanes)
                    total = registers.get(row, column) + pixels * weight
                    yield registers.set(row, column, total)

    def _prefetch(self, rows: _Rows, c: Expr, tap: int) -> Iterator[Stmt]:
        """Asks for the weights of the next rows: a network's weights outlast no cache."""
        ahead = rows.count * self.problem.terms
        for row in range(0, rows.count, self.weight.block) if self.weight.block > 1 else ():
            yield prefetch(self.weight.buffer, self._weight(rows, row, c, tap) + ahead)

    def _source(self, channel: Expr, kernel_row: int, kernel_column: int) -> Expr:
        """Where the first pixel is that a tap of the kernel reads."""
        if self.source.pitch is not None:
            return self.source.start + channel * self.source.pitch
        return self.source.start + self.problem.packed_index(channel, kernel_row, kernel_column)

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
