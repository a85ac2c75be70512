"""What stands in a cell, and what lies on the ways through it: the most, the fewest, the mean.

How many convolutions a signal passes says more of accuracy than which edge has them. NAS-Bench's
path encoding (White et al., BANANAS, AAAI 2021) has a column for each path instead, and so many
columns that few networks share one.
"""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import TopologicalSorter

import numpy as np

from predictors import FloatArray
from predictors.encodings.cells import INPUT, OUTPUT, VOCABULARY, CellGraph

CONVOLUTIONS = tuple(word for word in VOCABULARY if "conv" in word)
KINDS = (*((word,) for word in VOCABULARY if word not in (INPUT, OUTPUT)), CONVOLUTIONS)
"""Each operation by itself, and all convolutions together."""


def counts(graphs: Sequence[CellGraph]) -> FloatArray:
    """(N, S): how often each of KINDS stands in a network; the logarithm of 1 + the number of ways
    from an input to an output; the most, the fewest and the mean of each kind on a way, 0 without
    a way. Columns that are the same for all networks are left out."""
    found = np.array([_counts(graph) for graph in graphs]).reshape(len(graphs), 1 + 4 * len(KINDS))
    return found[:, (found != found[:1]).any(0)]


def _counts(graph: CellGraph) -> FloatArray:
    """(1 + 4 K,)."""
    own = np.array([[node in kind for kind in KINDS] for node in graph.nodes], float)
    return np.concatenate([own.sum(0), _on_ways(graph, own)])


def _on_ways(graph: CellGraph, own: FloatArray) -> FloatArray:
    """(1 + 3 K,), of which kinds (V, K) each node is. Node by node, after all that it reads."""
    reads: dict[int, list[int]] = {node: [] for node in range(len(graph.nodes))}
    for start, end in graph.edges:
        reads[end].append(start)
    ways, total = np.zeros(len(own)), np.zeros_like(own)
    most, fewest = np.full_like(own, -np.inf), np.full_like(own, np.inf)
    for node in TopologicalSorter(reads).static_order():
        before = reads[node]
        ways[node] = ways[before].sum()
        total[node] = total[before].sum(0) + ways[node] * own[node]
        if before:
            most[node] = most[before].max(0) + own[node]
            fewest[node] = fewest[before].min(0) + own[node]
        if graph.nodes[node] == INPUT and not before:
            ways[node], most[node], fewest[node] = 1, own[node], own[node]
    ends = [k for k, word in enumerate(graph.nodes) if word == OUTPUT and ways[k]]
    if not ends:
        return np.zeros(1 + 3 * len(KINDS))
    count = ways[ends].sum()
    parts = most[ends].max(0), fewest[ends].min(0), total[ends].sum(0) / count
    return np.concatenate([[np.log1p(count)], *parts])
