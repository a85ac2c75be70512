"""Networks of a search space as the predictor sees them.

What is known beforehand are the features of the search space: costs that follow from the graph
(multiply-accumulates, parameters, kernels, traffic: `farm.spaces.counts.ANALYTIC_NAMES`), each of
which some real device resembles, and what the space says of its own edges or layers
(`farm.spaces.nb201.features`, `farm.spaces.fbnet`).
Where other devices were measured, they are references (HWL, Multi-Predict, section 3.2), each of
which is predicted from the analytic features where it was not measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from farm.core.values import Network
from farm.spaces.base import SearchSpace
from predictors import FloatArray, IntArray, Observations

if TYPE_CHECKING:
    from predictors.encodings.analytic import AnalyticColumns
    from predictors.encodings.normalisation import TrainingRows
    from predictors.models.mixture_gp import MixtureGP

MANY = 60
"""Networks of a reference from which on a plain Gaussian process predicts the others as well as the
mixture, which takes longer the more there are."""

MOST = 400
"""Networks of a reference that the others are predicted from: more change little and take long."""

LOG = "log_"
"""How a space marks the columns that are log(1 + cost)."""


@dataclass(frozen=True, eq=False)
class Reference:
    """What was measured on another device: rows (n,) of the networks, latency_s (n,) seconds."""

    rows: IntArray
    latency_s: FloatArray


@dataclass(frozen=True, eq=False)
class Encoded:
    """N networks, as far as they are known without measuring any.

    structure: (N, S), the features of the search space. rows: those that scales are fitted on.
    alone: the predictor without any reference.
    """

    structure: FloatArray
    analytic: AnalyticColumns
    rows: TrainingRows
    alone: MixtureGP

    @classmethod
    def of(cls, space: SearchSpace, networks: Sequence[Network], pool: int) -> Encoded:
        """pool: scales are fitted on so many of the first networks."""
        from predictors.encodings.analytic import AnalyticColumns
        from predictors.encodings.normalisation import TrainingRows
        from predictors.models.mixture_gp import MixtureGP

        structure = space.features(networks)
        logs = [i for i, name in enumerate(space.feature_names) if name.startswith(LOG)]
        names = [space.feature_names[i].removeprefix(LOG) for i in logs]
        rows = TrainingRows.of(np.arange(pool), np.arange(pool, len(networks)))
        analytic = AnalyticColumns.of(np.expm1(structure[:, logs]), names, rows)
        none = np.empty((len(networks), 0))
        alone = MixtureGP.over(none, analytic.values, structure, rows, np.empty(0), analytic.spread)
        return cls(structure, analytic, rows, alone)

    def roots(self, reference: Reference) -> FloatArray:
        """(N,), square roots of a reference's latencies relative to the median measured one. One
        that all networks were measured on is taken as it is; any other is predicted throughout, so
        that what it says of measured networks is no better than of others."""
        from predictors.encodings.hwl import root

        median_s = float(np.median(reference.latency_s))
        if len(np.unique(reference.rows)) == len(self.structure):
            roots = np.empty(len(self.structure))
            roots[reference.rows] = root(reference.latency_s / median_s)
            return roots
        if len(reference.rows) < MANY:
            return root(self._by_mixture(reference) / median_s)
        return self._by_surrogate(reference, median_s)

    def predictor(self, references: Sequence[FloatArray]) -> MixtureGP:
        """The predictor over the networks; row i of its `features` (N, F) encodes network i.

        references: `roots` (N,) of each device other than the one that is predicted.
        """
        from predictors.encodings.hwl import clipped
        from predictors.encodings.normalisation import Standardisation
        from predictors.models.mixture_gp import MixtureGP

        if not references:
            return self.alone
        real = np.column_stack(references)
        spread = real[self.rows.indices].std(0)
        scaled = clipped(Standardisation.fit(real, self.rows).apply(real))
        return MixtureGP.over(
            scaled, self.analytic.values, self.structure, self.rows, spread, self.analytic.spread
        )

    def _by_mixture(self, reference: Reference) -> FloatArray:
        """(N,) seconds."""
        features = self.alone.features
        seen = Observations.of_one("reference", features[reference.rows], reference.latency_s)
        return self.alone.fit(seen).posterior(features, "reference").latency_s

    def _by_surrogate(self, reference: Reference, median_s: float) -> FloatArray:
        """(N,) roots."""
        from predictors.encodings.hwl import clipped, root
        from predictors.models.surrogate import predict_columns

        rows = reference.rows[:MOST]
        relative = root(reference.latency_s[:MOST] / median_s)
        centre, spread = float(relative.mean()), float(relative.std()) or 1.0
        seen = clipped((relative - centre) / spread)
        found = predict_columns(self.structure, rows, seen[:, None])[:, 0]
        return np.asarray(np.maximum(centre + spread * found, 0.0))
