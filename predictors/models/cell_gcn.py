"""A graph network over cells of any search space (`predictors.encodings.cells`).

MP-NAS (Loya et al. 2023, section 3.3 and table 9) and BRP-NAS (Dudziak et al., NeurIPS 2020):
four graph convolutions of 600 with a global node, and one linear layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from predictors import FloatArray
from predictors.encodings.cells import PAD, VOCABULARY, places_of
from predictors.models.accuracy_mixture import Levels
from predictors.models.gcn import Convolutions
from predictors.models.plain import Fitted
from predictors.models.training import Schedule, least_squares, predicted, repeatable

BRP_NAS = Schedule(epochs=250, learning_rate=8e-4, weight_decay=5e-4, batch=10)
"""As in `predictors.models.brp_nas`."""


@dataclass(frozen=True)
class Size:
    """The paper's.

    even: the last layer's input is divided by the root of its width. LayerNorm leaves every number
    near 1, so that its length grows with that root, and with it the steps that plain gradient
    descent takes: at the paper's width and inner rate they run away (Adam's do not).
    """

    width: int = 600
    depth: int = 4
    dropout: float = 0.2
    even: bool = False


PAPER = Size()


class CellNetwork(nn.Module):
    """Rows of `cells.rows`, (M, V + V * V) -> (M,)."""

    def __init__(self, size: Size = PAPER) -> None:
        super().__init__()
        self.convolutions = Convolutions(len(VOCABULARY), size.width, size.depth, size.dropout)
        self.out = nn.Linear(size.width, 1)
        self.scale = size.width**-0.5 if size.even else 1.0

    def forward(self, rows: Tensor) -> Tensor:
        found: Tensor = self.out(self.scale * self.convolutions(*graphs_of(rows)))[:, 0]
        return found


def graphs_of(rows: Tensor) -> tuple[Tensor, Tensor]:
    """One-hot nodes (M, V, kinds), and what each reads, (M, V + 1, V + 1): itself, what its edges
    say, and the last one every node that is there."""
    count, places = len(rows), places_of(rows.shape[1])
    ops = rows[:, :places].long()
    there = (ops != PAD).to(rows)
    nodes = nn.functional.one_hot(ops.clamp(min=0), len(VOCABULARY)).to(rows) * there[..., None]
    edges = torch.cat([rows[:, places:].reshape(count, places, places).mT, there[:, None]], 1)
    return nodes, nn.functional.pad(edges, (0, 1)) + torch.eye(places + 1).to(rows)


@dataclass(frozen=True, eq=False)
class CellsFromScratch:
    """A rule of `predictors.models.plain` on values of any sign: a network for one task, trained on
    its samples alone, as BRP-NAS."""

    size: Size = PAPER
    training: Schedule = BRP_NAS
    seed: int = 0

    def __call__(self, x: FloatArray, values: FloatArray) -> Fitted:
        """x: (n, F), rows of `cells.rows`; values: (n,)."""
        levels = Levels.of(values)
        network = trained(x, levels.z(values), self.size, self.training, self.seed)
        return lambda new: levels.values(predicted(network, new))


def trained(x: FloatArray, z: FloatArray, size: Size, schedule: Schedule, seed: int) -> CellNetwork:
    """Least squares on rows (n, F) with standardised values (n,); without dropout from then on."""
    with repeatable(seed) as generator:
        network = CellNetwork(size).double()
        least_squares(network, x, z, schedule, generator)
    return network.eval()
