"""NAS-Bench-201 as a search space: 15,625 networks, named by the published string of their cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from farm.core.errors import NetworkSyntaxError
from farm.core.values import Network
from farm.spaces.codes import operation_index, quoted
from farm.spaces.graph import Graph
from farm.spaces.nb201.features import FEATURE_NAMES, cell_features, representatives
from farm.spaces.nb201.graph import EDGES, OPERATIONS, Cell, network_graph
from farm.spaces.onnx.export import to_onnx

FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"


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
        return network_graph(parse_cell(network.code))

    def representatives(self, networks: Sequence[Network]) -> list[Network]:
        """For each network the first that has its graph: 6,864 of 15,625 are."""
        cells = [parse_cell(network.code) for network in networks]
        positions = np.array([[OPERATIONS.index(op) for op in cell] for cell in cells], dtype=int)
        rows = representatives(positions.reshape(-1, len(EDGES)))
        return [Network(self.name, cell_text([OPERATIONS[op] for op in row])) for row in rows]

    def model(self, network: Network) -> ModelProto:
        """The network as an ONNX model."""
        return to_onnx(self.graph(network))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of `features`."""
        return FEATURE_NAMES

    def features(self, networks: Sequence[Network]) -> NDArray[np.float64]:
        """(N, 40) float64, not standardised: see `nb201.features.cell_features`."""
        return cell_features([parse_cell(network.code) for network in networks])


def cell_text(cell: Sequence[str]) -> str:
    """The published string of a cell."""
    parts = [f"{op}~{source}" for op, (source, _) in zip(cell, EDGES, strict=True)]
    return "+".join(f"|{'|'.join(parts[a:b])}|" for a, b in ((0, 1), (1, 3), (3, 6)))


def parse_cell(text: str) -> Cell:
    """The inverse of `cell_text`. Raises NetworkSyntaxError."""
    nodes = text.split("+")
    if len(nodes) != 3 or not all(len(n) > 1 and n[0] == n[-1] == "|" for n in nodes):
        raise NetworkSyntaxError(f"a NAS-Bench-201 cell has the form {FORM}, got {quoted(text)}")
    return tuple(op for target, node in enumerate(nodes, 1) for op in _parse_node(node, target))


@cache  # there are 155 that it takes
def _parse_node(text: str, target: int) -> tuple[str, ...]:
    """The operations of the edges into node `target`."""
    edges = text[1:-1].split("|")
    if len(edges) != target:
        raise NetworkSyntaxError(
            f"node {target} of a NAS-Bench-201 cell has {target} incoming edges, "
            f"got {len(edges)} in {quoted(text)}; the form is {FORM}"
        )
    return tuple(_parse_edge(edge, source) for source, edge in enumerate(edges))


def _parse_edge(text: str, source: int) -> str:
    operation, _, node = text.partition("~")
    operation_index(operation, OPERATIONS)
    if node != str(source):
        raise NetworkSyntaxError(
            f"expected '{operation}~{source}', got {quoted(text)}; the form is {FORM}"
        )
    return operation
