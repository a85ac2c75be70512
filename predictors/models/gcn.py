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


class GraphConvolutions(nn.Module):
    """Nodes (M, V, K) -> the global node's state (M, width), after `depth` layers.

    A layer is Kipf & Welling's (ICLR 2017, equation 2) with LayerNorm in place of a normalised
    adjacency, as in BRP-NAS's published code.
    """

    reads: Tensor

    def __init__(self, graph: OperationGraph, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("reads", with_global_node(graph))
        kinds = graph.kinds + 2
        self.mixes = nn.ModuleList(nn.Linear(width if i else kinds, width) for i in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.dropout = nn.Dropout(dropout)

    def forward(self, nodes: Tensor) -> Tensor:
        x = nn.functional.pad(nodes, (0, 0, 0, 1))
        for mix, norm in zip(self.mixes, self.norms, strict=True):
            x = self.dropout(torch.relu(norm(self.reads @ mix(x))))
        return x[:, -1]
