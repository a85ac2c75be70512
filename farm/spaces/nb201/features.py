"""What a latency predictor sees of NAS-Bench-201 networks: all 15,625 in a fraction of a second.

The 15 cells of a network are alike, so its counts follow from the six edges of one cell, and all
networks are counted at once. The counts are those of each network's graph; tests hold that.
Cells that simplify to the same graph (15,625 cells have 6,863) are one cell to a predictor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from farm.spaces.counts import ANALYTIC_NAMES, COUNTS, analytic_features, count_vector
from farm.spaces.graph import Graph
from farm.spaces.nb201.graph import (
    CELLS_PER_STAGE,
    EDGES,
    KERNELS,
    OPERATIONS,
    STAGE_SHAPES,
    Cell,
    cell_graph,
    network_graph,
)
from farm.spaces.ops import Shape

_CELL_NODES = 4

# Kernels on the longest path: a convolution; pool and convolution, or two; mean and linear layer.
_STEM_DEPTH, _RESIDUAL_DEPTH, _HEAD_DEPTH = 1, 2, 2

_TABLE = (len(OPERATIONS),) * len(EDGES)

_IS_CONV = np.array([name in KERNELS for name in OPERATIONS])
_IS_NONE = np.array([name == "none" for name in OPERATIONS])
_HAS_KERNEL = ~_IS_NONE & np.array([name != "skip_connect" for name in OPERATIONS])

_PARAMETERS = COUNTS.index("parameters")

FEATURE_NAMES = (
    *(f"edge{a}-{b}={name}" for a, b in EDGES for name in OPERATIONS[1:]),
    *(f"count={name}" for name in OPERATIONS[1:]),
    "connected",
    *ANALYTIC_NAMES,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


def cell_features(cells: Sequence[Cell]) -> Floats:
    """(N, len(FEATURE_NAMES)) float64, not standardised, of each cell's representative.

    24 columns: does this edge carry this operation of something that depends on the input. 4: how
    many edges do. 1: does the output depend on the input. The others are
    `counts.analytic_features`. Networks that have the same graph have the same features.
    """
    positions = [[OPERATIONS.index(op) for op in cell] for cell in cells]
    ops = representatives(np.array(positions, dtype=np.int64).reshape(-1, len(EDGES)))
    live, connected = live_edges(ops)
    run = edges_at_run_time(live)
    each = np.eye(len(OPERATIONS))[ops]
    held = each * run[:, :, None]
    totals = _totals(live, run, connected, each)
    analytic = analytic_features(totals, _depths(ops, run, connected))
    edges = [held[:, edge, 1:] for edge in range(len(EDGES))]
    return np.column_stack([*edges, held.sum(axis=1)[:, 1:], connected, analytic])


def representatives(ops: Ints) -> Ints:
    """For each cell the first one, in the order of `NB201.all_networks`, that has its graph.

    ops: (N, 6), positions in `OPERATIONS`. Returns (N, 6). The first call takes half a second.
    """
    found: Ints = _representatives()[np.ravel_multi_index(tuple(ops.T), _TABLE)]
    return found


@cache
def _representatives() -> Ints:
    """(15625, 6): the representatives of all cells."""
    ops = np.indices(_TABLE).reshape(len(EDGES), -1).T
    pruned, position = np.unique(ops * live_edges(ops)[0], axis=0, return_inverse=True)
    first: dict[Graph, Ints] = {}
    found = [first.setdefault(_graph_of(cell), cell) for cell in pruned]
    return np.array(found)[position]


def _graph_of(ops: Ints) -> Graph:
    return cell_graph(tuple(OPERATIONS[op] for op in ops), STAGE_SHAPES[0])


def live_edges(ops: Ints) -> tuple[Bools, Bools]:
    """Which edges are in a network's graph, (N, 6), and does its output need its input, (N,).

    ops: (N, 6), positions in `OPERATIONS`. An edge that the output needs is live if its source is
    not all zeros; a convolution, even if it is (see `graph`).
    """
    filled = np.zeros((len(ops), _CELL_NODES), dtype=bool)
    filled[:, 0] = True
    carries = np.zeros(ops.shape, dtype=bool)
    for edge, (a, b) in enumerate(EDGES):
        carries[:, edge] = _IS_CONV[ops[:, edge]] | (~_IS_NONE[ops[:, edge]] & filled[:, a])
        filled[:, b] |= carries[:, edge]
    needed = np.zeros_like(filled)
    needed[:, -1] = True
    for edge, (a, b) in reversed(list(enumerate(EDGES))):
        carries[:, edge] &= needed[:, b]
        needed[:, a] |= carries[:, edge]
    return carries, needed[:, 0]


def edges_at_run_time(live: Bools) -> Bools:
    """Which live edges (N, 6) carry something that depends on the input; the others, constants."""
    depends = np.zeros((len(live), _CELL_NODES), dtype=bool)
    depends[:, 0] = True
    run = np.zeros_like(live)
    for edge, (a, b) in enumerate(EDGES):
        run[:, edge] = live[:, edge] & depends[:, a]
        depends[:, b] |= run[:, edge]
    return run


def _totals(live: Bools, run: Bools, connected: Bools, each: Floats) -> Floats:
    """(N, len(COUNTS)): counts of whole networks. each: (N, 6, 5), one-hot operations.

    Constants cost parameters only. Where the output does not need the input, all is constant, and
    nothing before the last cell is needed.
    """
    edge_costs, sum_costs, skeleton, head = _costs()
    held, kept = ((each * edges[:, :, None]).sum(axis=1) for edges in (run, live))
    cells = np.einsum("no,soc->snc", held, edge_costs)
    cells += np.einsum("n,sc->snc", _sums(run), sum_costs)
    cells[..., _PARAMETERS] = np.einsum("no,so->sn", kept, edge_costs[..., _PARAMETERS])
    totals = np.zeros((len(live), len(COUNTS)))
    totals[connected] = (skeleton + CELLS_PER_STAGE * cells.sum(axis=0))[connected]
    totals[~connected, _PARAMETERS] = (head + cells[-1])[~connected, _PARAMETERS]
    return totals


def _sums(run: Bools) -> Floats:
    """(N,): additions in a cell of two terms that depend on the input."""
    terms = [run[:, [b == node for _, b in EDGES]].sum(axis=1) for node in range(1, _CELL_NODES)]
    total: Floats = np.maximum(np.array(terms, dtype=float) - 1, 0).sum(axis=0)
    return total


def _depths(ops: Ints, run: Bools, connected: Bools) -> Floats:
    """(N,): kernels on the longest path of whole networks; 0 for one that is all constant."""
    depths = np.full(len(ops), float(_STEM_DEPTH))
    for stage in range(len(STAGE_SHAPES)):
        depths += _RESIDUAL_DEPTH if stage else 0
        for _ in range(CELLS_PER_STAGE):
            depths = _cell_depths(ops, run, depths)
    return np.where(connected, depths + _HEAD_DEPTH, 0)


def _cell_depths(ops: Ints, run: Bools, before: Floats) -> Floats:
    """(N,): depth at a cell's output, given the depth (N,) at its input."""
    depths = np.zeros((len(ops), _CELL_NODES))
    depths[:, 0] = before
    for edge, (a, b) in enumerate(EDGES):
        through = depths[:, a] + _HAS_KERNEL[ops[:, edge]]
        depths[:, b] = np.maximum(depths[:, b], np.where(run[:, edge], through, 0))
    return depths[:, -1]


@cache
def _costs() -> tuple[Floats, Floats, Floats, Floats]:
    """Counts of an edge, (3, 5, C), and a sum, (3, C), by stage; of skeleton and head, (C,) each.

    Each is counted in a graph that holds nothing else. C: len(COUNTS).
    """
    edges = [[_alone(op, shape) for op in OPERATIONS] for shape in STAGE_SHAPES]
    doubled = _cell({(0, 1): "skip_connect", (1, 3): "skip_connect", (0, 3): "skip_connect"})
    sums = [count_vector(cell_graph(doubled, shape)) for shape in STAGE_SHAPES]
    skeleton = count_vector(network_graph(_cell({(0, 3): "skip_connect"})))
    return np.array(edges), np.array(sums), skeleton, count_vector(network_graph(_cell({})))


def _alone(operation: str, shape: Shape) -> Floats:
    """Counts, (C,), of a cell that is one edge."""
    return count_vector(cell_graph(_cell({(0, 3): operation}), shape))


def _cell(held: Mapping[tuple[int, int], str]) -> Cell:
    """The cell with the given operations; its other edges are `none`."""
    return tuple(held.get(edge, "none") for edge in EDGES)
