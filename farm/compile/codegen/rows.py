"""Copying rows of an image into a scratch buffer, padding and stride resolved."""

from __future__ import annotations

from math import ceil
from typing import Any

from tvm import tirx

from farm.compile.codegen.tir import Expr, Stmt, load, pick, pieces, splat, store
from farm.compile.target import Isa


def zero_row(target: Any, start: Expr, count: int, isa: Isa) -> list[Stmt]:
    """Zeros `count` values."""
    return [store(target, start + at, splat(0.0, n), n) for at, n in pieces(count, isa.lanes)]


def copy_row(
    target: Any,
    target_start: Expr,
    source: Any,
    source_start: Expr,
    count: int,
    width: int,
    shift: int,
    stride: int,
    relu: bool,
    isa: Isa,
) -> list[Stmt]:
    """target[i] = source[i * stride + shift] for i < count, zero where that is outside [0, width).

    relu: store max(value, 0) instead.
    """
    first = min(count, max(0, ceil(-shift / stride)))
    last = max(first, min(count, (width - 1 - shift) // stride + 1))
    statements = zero_row(target, target_start, first, isa)
    for at, lanes in pieces(last - first, isa.lanes):
        index = first + at
        value = _strided(source, source_start + index * stride + shift, stride, lanes)
        value = tirx.max(value, splat(0.0, lanes)) if relu else value
        statements.append(store(target, target_start + index, value, lanes))
    return [*statements, *zero_row(target, target_start + last, count - last, isa)]


def _strided(source: Any, start: Expr, stride: int, lanes: int) -> Expr:
    """Every `stride`-th value. Stride 2 takes two loads that end at the last value wanted."""
    if stride == 1 or lanes == 1:
        return load(source, start, lanes)
    if stride != 2:
        return tirx.BufferLoad(source, [tirx.Ramp(start, stride, lanes)])
    vectors = [load(source, start, lanes), load(source, start + lanes - 1, lanes)]
    half = lanes // 2
    lane_of = [2 * i if i < half else lanes + 2 * i - (lanes - 1) for i in range(lanes)]
    return pick(vectors, lane_of)
