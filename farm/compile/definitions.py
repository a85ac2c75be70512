"""ONNX operators in terms of simpler ones, where ONNX itself gives no definition. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np
from onnx import helper

from farm.compile.fourier import dft, stft
from farm.compile.operator_parts import Nodes, Operator
from farm.compile.resize import resize


def _lp_normalization(operator: Operator) -> Nodes:
    nodes: Nodes = []
    x = operator.input(0)
    axis = operator.constant([operator.attributes.get("axis", -1)], np.int64)
    norm = "ReduceL1" if operator.attributes.get("p", 2) == 1 else "ReduceL2"
    length = operator.apply(nodes, norm, x, axis, keepdims=1)
    # A vector of length 0 stays one.
    positive = operator.apply(nodes, "Max", length, operator.constant(1e-30))
    operator.apply(nodes, "Div", x, positive)
    return operator.done(nodes)


def _clip(operator: Operator) -> Nodes | None:
    if any(operator.input(position) for position in (1, 2)) or operator.opset < 11:
        return None
    largest = operator.constant(np.finfo(np.float32).max)
    return operator.done([helper.make_node("Min", [operator.input(0), largest], [""])])


def _pow(operator: Operator) -> Nodes | None:
    """TVM wants both operands of one type."""
    base, exponent = operator.input(0), operator.input(1)
    if operator.kinds[base] == operator.kinds[exponent]:
        return None
    nodes: Nodes = []
    power = operator.apply(nodes, "Cast", exponent, to=operator.kinds[base])
    operator.apply(nodes, "Pow", base, power)
    return operator.done(nodes)


def _max_pool(operator: Operator) -> Nodes | None:
    """Without the indices of what is largest, if nobody asks for them."""
    wanted = operator.node.output[0] == operator.output and len(operator.node.output) > 1
    return operator.renamed(storage_order=None) if wanted else None


def _conv_transpose(operator: Operator) -> Nodes | None:
    """Pads in place of the shape that comes out."""
    shape = operator.attributes.get("output_shape")
    if shape is None:
        return None
    image, weight = (operator.shapes[operator.input(position)] for position in (0, 1))
    axes = len(image) - 2
    ones, zeros = [1] * axes, [0] * axes
    strides, dilations = (operator.attributes.get(n, ones) for n in ("strides", "dilations"))
    more = operator.attributes.get("output_padding", zeros)
    spans = [(k - 1) * d + 1 for k, d in zip(weight[2:], dilations, strict=True)]
    sizes = zip(image[2:], strides, more, spans, shape[-axes:], strict=True)
    totals = [stride * (n - 1) + extra + span - out for n, stride, extra, span, out in sizes]
    # What is negative is output that no input reaches.
    more = [extra - min(total, 0) for extra, total in zip(more, totals, strict=True)]
    totals = [max(total, 0) for total in totals]
    lower = operator.attributes.get("auto_pad", b"NOTSET") != b"SAME_UPPER"
    first = [total - total // 2 if lower else total // 2 for total in totals]
    last = [total - start for total, start in zip(totals, first, strict=True)]
    changes = {"output_shape": None, "auto_pad": None, "output_padding": more}
    return operator.renamed(**changes, pads=[*first, *last])


def _col2im(operator: Operator) -> Nodes | None:
    """A transposed convolution that puts every column's values where they belong, and adds."""
    sizes, block = operator.known(1), operator.known(2)
    if sizes is None or block is None:
        return None
    axes = len(block)
    strides = operator.attributes.get("strides", [1] * axes)
    dilations = operator.attributes.get("dilations", [1] * axes)
    pads = operator.attributes.get("pads", [0] * 2 * axes)
    spans = [(int(b) - 1) * d + 1 for b, d in zip(block, dilations, strict=True)]
    totals = [int(n) + pads[i] + pads[axes + i] for i, n in enumerate(sizes)]
    counts = [(n - span) // s + 1 for n, span, s in zip(totals, spans, strides, strict=True)]
    reached = [(n - 1) * s + span for n, s, span in zip(counts, strides, spans, strict=True)]
    batch, columns, _ = operator.shapes[operator.input(0)]
    terms = prod(int(b) for b in block)
    channels = columns // terms
    nodes: Nodes = []
    split = operator.constant([batch * channels, terms, *counts], np.int64)
    x = operator.apply(nodes, "Reshape", operator.input(0), split)
    weight = operator.constant(np.eye(terms).reshape(terms, 1, *(int(b) for b in block)))
    rest = [total - n for total, n in zip(totals, reached, strict=True)]
    image = operator.apply(
        nodes,
        "ConvTranspose",
        x,
        weight,
        strides=strides,
        dilations=dilations,
        pads=pads,
        output_padding=rest,
    )
    shape = operator.constant([batch, channels, *(int(n) for n in sizes)], np.int64)
    operator.apply(nodes, "Reshape", image, shape)
    return operator.done(nodes)


def _determinant(operator: Operator) -> Nodes | None:
    shape = operator.shapes[operator.input(0)]
    if shape[-1] not in (2, 3):
        return None
    nodes: Nodes = []

    def entry(row: int, column: int) -> str:
        part = operator.input(0)
        for index, axis in ((column, -1), (row, -1)):
            number = operator.constant(index, np.int64)
            part = operator.apply(nodes, "Gather", part, number, axis=axis)
        return part

    def minor(rows: Sequence[int], columns: Sequence[int]) -> str:
        if len(rows) == 1:
            return entry(rows[0], columns[0])
        total = ""
        for place, column in enumerate(columns):
            rest = [other for other in columns if other != column]
            term = operator.apply(nodes, "Mul", entry(rows[0], column), minor(rows[1:], rest))
            sign = "Sub" if place % 2 else "Add"
            total = operator.apply(nodes, sign, total, term) if total else term
        return total

    every = range(shape[-1])
    minor(every, every)
    return operator.done(nodes)


DEFINITIONS: Mapping[str, Callable[[Operator], Nodes | None]] = {
    "Clip": _clip,
    "Col2Im": _col2im,
    "ConvTranspose": _conv_transpose,
    "DFT": dft,
    "Det": _determinant,
    "LpNormalization": _lp_normalization,
    "MaxPool": _max_pool,
    "Pow": _pow,
    "Resize": resize,
    "STFT": stft,
    "Upsample": resize,
}
"""The parts of an operation, by its operator; None where it is best left as it is."""
