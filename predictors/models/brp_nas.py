"""BRP-NAS: a graph convolutional network, trained on the target's samples alone.

Dudziak et al., BRP-NAS: Prediction-based NAS using GCNs, NeurIPS 2020, section 3.1: four layers of
600, a global node, and one linear layer; hyper-parameters of the authors' published code. It was
made for 900 samples a device. Knows no other device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from predictors import FloatArray
from predictors.encodings.graph import OperationGraph
from predictors.models.devices import by_levels
from predictors.models.gcn import GraphConvolutions, nodes
from predictors.models.plain import Fitted
from predictors.models.training import Schedule, predicted, repeatable, train

TRAINING = Schedule(epochs=250, learning_rate=8e-4, weight_decay=5e-4, batch=10)


@dataclass(frozen=True)
class Settings:
    """The paper's."""

    width: int = 600
    depth: int = 4
    dropout: float = 0.2
    training: Schedule = TRAINING
    seed: int = 0


class Network(nn.Module):
    """Vec (M, F) -> (M,)."""

    def __init__(self, graph: OperationGraph, settings: Settings) -> None:
        super().__init__()
        self.graph = graph
        self.convolutions = GraphConvolutions(
            graph, settings.width, settings.depth, settings.dropout
        )
        self.out = nn.Linear(settings.width, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.convolutions(nodes(self.graph, x)))[:, 0]
        return found


@dataclass(frozen=True, eq=False)
class BrpNas:
    """A rule of `predictors.models.plain` on Vec, unscaled."""

    graph: OperationGraph
    settings: Settings = Settings()

    def __call__(self, x: FloatArray, log_s: FloatArray) -> Fitted:
        """As `predictors.models.plain.Rule`."""
        return by_levels(self.adapt, x, log_s)

    def adapt(self, x: FloatArray, levels: FloatArray) -> Fitted:
        """Train on samples (n, F) with levels (n,), standardised."""
        mean, std = float(levels.mean()), float(levels.std()) or 1.0
        with repeatable(self.settings.seed) as generator:
            network = Network(self.graph, self.settings).double()
            inputs, wanted = torch.tensor(x), torch.tensor((levels - mean) / std)

            def loss(rows: Tensor) -> Tensor:
                off: Tensor = network(inputs[rows]) - wanted[rows]
                return off.abs().sum()

            train(network.parameters(), loss, len(x), self.settings.training, generator)
            network.eval()
        return lambda new: mean + std * predicted(network, new)
