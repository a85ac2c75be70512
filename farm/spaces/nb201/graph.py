"""The graphs of NAS-Bench-201 networks (Dong & Yang 2020, arXiv:2001.00326).

A cell is a directed acyclic graph of four nodes; each of its six edges carries one of five
operations, and a node is the sum of its incoming edges (section 2.2). A convolution is ReLU,
convolution, batch norm. The skeleton (section 2.1, figure 1) for CIFAR-10: a 3x3 convolution,
three stages of five cells with 16, 32 and 64 channels, a residual block of stride 2 before the
second and the third, batch norm and ReLU, the global mean, and a linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from farm.spaces.graph import INPUT, Graph, Value, apply, build
from farm.spaces.ops import (
    Add,
    AvgPool,
    BatchNorm,
    Conv,
    GlobalAvgPool,
    Linear,
    Relu,
    Shape,
    Zeros,
)

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target) of a cell's edges, in the order of the published string."""

INPUT_SHAPE = (1, 3, 32, 32)
STAGE_SHAPES = ((1, 16, 32, 32), (1, 32, 16, 16), (1, 64, 8, 8))
"""The shape of every tensor in a stage's cells."""

CELLS_PER_STAGE = 5
CLASSES = 10

Cell = tuple[str, ...]
"""The operations of the six edges, in the order of `EDGES`."""


def network_graph(cell: Cell) -> Graph:
    """The whole network of `cell`; what its output does not need is not in it."""
    x = apply(Conv(STAGE_SHAPES[0][1], 3), INPUT)
    for stage, shape in enumerate(STAGE_SHAPES):
        x = _residual_block(x, shape[1]) if stage else x
        for _ in range(CELLS_PER_STAGE):
            x = _CellBuilder(x, shape).build(cell)
    x = apply(Relu(), apply(BatchNorm(), x))
    return build(INPUT_SHAPE, apply(Linear(CLASSES), apply(GlobalAvgPool(), x)))


def cell_graph(cell: Cell, shape: Shape) -> Graph:
    """One cell alone, as a graph from its input, of the given shape, to its output."""
    return build(shape, _CellBuilder(INPUT, shape).build(cell))


def _residual_block(x: Value, channels: int) -> Value:
    """Halves the sides. The shortcut has no batch norm, as in the published code."""
    y = apply(Conv(channels, 3, stride=2), apply(Relu(), x))
    y = apply(Conv(channels, 3), apply(Relu(), y))
    pooled = apply(AvgPool(2, stride=2, padding=0), x)
    return apply(Add(), apply(Conv(channels, 1, batch_norm=False), pooled), y)


class _CellBuilder:
    """Writes one cell down, simplified without changing what it computes.

    A node without a live input is all zeros. Skipping or pooling zeros gives zeros, which add
    nothing; a convolution of zeros is still its batch norm's shift, so it stays. Convolutions of
    one node share its ReLU. The terms of a sum are sorted, constants first and then by what they
    compute, so that isomorphic cells come out equal (up to ties, which cost a duplicate and
    nothing else) and constants add up when the network is built.
    """

    def __init__(self, x: Value, shape: Shape) -> None:
        self.shape = shape
        self.texts: dict[Value, str] = {x: "x"}
        self.relus: dict[Value, Value] = {}
        self.varying: set[Value] = {x}
        self.nodes: list[Value | None] = [x]
        self.zeros = self._named(apply(Zeros(shape)), "0", [])

    def build(self, cell: Cell) -> Value:
        """The value of the cell's output node."""
        for target in (1, 2, 3):
            incoming = zip(cell, EDGES, strict=True)
            terms = [self._edge(op, a) for op, (a, b) in incoming if b == target]
            self.nodes.append(self._sum([term for term in terms if term is not None]))
        return self.nodes[3] or self.zeros

    def _edge(self, operation: str, source: int) -> Value | None:
        x = self.nodes[source]
        if operation in KERNELS:
            return self._conv(x or self.zeros, operation)
        if operation == "none" or x is None:
            return None
        return x if operation == "skip_connect" else self._pool(x)

    def _conv(self, x: Value, operation: str) -> Value:
        if x not in self.relus:
            self.relus[x] = x if x is self.zeros else apply(Relu(), x)
        conv = apply(Conv(self.shape[1], KERNELS[operation]), self.relus[x])
        return self._named(conv, f"{operation}({self.texts[x]})", [x])

    def _pool(self, x: Value) -> Value:
        pool = apply(AvgPool(3, stride=1, padding=1), x)
        return self._named(pool, f"pool({self.texts[x]})", [x])

    def _sum(self, terms: list[Value]) -> Value | None:
        ordered = sorted(terms, key=lambda term: (term in self.varying, self.texts[term]))
        if not ordered:
            return None
        text = "+".join(self.texts[term] for term in ordered)
        total = reduce(lambda a, b: apply(Add(), a, b), ordered)
        return self._named(total, f"({text})", ordered) if len(ordered) > 1 else total

    def _named(self, value: Value, text: str, sources: Sequence[Value]) -> Value:
        self.texts[value] = text
        if not self.varying.isdisjoint(sources):
            self.varying.add(value)
        return value
