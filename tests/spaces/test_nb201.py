"""NAS-Bench-201 against a literal reading of the paper, and its text form."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from network_forms import (
    assert_one_definition,
    assert_same_output,
    random_input,
    randomise,
    torch_output,
)
from torch import Tensor, nn

from farm.core.errors import NetworkSyntaxError
from farm.spaces.counts import count, count_vector, depth
from farm.spaces.nb201.features import representatives
from farm.spaces.nb201.graph import EDGES, OPERATIONS, STAGE_SHAPES, Cell, cell_graph, network_graph
from farm.spaces.nb201.space import NB201, cell_text, parse_cell
from farm.spaces.onnx.export import to_onnx
from farm.spaces.torch_module import GraphModule, to_torch

NONE, SKIP, CONV1, CONV3, POOL = OPERATIONS

# Edges in the order 0->1, 0->2, 1->2, 0->3, 1->3, 2->3.
HAND_PICKED = {
    "all none": (NONE,) * 6,
    "all skip": (SKIP,) * 6,
    "all pool": (POOL,) * 6,
    "all conv3x3": (CONV3,) * 6,
    "cut off at the output": (CONV3, CONV1, CONV3, NONE, NONE, NONE),
    "cut off at the input": (NONE, NONE, CONV3, NONE, CONV1, CONV1),
    "convolution of zeros beside the input": (NONE, SKIP, NONE, SKIP, CONV1, CONV3),
    "zeros skipped and pooled": (NONE, NONE, SKIP, CONV3, POOL, SKIP),
    "dead convolution": (CONV3, SKIP, NONE, NONE, NONE, CONV1),
    "same node twice": (SKIP, CONV3, CONV3, CONV1, CONV1, NONE),
}

cells = st.tuples(*[st.sampled_from(OPERATIONS)] * 6)
quick = settings(deadline=None, derandomize=True, max_examples=40)


class Zeroize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 0


def relu_conv_norm(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(c_out))


def edge_module(operation: str, channels: int) -> nn.Module:
    return {
        NONE: Zeroize,
        SKIP: nn.Identity,
        CONV1: lambda: relu_conv_norm(channels, channels, 1),
        CONV3: lambda: relu_conv_norm(channels, channels, 3),
        POOL: lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    }[operation]()


class LiteralCell(nn.Module):
    """Every edge is evaluated, whatever becomes of it."""

    def __init__(self, cell: Cell, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList([edge_module(operation, channels) for operation in cell])

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x, torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)]
        for (source, target), edge in zip(EDGES, self.edges, strict=True):
            nodes[target] = nodes[target] + edge(nodes[source])
        return nodes[3]


class LiteralResidual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.first = relu_conv_norm(channels // 2, channels, 3, stride=2)
        self.second = relu_conv_norm(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(nn.functional.avg_pool2d(x, 2, 2))
        return shortcut + self.second(self.first(x))


class LiteralNetwork(nn.Module):
    """The skeleton of the paper's figure 1."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        self.body = nn.ModuleList()
        for channels in (16, 32, 64):
            if channels > 16:
                self.body.append(LiteralResidual(channels))
            self.body.extend(LiteralCell(cell, channels) for _ in range(5))
        self.norm = nn.BatchNorm2d(64)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.body:
            x = block(x)
        return self.head(torch.relu(self.norm(x)).mean(dim=(2, 3)))

    def parts(self, order: tuple[int, ...], *, connected: bool) -> Iterator[nn.Module]:
        """Layers in the order of our graph, if a cell's live convolutions are edges `order`."""
        if connected:
            yield self.stem
        for block in self.body if connected else self.body[-1:]:
            if isinstance(block, LiteralCell):
                yield from (block.edges[edge] for edge in order)
            else:
                yield from (block.first, block.second, block.shortcut)
        yield from (self.norm, self.head)


def load(module: GraphModule, parts: list[nn.Module]) -> bool:
    """Copy the parts' states into the module's layers; False if they do not fit."""
    layers = [layer for layer in module.layers.values() if list(layer.parameters())]
    states = [list(part.state_dict().values()) for part in parts]
    ours = [list(layer.state_dict().values()) for layer in layers]
    if [[t.shape for t in state] for state in states] != [[t.shape for t in o] for o in ours]:
        return False
    for state, own in zip(states, ours, strict=True):
        for source, target in zip(state, own, strict=True):
            target.copy_(source)
    return True


def candidate_modules(cell: Cell, literal: LiteralNetwork) -> Iterator[GraphModule]:
    """Our module with the literal network's weights, for every way to identify convolutions."""
    graph = network_graph(cell)
    connected = any("input" in node.inputs for node in graph.nodes)
    live = sum("conv" in node.name for node in cell_graph(cell, STAGE_SHAPES[2]).nodes)
    convolutions = [edge for edge, operation in enumerate(cell) if operation in (CONV1, CONV3)]
    module = to_torch(graph).eval()
    for order in permutations(convolutions, live):
        if load(module, list(literal.parts(order, connected=connected))):
            yield module


def few_convolutions(n: int) -> list[Cell]:
    """Random cells in which convolutions can be identified by trying."""
    networks = NB201().sample(300, np.random.default_rng(5))
    found = [parse_cell(network.code) for network in networks]
    return [cell for cell in found if 1 <= sum(op in (CONV1, CONV3) for op in cell) <= 4][:n]


