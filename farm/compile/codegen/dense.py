"""Dense layers on a few rows: each weight is used once for each row, so memory decides."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from farm.compile.codegen.matmul import Product, product_body, rows_of
from farm.compile.codegen.steps import Output, interface
from farm.compile.codegen.tiling import vector_lanes, vector_starts
from farm.compile.codegen.tir import (
    Expr,
    Registers,
    Stmt,
    function,
    horizontal_sum,
    load,
    loop,
    pieces,
    splat,
)
from farm.compile.groups import Group
from farm.compile.target import Isa

_VECTORS = 8
"""Vectors of outputs at a time: a row of the weights is read in runs of half a kilobyte."""


_TILED_ROWS = 4
"""Rows from which on a weight is used for several at a time."""


def dense(group: Group, isa: Isa) -> Any:
    """The kernel of x @ weight, or of x @ weight.T where the group's weight is transposed."""
    tensors, output = interface(group)
    terms = group.operands[0][1]
    if output.batch >= _TILED_ROWS:
        product = Product(1, output.batch, terms, output.pixels, True, group.transposed)
        tiles = product_body(
            product,
            isa,
            rows_of(tensors[0].flat, terms),
            tensors[1].flat,
            lambda row, column, value, lanes: output.store(row, 0, column, value, lanes),
        )
        return function(tensors, tiles)
    rows = _by_outputs if group.transposed else _by_terms
    body = partial(rows, tensors[0].flat, tensors[1].flat, output, terms, isa)
    return function(tensors, [loop(output.batch, body)])


def _by_terms(
    x: Any, weight: Any, output: Output, terms: int, isa: Isa, row: Expr
) -> Iterator[Stmt]:
    """weight: (terms, outputs). Vectors of outputs, a term after the other."""
    outputs = output.pixels
    lanes = vector_lanes(outputs, isa)

    def block(first: Expr, starts: list[int]) -> list[Stmt]:
        sums = Registers(1, len(starts), lanes)

        def term(k: Expr) -> Iterator[Stmt]:
            factor = splat(load(x, row * terms + k, 1), lanes)
            for column, start in enumerate(starts):
                weights = load(weight, k * outputs + first + start, lanes)
                yield sums.set(0, column, sums.get(0, column) + factor * weights)

        stores = [
            output.store(row, 0, first + start, sums.get(0, column), lanes)
            for column, start in enumerate(starts)
        ]
        return [*sums.allocate(), loop(terms, term), *stores]

    size = _VECTORS * lanes
    full, rest = divmod(outputs, size)
    if full:
        starts = vector_starts(size, lanes)
        yield loop(full, lambda i: block(i * size, starts), parallel=isa.threads)
    if rest:
        yield from block(full * size, vector_starts(rest, lanes))


def _by_outputs(
    x: Any, weight: Any, output: Output, terms: int, isa: Isa, row: Expr
) -> Iterator[Stmt]:
    """weight: (outputs, terms). One output after the other, vectors of terms."""
    lanes = vector_lanes(terms, isa)

    def one(i: Expr) -> list[Stmt]:
        sums = Registers(1, 1, lanes)

        def add(k: Expr) -> list[Stmt]:
            values = load(x, row * terms + k * lanes, lanes)
            weights = load(weight, i * terms + k * lanes, lanes)
            return [sums.set(0, 0, sums.get(0, 0) + values * weights)]

        total = horizontal_sum(sums.get(0, 0), lanes)
        for at, width in pieces(terms % lanes, lanes):
            start = terms - terms % lanes + at
            values = load(x, row * terms + start, width)
            total += horizontal_sum(values * load(weight, i * terms + start, width), width)
        whole = loop(terms // lanes, add)
        return [*sums.allocate(), whole, output.store(row, 0, i, total, 1)]

    yield loop(output.pixels, one, parallel=isa.threads)
