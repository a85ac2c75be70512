"""Accuracies of all networks of a space, predicted from the few that were trained.

The model is the farm's mixture of Gaussian processes (`predictors.models.accuracy_mixture`) on what
follows from a network's graph: its costs, each of which may speak for or against a network, and
what its edges or layers are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from farm.core.errors import UsageError
from farm.core.values import Network
from farm.measurement.estimator import Z_95
from farm.prediction.features import Encoder
from farm.search.found import Surety
from farm.spaces.base import SearchSpace
from predictors import FloatArray, IntArray, metrics
from predictors.models.accuracy_mixture import Believed, Mixture, for_and_against

POOL = 1000
"""Networks, drawn from the space, by which features are scaled."""

PARTS = 5
"""Of the results; each is predicted from the others, to say how good predictions are. There must be
as many results."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """An `Accuracy` of any network. trained: results, which stand for themselves."""

    space: SearchSpace
    trained: Mapping[Network, float]
    seed: int = 0
    listed: None = None

    def __post_init__(self) -> None:
        if len(self.trained) < PARTS:
            raise UsageError(
                f"--accuracy predicted takes the results of at least {PARTS} different "
                f"networks, got {len(self.trained)}; train more, or take proxy:NAME"
            )

    def __call__(self, networks: Sequence[Network]) -> FloatArray:
        """(N,), of trained networks their results."""
        mean = self._fitted(self._rows(networks))[0] if networks else np.empty(0)
        known = [self.trained.get(network, math.nan) for network in networks]
        return np.where(np.isnan(known), mean, known)

    def off(self, networks: Sequence[Network]) -> FloatArray:
        """(N,), half of the 95 % interval of each; 0 of trained networks."""
        std = self._fitted(self._rows(networks))[1] if networks else np.empty(0)
        known = np.array([network in self.trained for network in networks], bool)
        return np.where(known, 0.0, self._width * std)

    @cached_property
    def surety(self) -> Surety:
        """By cross-validation."""
        mean, _ = self._crossed
        values = self._own[1]
        off = float(np.median(np.abs(mean - values)))
        return Surety(len(values), metrics.spearman(mean, values), off)

    @cached_property
    def _width(self) -> float:
        """Standard deviations that hold 95 % of the results, each predicted from others: accuracies
        have outliers. Never fewer than of a normal (Papadopoulos et al., Normalized Nonconformity
        Measures for Regression Conformal Prediction, AIA 2008; Vovk, Cross-conformal Predictors,
        2015)."""
        mean, std = self._crossed
        far = np.sort(np.abs(mean - self._own[1]) / std)
        place = min(math.ceil(0.95 * (len(far) + 1)), len(far))
        return max(Z_95, float(far[place - 1]))

    @cached_property
    def _crossed(self) -> tuple[FloatArray, FloatArray]:
        """(n,) mean and standard deviation of each result, from other parts of them."""
        x, values = self._own
        mean, std = np.empty_like(values), np.empty_like(values)
        order = np.random.default_rng(self.seed).permutation(len(values))
        for part in np.array_split(order, PARTS):
            rest: IntArray = np.setdiff1d(order, part)
            mean[part], std[part] = self._mixture.fit(x[rest], values[rest])(x[part])
        return mean, std

    @cached_property
    def _encoder(self) -> Encoder:
        drawn = self.space.sample(min(POOL, self.space.size), np.random.default_rng(0))
        return Encoder.of(self.space, list(dict.fromkeys([*drawn, *self.trained])))

    @cached_property
    def _mixture(self) -> Mixture:
        pool = self._encoder.pool
        return Mixture.over(np.empty((len(pool.networks), 0)), pool.analytic, pool.structure)

    @cached_property
    def _own(self) -> tuple[FloatArray, FloatArray]:
        return self._rows(list(self.trained)), np.array(list(self.trained.values()))

    @cached_property
    def _fitted(self) -> Believed:
        return self._mixture.fit(*self._own)

    def _rows(self, networks: Sequence[Network]) -> FloatArray:
        """(N, F), as `Mixture.features` are."""
        described = self._encoder.describe(networks)
        return np.column_stack([for_and_against(described.analytic), described.structure])
