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
    from predictors.models.mixture_gp import MixtureGP

_LOG = "log_"
"""How a space marks the columns that are log(1 + cost)."""


@dataclass(frozen=True, eq=False)
class Reference:
    """What was measured on another device: rows (n,) of the networks, latency_s (n,) seconds."""

    rows: IntArray
    latency_s: FloatArray


def predictor(
    space: SearchSpace,
    networks: Sequence[Network],
    pool: int,
    references: Sequence[Reference] = (),
) -> MixtureGP:
    """The predictor over `networks` (N); row i of its `features` (N, F) encodes networks[i].

    pool: scales are fitted on so many of the first networks, which are known without measuring.
    references: of other devices than the one to be predicted, each with a network or more.
    """
    from predictors.encodings.analytic import AnalyticColumns
    from predictors.encodings.hwl import clipped
    from predictors.encodings.normalisation import Standardisation, TrainingRows
    from predictors.models.mixture_gp import MixtureGP

    features = space.features(networks)
    logs = [i for i, name in enumerate(space.feature_names) if name.startswith(_LOG)]
    names = [space.feature_names[i].removeprefix(_LOG) for i in logs]
    rows = TrainingRows.of(np.arange(pool), np.arange(pool, len(networks)))
    analytic = AnalyticColumns.of(np.expm1(features[:, logs]), names, rows)
    none = np.empty((len(networks), 0))
    alone = MixtureGP.over(none, analytic.values, features, rows, np.empty(0), analytic.spread)
    if not references:
        return alone
    real = np.column_stack([_roots(alone, reference) for reference in references])
    spread = real[rows.indices].std(0)
    scaled = clipped(Standardisation.fit(real, rows).apply(real))
    return MixtureGP.over(scaled, analytic.values, features, rows, spread, analytic.spread)


def _roots(alone: MixtureGP, reference: Reference) -> FloatArray:
    """(N,), square roots of latency relative to the median measured one, of all networks."""
    from predictors.encodings.hwl import root

    measured = alone.features[reference.rows]
    seen = Observations.of_one("reference", measured, reference.latency_s)
    predicted_s = alone.fit(seen).posterior(alone.features, "reference").latency_s
    return root(predicted_s / np.median(reference.latency_s))
