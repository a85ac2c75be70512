"""Cells of known spaces as graphs, graphs as JSON, and both as rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from farm.core.errors import NetworkSyntaxError
from predictors.encodings import cells, paths
from predictors.encodings.cells import PAD, VOCABULARY, CellGraph
from predictors.models.cell_gcn import graphs_of

Published = Callable[[str], Mapping[str, Any]]

CHAIN = '{"nodes": ["input", "conv_3x3", "output"], "edges": [[0, 1], [1, 2]]}'


class TestSpaces:
    def test_an_operation_on_an_edge_reads_what_ends_where_it_begins(self) -> None:
        graph = cells.SPACES["nb201"](np.array([0, 0, 2, 3, 4, 2]))
        assert graph.nodes[1:-1] == ("skip", "skip", "conv_3x3", "conv_1x1", "avg_pool", "conv_3x3")
        into = {end: sorted(a for a, b in graph.edges if b == end) for end in range(8)}
        assert into == {0: [], 1: [0], 2: [0], 3: [0], 4: [1], 5: [1], 6: [2, 4], 7: [3, 5, 6]}

    def test_codes_of_the_micro_space_list_edges_by_where_they_end(self) -> None:
        # 0->1, 0->2, 1->2, 0->3, 1->3, 2->3: a chain over all states, and what reads nothing.
        graph = cells.SPACES["tb101_micro"](np.array([3, 0, 2, 0, 0, 1]))
        chain = ["input", "conv_3x3", "conv_1x1", "skip", "output"]
        assert graph == CellGraph(tuple(chain), ((0, 1), (1, 2), (2, 3), (3, 4)))
        assert cells.SPACES["tb101_micro"](np.array([0, 0, 2, 0, 3, 0])).edges == ()

    def test_nodes_that_lead_nowhere_are_left_out(self) -> None:
        adjacency = np.zeros((7, 7), int)
        adjacency[0, 1] = adjacency[1, 6] = adjacency[0, 2] = adjacency[3, 6] = 1
        code = np.concatenate([adjacency.ravel(), [0, 4, 3, 2, 2, 2, 1]])
        graph = cells.SPACES["nb101"](code)
        assert graph == CellGraph.of_json(CHAIN)

    def test_the_reduction_cell_reads_the_normal_one(self) -> None:
        cell = [[0, 3], [1, 2], [0, 0], [2, 1], [3, 4], [1, 5], [0, 6], [4, 2]]
        graph = cells.SPACES["nb301"](np.array([cell, cell]).ravel())
        assert len(graph.nodes) == 22
        assert {(10, 11), (10, 12)} <= set(graph.edges)
        # The second operation of the second state reads state 2: both operations of the first one.
        assert sorted(a for a, b in graph.edges if b == 5) == [2, 3]
        assert sorted(a for a, b in graph.edges if b == 21) == list(range(13, 21))

    def test_an_operation_that_the_space_does_not_have_is_refused(self) -> None:
        with pytest.raises(NetworkSyntaxError, match="operations are 0 to 3, got 0 to 4"):
            cells.SPACES["tb101_micro"](np.array([0, 1, 2, 3, 4, 0]))


@pytest.mark.parametrize(("space", "share"), [("nb201", 0.95), ("tb101_micro", 0.8)])
def test_codes_of_one_graph_are_as_accurate(published: Published, space: str, share: float) -> None:
    table = published(f"accuracy_{space}.npz")
    graphs = [cells.SPACES[space](code.ravel().astype(int)) for code in table["code"]]
    _, group, size = np.unique(
        [repr(graph) for graph in graphs], return_inverse=True, return_counts=True
    )
    several = size[group] > 1
    assert several.sum() > 200
    for accuracy in table["accuracy"]:
        rank = accuracy.argsort().argsort().astype(float)
        within = rank - (np.bincount(group, rank) / size)[group]
        freedom = several.sum() - (size > 1).sum()
        assert (within[several] ** 2).sum() / freedom < (1 - share) * rank[several].var()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CHAIN.replace("[1, 2]", "[1, 2], [2, 1]"), "must have no cycle, got nodes 1 -> 2 -> 1"),
        (CHAIN.replace("[1, 2]", "[1, 2], [1, 1]"), "must have no cycle, got nodes 1 -> 1"),
        (CHAIN.replace("conv_3x3", "conv_3x4"), "no operation 'conv_3x4'; did you mean 'conv_3x3'"),
        (CHAIN.replace("[1, 2]", "[1, 3]"), "joins two of the 3 nodes, counted from 0, got [1, 3]"),
        (CHAIN.replace("output", "skip"), "a graph needs a node 'output'"),
        (CHAIN.replace("[1, 2]", "[1, 2.0]"), "a graph is written"),
        ("[1]", "a graph is written"),
        ("{", "a graph is written"),
    ],
)
def test_a_graph_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(NetworkSyntaxError, match=re.escape(message)) as error:
        CellGraph.of_json(text)
    assert "\n" not in str(error.value)


def test_rows_say_who_reads_whom() -> None:
    rows = cells.rows([CellGraph.of_json(CHAIN)], nodes=4)
    assert rows[0, :4].tolist() == [0, VOCABULARY.index("conv_3x3"), 1, PAD]
    nodes, reads = graphs_of(torch.tensor(rows))
    assert nodes.sum(2).tolist() == [[1, 1, 1, 0]]
    # Each reads itself and what comes before it; the global node all that are there.
    assert reads[0].tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [1, 1, 1, 0, 1],
    ]
    with pytest.raises(ValueError, match="graphs of V nodes, got 19 columns"):
        graphs_of(torch.zeros(1, 19))


def test_ways_through_a_cell_are_counted() -> None:
    edges = ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3))
    both = CellGraph(("input", "conv_3x3", "conv_1x1", "output"), edges)
    none = CellGraph(("input", "output"), ())
    found = paths.counts([both, none])
    # Ways: 1x1 alone, 3x3 alone, one after the other. Columns: 1x1, 3x3 and convolutions in all;
    # log(1 + ways); the most of each on a way; the fewest, where that is not 0; the mean.
    shares = [2 / 3, 2 / 3, 4 / 3]
    assert found[0].tolist() == pytest.approx([1, 1, 2, np.log(4), 1, 1, 2, 1, *shares])
    assert not found[1].any()
