"""Products of matrices with many rows: tiles of the result are summed in registers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tvm import tirx

from farm.compile.codegen.tiling import vector_lanes, vector_starts
from farm.compile.codegen.tir import (
    Expr,
    Registers,
    Stmt,
    Tensor,
    divmod_index,
    function,
    load,
    loop,
    scratch,
    splat,
    store,
)
from farm.compile.groups import Shape
from farm.compile.target import Isa

Store = Callable[[Expr, Expr, Expr, int], Stmt]
"""The statement that stores a vector: from its row, its column, itself, and its lanes."""

Factor = Callable[[Expr, Expr], Expr]
"""A number of the first matrix, by its row and its term."""

_TILES = {32: (6, 4), 16: (4, 3)}
"""Rows, and vectors of columns, of a tile by the number of registers: the sums, a row of vectors
and a factor fit."""

PACKED_ROWS = 24
"""Rows from which on a panel of the second matrix is copied: each of its rows is on another page
of memory, as often as there are tiles of rows."""


@dataclass(frozen=True)
class Product:
    """(rows, terms) @ (terms, columns), `batch` times.

    shared: whether it is one second matrix for all. transposed: whether that is (columns, terms).
    """

    batch: int
    rows: int
    terms: int
    columns: int
    shared: bool = False
    transposed: bool = False


def matmul(product: Product, isa: Isa, shapes: Sequence[Shape]) -> Any:
    """The kernel of a product; its parameters, of these shapes, are both matrices and the
    result."""
    a, b, c = (Tensor.named(f"x{index}", shape) for index, shape in enumerate(shapes))

    def store_at(row: Expr, column: Expr, value: Expr, lanes: int) -> Stmt:
        return store(c.flat, row * product.columns + column, value, lanes)

    return function(
        [a, b, c], product_body(product, isa, rows_of(a.flat, product.terms), b.flat, store_at)
    )


def rows_of(matrix: Any, terms: int) -> Factor:
    """The numbers of a matrix of so many terms in each row."""
    return lambda row, k: load(matrix, row * terms + k, 1)


def product_body(
    product: Product, isa: Isa, a: Factor, b: Any, store_at: Store, start: int = 0
) -> Iterator[Stmt]:
    """The statements that compute a product; rows of all matrices are numbered in one row.

    start: where the second matrix begins in `b`.
    """
    if product.shared and product.batch > 1:
        rows = product.batch * product.rows
        product = Product(1, rows, product.terms, product.columns, True, product.transposed)
    p = product
    lanes = vector_lanes(p.columns, isa)
    width = _TILES[isa.registers][1] * lanes
    panels, rest = divmod(p.columns, width)
    panel = partial(_panel, product, isa, a, b, start, store_at)

    def full(index: Expr) -> list[Stmt]:
        number, n = divmod_index(index, p.batch, panels)
        return panel(n, number * width, vector_starts(width, lanes), lanes)

    def last(n: Expr) -> list[Stmt]:
        # The last vector ends with the row, and overlaps what comes before it if it must.
        covered = max(rest, lanes)
        return panel(n, p.columns - covered, vector_starts(covered, lanes), lanes)

    if panels:
        yield loop(p.batch * panels, full, parallel=isa.threads)
    if rest:
        yield loop(p.batch, last, parallel=isa.threads and p.batch > 1)


def _panel(
    p: Product,
    isa: Isa,
    a: Factor,
    b: Any,
    start: int,
    store_at: Store,
    n: Expr,
    column: Expr,
    starts: list[int],
    lanes: int,
) -> list[Stmt]:
    """All rows of some columns: `column` plus `starts`, a vector of `lanes` at each."""
    first = start if p.shared else start + n * (p.terms * p.columns)
    before: list[Stmt] = []
    taken: Callable[[Expr, int], Expr]

    def factor(k: Expr, vector: int) -> Expr:
        if p.transposed:
            at = first + (column + starts[vector]) * p.terms + k
            place = tirx.Ramp(at, p.terms, lanes) if lanes > 1 else at
            return tirx.BufferLoad(b, [place])
        return load(b, first + k * p.columns + column + starts[vector], lanes)

    if p.transposed or p.rows >= PACKED_ROWS:
        size = len(starts) * lanes
        packed, made = scratch("panel", p.terms * size)

        def copy(k: Expr) -> list[Stmt]:
            return [
                store(packed, k * size + v * lanes, factor(k, v), lanes) for v in range(len(starts))
            ]

        before = [made, loop(p.terms, copy)]
        taken = partial(_of_panel, packed, size, lanes)
    else:
        taken = factor

    def tile(row: Expr, rows: int) -> list[Stmt]:
        sums = Registers(rows, len(starts), lanes)

        def term(k: Expr) -> Iterator[Stmt]:
            vectors = [taken(k, v) for v in range(len(starts))]
            for r in range(rows):
                value = splat(a(row + r, k), lanes)
                for v, vector in enumerate(vectors):
                    yield sums.set(r, v, sums.get(r, v) + value * vector)

        stores = [
            store_at(row + r, column + start, sums.get(r, v), lanes)
            for r in range(rows)
            for v, start in enumerate(starts)
        ]
        return [*sums.allocate(), loop(p.terms, term), *stores]

    height = _TILES[isa.registers][0]
    whole, rest = divmod(p.rows, height)
    body = [loop(whole, lambda i: tile(n * p.rows + i * height, height))] if whole else []
    if rest:
        body += tile(n * p.rows + whole * height, rest)
    return [*before, *body]


def _of_panel(packed: Any, size: int, lanes: int, k: Expr, vector: int) -> Expr:
    return load(packed, k * size + vector * lanes, lanes)
