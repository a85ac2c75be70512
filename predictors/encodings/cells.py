"""Cells of any search space as graphs over one vocabulary of operations.

Loya et al., How Much Is Hidden in the NAS Benchmarks? Few-Shot Adaptation of a NAS Predictor,
2023 (MP-NAS), section 3.3 and table 8; the separable convolutions of NAS-Bench-301 are ours. A
graph of a space that is not known here is written as JSON, operations as nodes:

    {"nodes": ["input", "conv_3x3", "skip", "output"], "edges": [[0, 1], [0, 2], [1, 3], [2, 3]]}

An edge [a, b] says that node b reads what node a writes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np

from farm.core.errors import NetworkSyntaxError, UnknownName
from predictors import FloatArray, IntArray
from predictors.encodings.graph import line_graph

INPUT, OUTPUT = "input", "output"
VOCABULARY = (
    *(INPUT, OUTPUT, "conv_1x1", "conv_3x3", "conv_5x5", "conv_5x5_d2", "conv_7x7", "conv_7x7_d2"),
    *("linear", "avg_pool", "max_pool", "skip", "zero"),
    *("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
)
"""Operations by name; `_d2` has dilation 2. A graph says by position what one of them is."""

PAD = -1
"""The operation of a row's places behind the last node."""


@dataclass(frozen=True)
class CellGraph:
    """nodes: words of VOCABULARY, `input` and `output` at least once. edges: pairs (from, to).

    Raises NetworkSyntaxError for a cycle, an edge that leads nowhere, or an unknown operation.
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        for node in self.nodes:
            if node not in VOCABULARY:
                raise NetworkSyntaxError(str(UnknownName("operation", node, VOCABULARY)))
        for word in (INPUT, OUTPUT):
            if word not in self.nodes:
                raise NetworkSyntaxError(f"a graph needs a node {word!r}, got {self.nodes}; add it")
        for edge in self.edges:
            if not all(0 <= end < len(self.nodes) for end in edge):
                raise NetworkSyntaxError(
                    f"an edge joins two of the {len(self.nodes)} nodes, counted from 0, got "
                    f"{list(edge)}; correct it"
                )
        self._refuse_cycles()

    def _refuse_cycles(self) -> None:
        reads: dict[int, list[int]] = {node: [] for node in range(len(self.nodes))}
        for start, end in self.edges:
            reads[end].append(start)
        try:
            TopologicalSorter(reads).prepare()
        except CycleError as error:
            path = " -> ".join(str(node) for node in error.args[1])
            raise NetworkSyntaxError(
                f"a graph must have no cycle, got nodes {path}; take one of these edges away"
            ) from error

    @classmethod
    def of_json(cls, text: str) -> CellGraph:
        """One graph of the format above. Raises NetworkSyntaxError for any other text."""
        try:
            found = json.loads(text)
            nodes, edges = found["nodes"], found["edges"]
            pairs = tuple((_whole(start), _whole(end)) for start, end in edges)
            return cls(tuple(map(str, nodes)), pairs)
        except (ValueError, KeyError, TypeError) as error:
            raise NetworkSyntaxError(
                'a graph is written {"nodes": ["input", ...], "edges": [[0, 1], ...]}, got '
                f"{text[:60]!r}; see the page on accuracies"
            ) from error


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(value)
    return value


NB201_EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
TB101_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""States that an edge joins, in the order of the published codes.

With these, cells that compute the same have the same accuracies: which one it is explains 98 % of
the ranks' variance for NAS-Bench-201, and 84 to 96 % for TransNAS-Bench-101 micro (7 to 55 % in the
other order).
"""

NB201 = ("skip", "zero", "conv_3x3", "conv_1x1", "avg_pool")
_TB101 = ("zero", "skip", "conv_1x1", "conv_3x3")
_NB101 = (INPUT, OUTPUT, "max_pool", "conv_1x1", "conv_3x3")
_NB301 = (
    *("max_pool", "avg_pool", "skip", "sep_conv_3x3", "sep_conv_5x5"),
    *("dil_conv_3x3", "dil_conv_5x5"),
)


