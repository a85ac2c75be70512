"""How large a tile of a matrix product is held in registers."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from farm.compile.target import Isa


@dataclass(frozen=True)
class Tile:
    """rows: output channels. columns: vectors of pixels."""

    rows: int
    columns: int


_LATENCY = 8
"""Accumulators in flight that keep two multiply-add units busy: 4 cycles of latency each."""

_PER_CYCLE = 2
"""Vector loads, and multiply-adds, that a core of today starts in one cycle."""

L1_FLOATS = 8 << 10
"""Of a first-level data cache: 32 KiB, which nearly every CPU of the last 15 years has."""

_FAR_LOAD = 2.0
"""Cycles for a vector that comes from the second-level cache."""

_LOAD_SHARE = 0.5
"""How much of the loads' time the multiply-adds do not hide, as measured on an AVX-512 core."""


def rank_tiles(channels: int, pixels: int, isa: Isa, block: int, near: bool) -> list[Tile]:
    """The tiles of (channels, pixels) sums that registers hold, by their estimated cycles.

    block: their rows are a multiple of this. near: whether the pixels are in the first-level cache.
    """
    lanes = vector_lanes(pixels, isa)
    vectors = ceil(pixels / lanes)
    tiles = [
        Tile(rows, columns)
        for rows in range(block, min(channels, 16) + 1, block)
        for columns in range(1, min(vectors, 8) + 1)
        if rows * columns <= isa.registers * 3 // 4
        and rows * columns + columns + 1 <= isa.registers  # a row of pixels, and a weight
    ]

    def cycles(tile: Tile) -> float:
        return sum(
            _cycles(rows, columns, near) * row_count * column_count
            for rows, row_count in _split(channels, tile.rows)
            for columns, column_count in _split(vectors, tile.columns)
        )

    return sorted(tiles, key=cycles)


def _cycles(rows: int, columns: int, near: bool) -> float:
    """Cycles of a tile for one term of the sum; near: its pixels stay in the first-level cache."""
    multiply_adds = max(rows * columns, _LATENCY) / _PER_CYCLE
    loads = columns * (1 / _PER_CYCLE if near else _FAR_LOAD) + rows / _PER_CYCLE
    return multiply_adds + _LOAD_SHARE * loads


def _split(extent: int, size: int) -> list[tuple[int, int]]:
    """(size, count) of the pieces of `extent`."""
    full, rest = divmod(extent, size)
    return [(s, n) for s, n in ((size, full), (rest, 1)) if s and n]


def vector_lanes(count: int, isa: Isa) -> int:
    """Lanes of the widest vector that `count` values fill."""
    return min(isa.lanes, 1 << (count.bit_length() - 1))


def vector_starts(count: int, lanes: int) -> list[int]:
    """Starts of vectors that cover `count` values; the last one ends at `count`.

    Where `count` is no multiple of `lanes`, the last vector overlaps what comes before it, which
    the caller must be free to write twice.
    """
    starts = list(range(0, count - lanes + 1, lanes))
    return starts if len(starts) * lanes == count else [*starts, count - lanes]


def largest_factor(extent: int, limit: int) -> int:
    """The largest factor of `extent` that is at most `limit`."""
    return max(n for n in range(1, min(extent, limit) + 1) if extent % n == 0)
