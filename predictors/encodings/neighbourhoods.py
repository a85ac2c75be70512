"""How often each operation stands in a cell, by itself and with what it reads.

Shervashidze et al., Weisfeiler-Lehman Graph Kernels, JMLR 2011, section 2; put to cells by Ru et
al., NAS-BOWL, ICLR 2021. Graphs of one table share columns; cells of the same graph are alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from predictors import FloatArray
from predictors.encodings.cells import CellGraph

FEWEST = 5
"""Networks that must have a label; rarer ones say little of others."""


def counts(graphs: Sequence[CellGraph], depth: int) -> FloatArray:
    """(N, S), of labels in the order of their names; depth 0: operations alone."""
    found = [_labels(graph, depth) for graph in graphs]
    having = Counter(label for labels in found for label in labels)
    columns = sorted(label for label, networks in having.items() if networks >= FEWEST)
    values = [[labels[label] for label in columns] for labels in found]
    return np.array(values, float).reshape(len(graphs), len(columns))


def _labels(graph: CellGraph, depth: int) -> Counter[str]:
    labels = list(graph.nodes)
    found = Counter(labels)
    for _ in range(depth):
        reads: list[list[str]] = [[] for _ in labels]
        for start, end in graph.edges:
            reads[end].append(labels[start])
        labels = [f"{own}({','.join(sorted(r))})" for own, r in zip(labels, reads, strict=True)]
        found.update(labels)
    return found