def _on_edges(code: IntArray, names: Sequence[str], edges: Sequence[tuple[int, int]]) -> CellGraph:
    """A cell of four states with an operation on each of its edges."""
    return _used([INPUT, *_named(code, names), OUTPUT], line_graph(edges))


def _nb101(code: IntArray) -> CellGraph:
    """A 7x7 adjacency matrix row by row, then seven operations."""
    return _used(_named(code[49:], _NB101), code[:49].reshape(7, 7))


def _used(names: Sequence[str], adjacency: FloatArray | IntArray) -> CellGraph:
    """Without nodes that are `zero`, or that no way from input to output leads through: what is
    trained is the same network without them."""
    first, last = names.index(INPUT), names.index(OUTPUT)
    there = np.array([name != "zero" for name in names])
    live = adjacency * there[:, None] * there
    reach = np.linalg.matrix_power(np.eye(len(names)) + live, len(names)) > 0
    used = np.flatnonzero(reach[first] & reach[:, last] | np.isin(range(len(names)), (first, last)))
    return CellGraph(tuple(names[int(k)] for k in used), _pairs(live[np.ix_(used, used)]))


def _nb301(code: IntArray) -> CellGraph:
    """A normal cell and the reduction cell that reads it; each has two inputs, and four states of
    two operations (Liu et al., DARTS, ICLR 2019, section 2.1)."""
    nodes: list[str] = []
    edges: list[tuple[int, int]] = []
    for cell in code.reshape(2, 8, 2):
        first, before = len(nodes), [k for k, node in enumerate(nodes) if node == OUTPUT]
        nodes += [INPUT, INPUT, *_named(cell[:, 1], _NB301), OUTPUT]
        edges += [(end, first + k) for end in before for k in (0, 1)]
        for k, state in enumerate(cell[:, 0]):
            reads = [state] if state < 2 else [2 * state - 2, 2 * state - 1]
            edges += [(first + int(r), first + 2 + k) for r in reads]
        edges += [(first + 2 + k, first + 10) for k in range(8)]
    return CellGraph(tuple(nodes), tuple(edges))


def _named(code: IntArray, names: Sequence[str]) -> list[str]:
    if not (code.min() >= 0 and code.max() < len(names)):
        raise NetworkSyntaxError(
            f"operations are 0 to {len(names) - 1}, got {code.min()} to {code.max()}; check the "
            "code, or give the graph as JSON"
        )
    return [names[k] for k in code]


def _pairs(adjacency: FloatArray | IntArray) -> tuple[tuple[int, int], ...]:
    return tuple((int(a), int(b)) for a, b in zip(*np.nonzero(adjacency), strict=True))


SPACES: Mapping[str, Callable[[IntArray], CellGraph]] = {
    "nb101": _nb101,
    "nb201": lambda code: _on_edges(code, NB201, NB201_EDGES),
    "nb301": _nb301,
    "tb101_micro": lambda code: _on_edges(code, _TB101, TB101_EDGES),
}
"""From a network's code in the published tables, (P,), to its graph."""


def rows(graphs: Sequence[CellGraph], nodes: int | None = None) -> FloatArray:
    """Graphs as feature rows (N, V + V * V): operations, PAD behind the last one, and which node
    (row) is read by which (column). nodes: V, that of the largest graph where None."""
    places = max((len(graph.nodes) for graph in graphs), default=1) if nodes is None else nodes
    found = np.zeros((len(graphs), places + places**2))
    found[:, :places] = PAD
    for row, graph in zip(found, graphs, strict=True):
        row[: len(graph.nodes)] = [VOCABULARY.index(node) for node in graph.nodes]
        for start, end in graph.edges:
            row[places + places * start + end] = 1
    return found


def places_of(width: int) -> int:
    """V of rows that are `width` = V + V * V long. Raises ValueError for any other length."""
    places = (math.isqrt(4 * width + 1) - 1) // 2
    if places < 1 or places + places**2 != width:
        raise ValueError(f"features must be (M, V + V * V), graphs of V nodes, got {width} columns")
    return places
