"""Plans of networks segment by segment: the kernels of the whole, without the whole."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from farm.compile import alone
from farm.prediction import planned
from farm.spaces import SPACES, space
from farm.spaces.batch import with_batch
from farm.spaces.graph import INPUT, Graph, Value, apply, build
from farm.spaces.nb201.graph import network_graph
from farm.spaces.onnx.export import to_onnx
from farm.spaces.ops import (
    Add,
    AvgPool,
    BatchNorm,
    ChannelShuffle,
    Conv,
    GlobalAvgPool,
    Linear,
    Relu,
    Zeros,
)
from farm.spaces.segments import segments

NONE, SKIP, CONV1, CONV3, POOL = (
    *("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"),
)
CELLS = {
    "constant": (NONE,) * 6,
    "constant behind a convolution": (NONE, NONE, CONV3, NONE, CONV1, CONV1),
    "constant beside the input": (NONE, SKIP, NONE, SKIP, CONV1, CONV3),
    "sums of one value": (SKIP, SKIP, SKIP, SKIP, SKIP, SKIP),
    "pools": (POOL,) * 6,
    "a ReLU for all its readers": (CONV3, CONV3, CONV3, CONV3, CONV3, CONV3),
    "a ReLU that some read as it is": (CONV3, CONV1, CONV3, CONV3, CONV1, CONV1),
}


def kernels(graph: Graph, batch: int = 1) -> Counter[alone.Kernel]:
    return Counter(alone.calls_of(with_batch(to_onnx(graph), batch)))


def by_segments(graph: Graph) -> Counter[alone.Kernel]:
    return Counter(kernel for part in segments(graph) for kernel in alone.calls_of(to_onnx(part)))


def odd_graph(reader: Value, middle: Value) -> Graph:
    x = apply(Add(), reader, middle)
    return build((1, 8, 9, 9), apply(Linear(4), apply(GlobalAvgPool(), x)))


def odd_graphs() -> dict[str, Graph]:
    """What no search space has together."""
    conv, relu = Conv(8, 3), Relu()
    of_input, shuffled = apply(relu, INPUT), apply(ChannelShuffle(2), apply(conv, INPUT))
    pooled = apply(AvgPool(3, 1, 1), INPUT)
    constant = apply(conv, apply(Zeros((1, 8, 9, 9))))
    mean = apply(GlobalAvgPool(), apply(conv, INPUT))
    return {
        "of the input": odd_graph(apply(conv, of_input), apply(Conv(8, 5), of_input)),
        "of views": odd_graph(apply(conv, apply(relu, shuffled)), pooled),
        "of views that two read": odd_graph(apply(conv, apply(relu, shuffled)), shuffled),
        "of sums": odd_graph(apply(conv, apply(relu, apply(Add(), pooled, constant))), constant),
        "twice": odd_graph(apply(relu, apply(relu, apply(conv, INPUT))), INPUT),
        "normalised": odd_graph(apply(BatchNorm(), of_input), apply(Conv(8, 1), of_input)),
        "after the mean": build((1, 8, 9, 9), apply(Linear(4), apply(relu, mean))),
        "at the end": build((1, 8, 9, 9), apply(relu, apply(Add(), pooled, pooled))),
    }


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_segments_of_hand_picked_cells_have_their_kernels(cell: tuple[str, ...]) -> None:
    graph = network_graph(cell)
    assert by_segments(graph) == kernels(graph)


@pytest.mark.parametrize("name", odd_graphs())
def test_segments_of_odd_graphs_have_their_kernels(name: str) -> None:
    graph = odd_graphs()[name]
    assert by_segments(graph) == kernels(graph)


@pytest.mark.parametrize(("name", "batch"), [*((name, 1) for name in SPACES), ("nb201", 4)])
def test_plans_of_a_sample_are_those_of_whole_networks(name: str, batch: int) -> None:
    searched = space(name)
    networks = searched.sample(25, np.random.default_rng(batch))
    definitions, found = planned.plan(None, name, networks, batch)
    assert list(found) == networks
    for network, counts in found.items():
        whole = alone.calls_of(with_batch(searched.model(network), batch))
        assert counts == Counter(map(alone.name_of, whole))
        assert {alone.defined(definitions[code]) for code in counts} == set(whole)


def test_networks_have_most_segments_in_common() -> None:
    searched = space("fbnet")
    networks = searched.sample(40, np.random.default_rng(0))
    every = [part for network in networks for part in segments(searched.graph(network))]
    assert len(set(every)) < len(every) / 10
