"""Networks of a space as graphs: one node for each operation, the same edges in all networks.

The operations are those of Vec, so that graph networks read the same rows as everyone else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from predictors import FloatArray


@dataclass(frozen=True, eq=False)
class OperationGraph:
    """An input, P operations and an output.

    adjacency: (P + 2, P + 2), 1 where the second node reads what the first one writes. kinds: of
    operations.
    """

    adjacency: FloatArray
    kinds: int

    @classmethod
    def of(cls, vec: FloatArray, edges: Sequence[tuple[int, int]] | None = None) -> OperationGraph:
        """vec: (N, P * kinds) of 0 and 1, with one 1 in each position, as `vec.one_hot` makes it.

        edges: of a cell with its operations on the edges, P pairs of states (from, to); the first
        state is the input, the last the output. None: the operations follow one another.
        Raises ValueError for rows that are not one-hot, or other than P edges.
        """
        count = int(vec[0].sum()) if len(vec) else 0
        if not count or vec.shape[1] % count or not np.isin(vec, (0, 1)).all():
            raise ValueError("a graph needs one-hot operations, unscaled: the rows of Vec")
        positions = vec.reshape(len(vec), count, -1)
        if (positions.sum(2) != 1).any():
            raise ValueError("`vec` must have exactly one operation in each position")
        pairs = [(i, i + 1) for i in range(count)] if edges is None else list(edges)
        if len(pairs) != count:
            raise ValueError(f"{count} operations need as many `edges`, got {len(pairs)}")
        return cls(line_graph(pairs), positions.shape[2])

    @property
    def width(self) -> int:
        """Columns of Vec that it reads; what follows them is another encoding's."""
        return (len(self.adjacency) - 2) * self.kinds


def line_graph(edges: Sequence[tuple[int, int]]) -> FloatArray:
    """Edges of states as nodes, (P + 2, P + 2) of 0 and 1, with an input and an output: one reads
    another where it begins in the state where that ends."""
    last = max(end for _, end in edges)
    starts = np.array([-1, *(start for start, _ in edges), last])
    ends = np.array([0, *(end for _, end in edges), -2])
    return np.asarray(ends[:, None] == starts[None, :], np.float64)
