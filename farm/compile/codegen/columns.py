"""Convolutions with windows of many taps: the image's windows as columns of a matrix.

Taps that are written out one by one, as `conv` has them, are more code than LLVM compiles in time.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from tvm import tirx

from farm.compile.codegen.matmul import Product, product_body
from farm.compile.codegen.steps import interface
from farm.compile.codegen.tir import Expr, Stmt, function, load, loop, scratch, store
from farm.compile.groups import Group
from farm.compile.target import Isa

MANY_TAPS = 50
"""Taps of a window from which on it is a column; the largest of common networks, 7 x 7, is not."""


def conv2d_by_columns(group: Group, isa: Isa) -> Any:
    """The kernel of a convolution; operands: image, weight, then those of the steps."""
    tensors, output = interface(group)
    image, weight = tensors[:2]
    window, block = group.window, group.weight_block
    assert window is not None
    (kernel_y, kernel_x), (stride_y, stride_x) = window.kernel, window.stride
    top, left, *_ = window.pads
    _, channels, height, width = group.operands[0]
    _, outputs, rows, columns = group.output
    inner, made = channels // group.groups, outputs // group.groups
    terms, pixels = inner * kernel_y * kernel_x, rows * columns
    packed, allocated = scratch("columns", terms * pixels)

    def value(channel: Expr, y: Expr, x: Expr) -> Expr:
        inside = tirx.all(y >= 0, y < height, x >= 0, x < width)
        index = (channel * height + y) * width + x
        read = load(image.flat, tirx.if_then_else(inside, index, 0), 1)
        read = tirx.max(read, tirx.FloatImm("float32", 0)) if group.relu_input else read
        return tirx.if_then_else(inside, read, tirx.FloatImm("float32", 0))

    def weights(channel: Expr, row: Expr, k: Expr) -> Expr:
        o = channel * made + row
        place = (tirx.indexdiv(o, block) * terms + k) * block + tirx.indexmod(o, block)
        return load(weight.flat, place if block > 1 else o * terms + k, 1)

    def part(n: Expr, g: Expr) -> list[Stmt]:
        def copied(term: Expr) -> list[Stmt]:
            c = tirx.indexdiv(term, kernel_y * kernel_x)
            tap = tirx.indexmod(term, kernel_y * kernel_x)
            y0 = tirx.indexdiv(tap, kernel_x) * window.dilation[0] - top
            x0 = tirx.indexmod(tap, kernel_x) * window.dilation[1] - left
            channel = (n * channels) + g * inner + c

            def row(oy: Expr) -> list[Stmt]:
                def pixel(ox: Expr) -> list[Stmt]:
                    at = (term * rows + oy) * columns + ox
                    found = value(channel, oy * stride_y + y0, ox * stride_x + x0)
                    return [store(packed, at, found, 1)]

                return [loop(columns, pixel)]

            return [loop(rows, row)]

        def store_at(row: Expr, column: Expr, total: Expr, lanes: int) -> Stmt:
            return output.store(n, g * made + row, column, total, lanes)

        product = Product(1, made, terms, pixels)
        body = product_body(product, isa, partial(weights, g), packed, store_at)
        return [allocated, loop(terms, copied), *body]

    return function(
        tensors, [loop(output.batch, lambda n: [loop(group.groups, lambda g: part(n, g))])]
    )
