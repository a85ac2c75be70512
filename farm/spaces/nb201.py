"""NAS-Bench-201 (Dong & Yang 2020, arXiv:2001.00326): 15,625 cells in one skeleton.

A cell is a directed acyclic graph of four nodes; each of its six edges carries one of five
operations, and a node is the sum of its incoming edges (section 2.2). A convolution is ReLU,
convolution, batch norm. The skeleton (section 2.1, figure 1) for CIFAR-10: a 3x3 convolution,
three stages of five cells with 16, 32 and 64 channels, a residual block of stride 2 before the
second and the third, batch norm and ReLU, the global mean, and a linear layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import product

import numpy as np

from farm.errors import NetworkSyntaxError
from farm.spaces.codes import operation_index
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
from farm.types import Network

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target) of a cell's edges, in the order of the published string."""

INPUT_SHAPE = (1, 3, 32, 32)
CHANNELS = (16, 32, 64)
CELLS_PER_STAGE = 5
CLASSES = 10

FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"

Cell = tuple[str, ...]
"""The operations of the six edges, in the order of `EDGES`."""


class NB201:
    """The search space; a network's code is the published string of its cell."""

    name = "nb201"
    size = len(OPERATIONS) ** len(EDGES)

    def parse(self, text: str) -> Network:
        """The network of a published cell string. Raises NetworkSyntaxError."""
        return Network(self.name, cell_text(parse_cell(text.strip())))

    def all_networks(self) -> Iterator[Network]:
        """All 15,625 networks; the last edge's operation changes fastest."""
        for cell in product(OPERATIONS, repeat=len(EDGES)):
            yield Network(self.name, cell_text(cell))

    def sample(self, n: int, rng: np.random.Generator) -> list[Network]:
        """n distinct networks, each set equally likely. Raises ValueError if there are fewer."""
        if not 0 <= n <= self.size:
            raise ValueError(f"a sample of nb201 holds 0 to {self.size} networks, got {n}")
        chosen = rng.choice(self.size, n, replace=False)
        digits = np.array(np.unravel_index(chosen, (len(OPERATIONS),) * len(EDGES))).T
        return [Network(self.name, cell_text([OPERATIONS[d] for d in row])) for row in digits]

    def neighbours(self, network: Network) -> list[Network]:
        """The 24 networks in which one edge carries another operation."""
        cell = parse_cell(network.code)
        changed = (
            (*cell[:edge], operation, *cell[edge + 1 :])
            for edge in range(len(EDGES))
            for operation in OPERATIONS
            if operation != cell[edge]
        )
        return [Network(self.name, cell_text(other)) for other in changed]

    def graph(self, network: Network) -> Graph:
        """The network as a graph; what its output does not need is not in it."""
        return build(INPUT_SHAPE, _skeleton(parse_cell(network.code)))


def cell_text(cell: Sequence[str]) -> str:
    """The published string of a cell."""
    parts = [f"{op}~{source}" for op, (source, _) in zip(cell, EDGES, strict=True)]
    return "+".join(f"|{'|'.join(parts[a:b])}|" for a, b in ((0, 1), (1, 3), (3, 6)))


def parse_cell(text: str) -> Cell:
    """The inverse of `cell_text`. Raises NetworkSyntaxError."""
    nodes = text.split("+")
    if len(nodes) != 3 or not all(re.fullmatch(r"\|.*\|", node) for node in nodes):
        raise NetworkSyntaxError(f"a NAS-Bench-201 cell has the form {FORM}, got {text!r}")
    return tuple(op for target, node in enumerate(nodes, 1) for op in _parse_node(node, target))


def _parse_node(text: str, target: int) -> list[str]:
    """The operations of the edges into node `target`."""
    edges = text[1:-1].split("|")
    if len(edges) != target:
        raise NetworkSyntaxError(
            f"node {target} of a NAS-Bench-201 cell has {target} incoming edges, "
            f"got {len(edges)} in {text!r}; the form is {FORM}"
        )
    return [_parse_edge(edge, source) for source, edge in enumerate(edges)]


def _parse_edge(text: str, source: int) -> str:
    operation, _, node = text.partition("~")
    operation_index(operation, OPERATIONS)
    if node != str(source):
        raise NetworkSyntaxError(
            f"expected '{operation}~{source}', got {text!r}; the form is {FORM}"
        )
    return operation


def _skeleton(cell: Cell) -> Value:
    x = apply(Conv(CHANNELS[0], 3), INPUT)
    side = INPUT_SHAPE[2]
    for stage, channels in enumerate(CHANNELS):
        if stage:
            x, side = _residual_block(x, channels), side // 2
        for _ in range(CELLS_PER_STAGE):
            x = _CellBuilder(x, (INPUT_SHAPE[0], channels, side, side)).build(cell)
    x = apply(Relu(), apply(BatchNorm(), x))
    return apply(Linear(CLASSES), apply(GlobalAvgPool(), x))


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
    one node share its ReLU. The terms of a sum are sorted by what they compute, so that
    isomorphic cells come out equal (up to ties, which cost a duplicate and nothing else).
    """

    def __init__(self, x: Value, shape: Shape) -> None:
        self.shape = shape
        self.texts: dict[Value, str] = {x: "x"}
        self.relus: dict[Value, Value] = {}
        self.nodes: list[Value | None] = [x]
        self.zeros = self._named(apply(Zeros(shape)), "0")

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
        return self._named(conv, f"{operation}({self.texts[x]})")

    def _pool(self, x: Value) -> Value:
        return self._named(apply(AvgPool(3, stride=1, padding=1), x), f"pool({self.texts[x]})")

    def _sum(self, terms: list[Value]) -> Value | None:
        ordered = sorted(terms, key=lambda term: self.texts[term])
        if not ordered:
            return None
        text = "+".join(self.texts[term] for term in ordered)
        total = reduce(lambda a, b: apply(Add(), a, b), ordered)
        return self._named(total, f"({text})") if len(ordered) > 1 else total

    def _named(self, value: Value, text: str) -> Value:
        self.texts[value] = text
        return value
