"""Rules on values of any sign and bound, such as accuracies, as rules of `predictors.models.plain`.

Multi-Predict (arXiv 2306.02459, sections 3.3 and 5, table 14): four layers of 128 on an encoding,
from scratch or fine-tuned from another task, squared errors. `accuracy_mixture` has ours.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import nn

from predictors import FloatArray
from predictors.models.accuracy_mixture import Levels
from predictors.models.multi_predict import TransferSettings
from predictors.models.plain import Fitted
from predictors.models.training import layers, least_squares, predicted, repeatable

TABLE_14 = TransferSettings()


@dataclass(frozen=True, eq=False)
class FromScratch:
    """A network for one task, trained on its samples alone (section 5)."""

    settings: TransferSettings = TABLE_14

    def __call__(self, x: FloatArray, values: FloatArray) -> Fitted:
        """x: (n, F) standardised, values: (n,)."""
        levels = Levels.of(values)
        network = _trained(x, levels.z(values), self.settings)
        return lambda new: levels.values(predicted(network, new)[:, 0])


@dataclass(frozen=True, eq=False)
class Transferred:
    """A network of one task, fine-tuned for another one (section 3.3, equation 3)."""

    network: nn.Sequential
    settings: TransferSettings

    @classmethod
    def pretrained(
        cls, x: FloatArray, values: FloatArray, settings: TransferSettings = TABLE_14
    ) -> Transferred:
        """x: (n, F), the encoding of the first task's networks; columns mean the same in both."""
        return cls(_trained(x, Levels.of(values).z(values), settings), settings)

    def known(self, x: FloatArray) -> FloatArray:
        """(M, F) -> (M,), what the first task says of these networks, in its deviations."""
        return predicted(self.network, x)[:, 0]

    def __call__(self, x: FloatArray, values: FloatArray) -> Fitted:
        """x: (n, F), values: (n,). The samples start with the mean and spread that they have in
        the first task, so that fine-tuning is about their order."""
        levels, before = Levels.of(values), Levels.of(self.known(x))
        network = copy.deepcopy(self.network)
        with repeatable(self.settings.seed) as generator:
            least_squares(
                network, x, before.values(levels.z(values)), self.settings.tuning, generator
            )
        return lambda new: levels.values(before.z(predicted(network, new)[:, 0]))


def _trained(x: FloatArray, z: FloatArray, settings: TransferSettings) -> nn.Sequential:
    with repeatable(settings.seed) as generator:
        wide = [settings.width] * (settings.depth - 1)
        network = layers((x.shape[1], *wide, 1)).double()
        least_squares(network, x, z, settings.pretraining, generator)
    return network
