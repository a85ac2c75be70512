"""What was published about these networks, beside what our graphs say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from farm.core.values import Network
from farm.spaces.counts import count
from farm.spaces.fbnet import OPERATIONS as FBNET_OPERATIONS
from farm.spaces.fbnet import fbnet32
from farm.spaces.graph import Graph
from farm.spaces.nb201.features import live_edges
from farm.spaces.nb201.graph import EDGES, OPERATIONS
from farm.spaces.nb201.space import NB201, parse_cell
from farm.spaces.ops import Add, Conv, Relu

Published = Callable[[str], Mapping[str, Any]]


def codes(table: Mapping[str, Any]) -> list[str]:
    return ["".join(str(digit) for digit in row) for row in table["ops"]]


def test_all_published_cells_are_our_networks(published: Published) -> None:
    table = published("nb201.npz")
    space = NB201()
    networks = [space.parse(text) for text in table["arch_str"]]
    assert [network.code for network in networks] == table["arch_str"].tolist()
    assert set(networks) == set(space.all_networks())


def test_operations_and_edges_are_in_published_order(published: Published) -> None:
    table = published("nb201.npz")
    assert table["op_names"].tolist() == list(OPERATIONS)
    assert table["edges"].tolist() == [f"{a}->{b}" for a, b in EDGES]
    assert published("fbnet.npz")["op_names"].tolist() == list(FBNET_OPERATIONS)
    for text, ops in zip(table["arch_str"][:500], table["ops"], strict=False):
        assert [OPERATIONS.index(op) for op in parse_cell(text)] == ops.tolist()


def test_eyeriss_is_linear_in_the_operations_of_a_cell(published: Published) -> None:
    """The published estimate is a sum over edges; 3x3 convolutions and pools weigh the same."""
    table = published("nb201.npz")
    cells = [parse_cell(text) for text in table["arch_str"]]
    weights_ms = {"nor_conv_1x1": 0.24576, "nor_conv_3x3": 1.47456, "avg_pool_3x3": 1.47456}
    expected_ms = [1.67954 + sum(weights_ms.get(op, 0) for op in cell) for cell in cells]
    eyeriss = table["devices"].tolist().index("eyeriss")
    np.testing.assert_allclose(table["latency_ms"][eyeriss], expected_ms, rtol=1e-5)


@pytest.mark.slow
def test_parameters_of_published_cells_without_dead_convolutions(published: Published) -> None:
    """The published count has all layers; ours has those that the output needs."""
    table = published("zcp_nb201_724.npz")
    space = NB201()
    networks = [space.parse(text) for text in table["arch_str"]]
    ours = np.array([count(space.graph(network)).parameters for network in networks])
    theirs = np.round(table["zcp"][:, table["proxy_names"].tolist().index("params")] * 1e6)
    cells = [parse_cell(network.code) for network in networks]
    live, connected = live_edges(np.array([[OPERATIONS.index(op) for op in c] for c in cells]))
    convolutions = np.array([[op.startswith("nor_conv") for op in cell] for cell in cells])
    none_dead = (convolutions <= live).all(axis=1)
    np.testing.assert_array_equal(ours == theirs, none_dead & connected)
    assert (ours <= theirs).all()
    assert (ours == theirs).sum() > 300


def test_parameters_of_all_published_fbnet_networks(published: Published) -> None:
    proxies, space = published("zcp_fbnet.npz"), fbnet32()
    networks = [space.parse(code) for code in codes(published("fbnet.npz"))]
    features = space.features(networks)
    ours = np.expm1(features[:, space.feature_names.index("log_parameters")])
    theirs = proxies["zcp"][:, proxies["names"].tolist().index("params")]
    np.testing.assert_allclose(ours, theirs, rtol=1e-7)


def test_published_flops_are_our_macs_and_element_wise_operations(published: Published) -> None:
    """Theirs count batch norm, ReLU and sums as well: so much an element, whatever the network."""
    proxies, space = published("zcp_fbnet.npz"), fbnet32()
    graphs = [space.graph(Network("fbnet32", code)) for code in codes(published("fbnet.npz"))[:60]]
    flops = proxies["zcp"][: len(graphs), proxies["names"].tolist().index("flops")]
    rest = flops - np.array([count(graph).macs for graph in graphs], dtype=float)
    elements = np.array([element_wise(graph) for graph in graphs], dtype=float)
    weights, *_ = np.linalg.lstsq(elements, rest, rcond=None)
    assert weights[:-1] == pytest.approx([1, 1, 1, 2], abs=1e-6)
    np.testing.assert_allclose(elements @ weights, rest, atol=8)


def element_wise(graph: Graph) -> list[int]:
    """Elements out of ReLUs, sums, convolutions, depthwise convolutions; and a constant."""

    def depthwise(op: object) -> bool:
        return isinstance(op, Conv) and op.groups > 2

    sizes = [(node.op, prod(graph.shapes[node.name])) for node in graph.nodes]
    return [
        sum(size for op, size in sizes if isinstance(op, Relu)),
        sum(size for op, size in sizes if isinstance(op, Add)),
        sum(size for op, size in sizes if isinstance(op, Conv) and not depthwise(op)),
        sum(size for op, size in sizes if depthwise(op)),
        1,
    ]


def test_macs_rank_as_the_published_fpga_does(published: Published) -> None:
    table, space = published("fbnet.npz"), fbnet32()
    features = space.features([space.parse(code) for code in codes(table)])
    fpga = table["latency_ms"][table["devices"].tolist().index("fpga")]
    macs = features[:, space.feature_names.index("macs")]
    assert spearmanr(macs, fpga).statistic > 0.97
