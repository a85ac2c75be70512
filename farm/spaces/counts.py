"""What a network costs, counted from its graph, and the predictor's columns made of it.

The counts assume what every inference compiler does: batch norm, ReLU and sums are fused into
the kernel that makes one of their inputs, and what depends on weights alone is computed when the
network is built: it counts as parameters and costs nothing more.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from math import prod

import numpy as np
from numpy.typing import NDArray

from farm.core.arguments import INPUT_NAME
from farm.spaces.graph import Graph, Node
from farm.spaces.ops import Add, BatchNorm, Conv, Linear, Relu, Zeros

FLOAT32_BYTES = 4

FUSED = (BatchNorm, Relu, Add, Zeros)
"""Operations without a kernel of their own."""


@dataclass(frozen=True)
class Counts:
    """Counts that add up over the nodes of a graph. MACs: multiply-accumulates.

    macs_1x1: of ungrouped convolutions with a 1x1 kernel.
    macs_kxk: of ungrouped convolutions with a larger kernel.
    macs_grouped: of convolutions with more than one group, depthwise ones excluded.
    macs_depthwise: of convolutions with one channel in each group.
    macs_linear: of linear layers.
    parameters: trainable, of the training form: with two of each batch-norm channel.
    kernels: nodes other than batch norm, ReLU, sums and zeros.
    traffic_bytes: activations (float32) that kernels read and write, and one more read for each
        sum of two of them, as the second is not in the registers of the kernel it is fused into.
    """

    macs_1x1: int = 0
    macs_kxk: int = 0
    macs_grouped: int = 0
    macs_depthwise: int = 0
    macs_linear: int = 0
    parameters: int = 0
    kernels: int = 0
    traffic_bytes: int = 0

    @property
    def macs(self) -> int:
        """All multiply-accumulates; batch norm, pools and sums have none."""
        return sum(getattr(self, name) for name in MACS)

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


COUNTS = tuple(field.name for field in fields(Counts))
MACS = tuple(name for name in COUNTS if name.startswith("macs_"))

ANALYTIC_NAMES = ("macs", "log_macs", *(f"log_{name}" for name in COUNTS), "log_depth")
"""Names of the columns of `analytic_features`."""


def count(graph: Graph) -> Counts:
    """The counts of a whole network."""
    run = at_run_time(graph)
    costs = (
        _count_node(graph, node, run) if node.name in run else _count_constant(graph, node)
        for node in graph.nodes
    )
    return sum(costs, Counts())


def count_vector(graph: Graph) -> NDArray[np.float64]:
    """(len(COUNTS),): the counts of a whole network, in the order of `COUNTS`."""
    return np.array(astuple(count(graph)), dtype=float)


def depth(graph: Graph) -> int:
    """Kernels on the longest path from the input to the output; 0 if there is no path."""
    run = at_run_time(graph)
    depths = dict.fromkeys([INPUT_NAME, *(node.name for node in graph.nodes)], 0)
    for node in graph.nodes:
        if node.name in run:
            before = max(depths[name] for name in node.inputs)
            depths[node.name] = before + (not isinstance(node.op, FUSED))
    return depths[graph.output]


def at_run_time(graph: Graph) -> frozenset[str]:
    """Names of the nodes that depend on the input; the others are constants."""
    found = {INPUT_NAME}
    for node in graph.nodes:
        if not found.isdisjoint(node.inputs):
            found.add(node.name)
    return frozenset(found - {INPUT_NAME})


def analytic_features(
    counts: NDArray[np.float64], depths: NDArray[np.float64]
) -> NDArray[np.float64]:
    """All MACs, and log(1 + x) of all MACs, of each count and of the depth.

    counts: (N, len(COUNTS)), columns in the order of `COUNTS`. depths: (N,).
    Returns (N, len(ANALYTIC_NAMES)) float64.
    """
    macs = counts[:, : len(MACS)].sum(axis=1)
    return np.column_stack([macs, np.log1p(np.column_stack([macs, counts, depths]))])


def _count_constant(graph: Graph, node: Node) -> Counts:
    return Counts(parameters=node.op.parameters(*(graph.shapes[name] for name in node.inputs)))


def _count_node(graph: Graph, node: Node, run: frozenset[str]) -> Counts:
    if isinstance(node.op, Add):
        second_term = run.issuperset(set(node.inputs) - {INPUT_NAME})
        return Counts(traffic_bytes=second_term * FLOAT32_BYTES * prod(graph.shapes[node.name]))
    shapes = [graph.shapes[name] for name in node.inputs]
    parameters = node.op.parameters(*shapes)
    if isinstance(node.op, FUSED):
        return Counts(parameters=parameters)
    elements = sum(map(prod, shapes)) + prod(graph.shapes[node.name])
    cost = Counts(parameters=parameters, kernels=1, traffic_bytes=FLOAT32_BYTES * elements)
    return cost + _count_macs(graph, node)


def _count_macs(graph: Graph, node: Node) -> Counts:
    if not isinstance(node.op, Conv | Linear):
        return Counts()
    weight = graph.weights_of(node)[0].shape
    if isinstance(node.op, Linear):
        return Counts(macs_linear=graph.shapes[node.name][0] * prod(weight))
    outputs = prod(graph.shapes[node.name])
    return Counts(**{_conv_kind(node.op, weight[1]): outputs * prod(weight[1:])})


def _conv_kind(conv: Conv, channels_per_group: int) -> str:
    if conv.groups > 1:
        return "macs_depthwise" if channels_per_group == 1 else "macs_grouped"
    return "macs_1x1" if conv.kernel == 1 else "macs_kxk"
