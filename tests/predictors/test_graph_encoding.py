"""Operations as graphs: who reads whom."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from predictors.encodings.graph import OperationGraph
from predictors.encodings.vec import one_hot
from predictors.models.gcn import nodes, with_global_node

CELL = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
VEC = one_hot(np.array([[0, 1, 2, 3, 4, 0], [4, 4, 4, 4, 4, 4]]), 5)


def test_operations_on_edges_read_those_that_end_where_they_begin() -> None:
    graph = OperationGraph.of(VEC, CELL)
    readers = [np.flatnonzero(row).tolist() for row in graph.adjacency]
    assert readers == [[1, 2, 4], [3, 5], [6], [6], [7], [7], [7], []]
    assert (graph.kinds, graph.width) == (5, 30)


def test_without_edges_they_follow_one_another() -> None:
    graph = OperationGraph.of(one_hot(np.array([[0, 1, 1]]), 2))
    np.testing.assert_array_equal(graph.adjacency, np.eye(5, k=1))


def test_scaled_rows_are_an_error() -> None:
    with pytest.raises(ValueError, match="one-hot operations, unscaled"):
        OperationGraph.of(VEC - VEC.mean(0))


def test_a_position_without_its_operation_is_an_error() -> None:
    broken = VEC.copy()
    broken[1, :5] = [1, 0, 0, 0, 1]
    broken[1, 5:10] = 0
    with pytest.raises(ValueError, match="exactly one operation in each position"):
        OperationGraph.of(broken)


def test_every_operation_needs_its_edge() -> None:
    with pytest.raises(ValueError, match="6 operations need as many `edges`, got 5"):
        OperationGraph.of(VEC, CELL[:-1])


def test_nodes_are_one_hot_and_ends_are_kinds_of_their_own() -> None:
    graph = OperationGraph.of(VEC, CELL)
    found = nodes(graph, torch.tensor(np.column_stack([VEC, [9.0, 9.0]])))
    kinds = found.argmax(-1).tolist()
    assert kinds == [[5, 0, 1, 2, 3, 4, 0, 6], [5, 4, 4, 4, 4, 4, 4, 6]]
    np.testing.assert_array_equal(found.sum(-1), 1)


def test_all_nodes_read_themselves_and_the_global_one_reads_all() -> None:
    reads = with_global_node(OperationGraph.of(VEC, CELL))
    assert [torch.nonzero(row)[:, 0].tolist() for row in reads] == [
        [0],
        [0, 1],
        [0, 2],
        [1, 3],
        [0, 4],
        [1, 5],
        [2, 3, 6],
        [4, 5, 6, 7],
        [0, 1, 2, 3, 4, 5, 6, 7, 8],
    ]
