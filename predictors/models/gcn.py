"""Graph convolutions over operations, read out at a node that all others report to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from predictors.encodings.graph import OperationGraph
from predictors.models.training import tensor


def with_global_node(graph: OperationGraph) -> Tensor:
    """(V + 1, V + 1) float32: what each node reads, itself and its predecessors; the last reads all
    (Dudziak et al., BRP-NAS, NeurIPS 2020, section 3.1)."""
    count = len(graph.adjacency) + 1
    reads = torch.eye(count)
    reads[:-1, :-1] += tensor(graph.adjacency.T)
    reads[-1] = 1
    return reads


def nodes(graph: OperationGraph, features: Tensor) -> Tensor:
    """(M, F), Vec first -> (M, P + 2, kinds + 2), one-hot; input and output are kinds, too."""
    count = len(graph.adjacency)
    found = features.new_zeros(len(features), count, graph.kinds + 2)
    ops = features[:, : graph.width].reshape(len(features), count - 2, graph.kinds)
    found[:, 1:-1, : graph.kinds] = ops
    found[:, 0, graph.kinds] = found[:, -1, graph.kinds + 1] = 1
    return found


class Convolutions(nn.Module):
    """Nodes (M, V, K) and what each reads, (V + 1, V + 1) or (M, V + 1, V + 1) -> the state of the
    last reader, the global node, (M, width), after `depth` layers.

    A layer is Kipf & Welling's (ICLR 2017, equation 2) with LayerNorm in place of a normalised
    adjacency, as in BRP-NAS's published code. States are summed before they are mixed, and the last
    layer makes the global node's state alone: the same sums for less work.
    """

    def __init__(self, kinds: int, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.mixes = nn.ModuleList(nn.Linear(width if i else kinds, width) for i in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.dropout = nn.Dropout(dropout)

    def forward(self, nodes: Tensor, reads: Tensor) -> Tensor:
        x = nn.functional.pad(nodes, (0, 0, 0, 1))
        last = len(self.mixes) - 1
        for layer, (mix, norm) in enumerate(zip(self.mixes, self.norms, strict=True)):
            assert isinstance(mix, nn.Linear)
            read = reads[..., -1:, :] if layer == last else reads
            mixed = nn.functional.linear(read @ x, mix.weight) + read.sum(-1, True) * mix.bias
            x = self.dropout(torch.relu(norm(mixed)))
        return x[:, -1]


class GraphConvolutions(Convolutions):
    """The same where every network has the same edges: nodes (M, V, K) -> (M, width)."""

    reads: Tensor

    def __init__(self, graph: OperationGraph, width: int, depth: int, dropout: float) -> None:
        super().__init__(graph.kinds + 2, width, depth, dropout)
        self.register_buffer("reads", with_global_node(graph))

    def forward(self, nodes: Tensor, reads: Tensor | None = None) -> Tensor:
        return super().forward(nodes, self.reads if reads is None else reads)