@pytest.mark.parametrize(
    "cell", [*few_convolutions(12), *(c for n, c in HAND_PICKED.items() if n != "all conv3x3")]
)
def test_a_network_is_its_literal_reading(cell: Cell) -> None:
    literal = LiteralNetwork(cell).eval()
    randomise(literal, seed=1)
    x = np.concatenate([random_input(network_graph(cell), seed) for seed in (0, 1)])
    expected = torch_output(literal, x)
    scale = np.abs(expected).max()
    assert scale > 0.1
    outputs = [torch_output(module, x) for module in candidate_modules(cell, literal)]
    assert min(np.abs(output - expected).max() for output in outputs) < 1e-4 * scale


@pytest.mark.parametrize("cell", HAND_PICKED.values(), ids=HAND_PICKED)
def test_a_network_is_its_literal_reading_with_equal_weights_in_a_cell(cell: Cell) -> None:
    literal = LiteralNetwork(cell).eval()
    randomise(literal, seed=2)
    for block in literal.body:
        if isinstance(block, LiteralCell):
            share_weights(block)
    x = random_input(network_graph(cell), 0)
    module = next(candidate_modules(cell, literal))
    assert_same_output(torch_output(literal, x), torch_output(module, x))


def share_weights(block: LiteralCell) -> None:
    """Give all convolutions of one kernel the weights of the first."""
    first: dict[torch.Size, nn.Module] = {}
    for edge in block.edges:
        if isinstance(edge, nn.Sequential):
            edge.load_state_dict(first.setdefault(edge[1].weight.shape, edge).state_dict())


@pytest.mark.parametrize("cell", HAND_PICKED.values(), ids=HAND_PICKED)
def test_torch_and_onnx_are_the_same_function(cell: Cell) -> None:
    assert_one_definition(network_graph(cell), seed=3)


def test_a_cell_without_a_path_to_its_output_leaves_the_head_alone() -> None:
    graph = network_graph(HAND_PICKED["cut off at the output"])
    assert graph == network_graph(HAND_PICKED["all none"])
    kinds = [node.op.kind for node in graph.nodes]
    assert kinds == ["zeros", "batch_norm", "relu", "global_avg_pool", "linear"]


def test_counts_of_the_largest_network_are_the_published_ones() -> None:
    """NATS-Bench: 1.532 M parameters and 220.12 M FLOPs, which are multiply-accumulates."""
    counts = count(network_graph(HAND_PICKED["all conv3x3"]))
    assert counts.parameters == 1_531_546
    assert round(counts.macs / 1e6, 2) == 220.12
    assert depth(network_graph(HAND_PICKED["all conv3x3"])) == 1 + 15 * 3 + 2 * 2 + 2


def test_there_are_15625_networks() -> None:
    networks = list(NB201().all_networks())
    assert len(set(networks)) == NB201().size == 15_625
    assert sorted(NB201().sample(15_625, np.random.default_rng(0))) == sorted(networks)


@given(cells)
@quick
def test_swapping_independent_nodes_gives_the_same_bytes(cell: Cell) -> None:
    a, b, _, c, d, e = cell
    graphs = [network_graph((a, b, NONE, c, d, e)), network_graph((b, a, NONE, c, e, d))]
    assert graphs[0] == graphs[1]
    assert to_onnx(graphs[0]).SerializeToString() == to_onnx(graphs[1]).SerializeToString()


@pytest.mark.slow
@given(cells, cells)
@quick
def test_features_are_equal_exactly_if_graphs_are(one: Cell, other: Cell) -> None:
    space = NB201()
    twin = representatives(np.array([[OPERATIONS.index(op) for op in one]]))[0]
    texts = [one, tuple(OPERATIONS[op] for op in twin), other]
    features = space.features([space.parse(cell_text(cell)) for cell in texts])
    graphs = [network_graph(cell) for cell in texts]
    assert graphs[0] == graphs[1]
    assert (features[0] == features[1]).all()
    assert (features[0] == features[2]).all() == (graphs[0] == graphs[2])


def test_hand_picked_features_are_counted_in_the_graph() -> None:
    space = NB201()
    features = space.features([space.parse(cell_text(cell)) for cell in HAND_PICKED.values()])
    for row, cell in zip(features, HAND_PICKED.values(), strict=True):
        graph = network_graph(cell)
        expected = np.log1p([*count_vector(graph), depth(graph)])
        np.testing.assert_allclose(row[-len(expected) :], expected, rtol=1e-12)
        connected = any("input" in node.inputs for node in graph.nodes)
        assert row[space.feature_names.index("connected")] == connected


@given(cells)
@quick
def test_text_round_trip(cell: Cell) -> None:
    assert parse_cell(cell_text(cell)) == cell


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("|nor_conv_3X3~0|+|none~0|none~1|+|none~0|none~1|none~2|", "did you mean 'nor_conv_3x3'"),
        (
            "|dil_conv~0|+|none~0|none~1|+|none~0|none~1|none~2|",
            "no operation 'dil_conv'; .*none, ",
        ),
        ("|none~1|+|none~0|none~1|+|none~0|none~1|none~2|", "expected 'none~0', got 'none~1'"),
        ("|none|+|none~0|none~1|+|none~0|none~1|none~2|", "expected 'none~0', got 'none'"),
        ("|none~0|+|none~0|+|none~0|none~1|none~2|", "node 2 .* has 2 incoming edges, got 1"),
        ("|none~0|+|none~0|none~1|", "has the form"),
        ("none~0+|none~0|none~1|+|none~0|none~1|none~2|", "has the form"),
    ],
)
def test_a_mistake_is_named(text: str, message: str) -> None:
    with pytest.raises(NetworkSyntaxError, match=message):
        NB201().parse(text)
