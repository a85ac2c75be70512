"""What a device's networks of one search space say of another one's.

Two spaces share what follows from any network's graph, and the latencies on devices that are known
throughout both (HWL, Multi-Predict, section 3.2). The predictor learns on these what the device
takes in the one space, and says it of the other, where that is a reference among others: how much
it is worth there is for the networks measured there to tell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farm.core.values import Network
from farm.prediction.columns import Column
from farm.prediction.features import LOG
from farm.spaces.base import SearchSpace
from predictors import FloatArray, Observations

FEWEST = 10
"""Networks of the other space without which nothing is carried over."""

MOST = 100
"""Networks that are learnt from: more change little, and take long."""


def carried(
    known: Column,
    there: SearchSpace,
    here: SearchSpace,
    networks: Sequence[Network],
    throughout: Sequence[tuple[Column, Column]],
) -> FloatArray | None:
    """(N,), square roots of the latencies of `networks` of the space `here`, relative to the
    median one, from what is known of a device `there`; None where that is too little.

    throughout: columns of devices in both spaces, there and here; those that lack a network are
    left out.
    """
    from predictors.encodings.analytic import AnalyticColumns
    from predictors.encodings.hwl import clipped, root
    from predictors.encodings.normalisation import Standardisation, TrainingRows
    from predictors.models.mixture_gp import MixtureGP

    names = [n for n in there.feature_names if n.startswith(LOG) and n in here.feature_names]
    learnt = known.first(MOST)
    if len(learnt.networks) < FEWEST or not names:
        return None
    logs = np.concatenate(
        [_some(there, list(learnt.networks), names), _some(here, list(networks), names)]
    )
    rows = TrainingRows.every(logs)
    costs = AnalyticColumns.of(np.expm1(logs), [n.removeprefix(LOG) for n in names], rows)
    each = [_throughout(pair, learnt.networks, networks) for pair in throughout]
    real = np.column_stack([np.empty((len(logs), 0)), *(one for one in each if one is not None)])
    spread = real.std(0)
    scaled = clipped(Standardisation.fit(real, rows).apply(real))
    model = MixtureGP.over(scaled, costs.values, logs, rows, spread, costs.spread)
    n = len(learnt.networks)
    seen = Observations.of_one("there", model.features[:n], learnt.latency_s, learnt.noise_std)
    latency_s = model.fit(seen).posterior(model.features[n:], "there").latency_s
    return root(latency_s / np.median(latency_s))


def _some(space: SearchSpace, networks: list[Network], names: Sequence[str]) -> FloatArray:
    at = [space.feature_names.index(name) for name in names]
    return space.features(networks)[:, at]


def _throughout(
    pair: tuple[Column, Column], there: Sequence[Network], here: Sequence[Network]
) -> FloatArray | None:
    """A device's roots in both spaces, in a row; None where a network is not known."""
    from predictors.encodings.hwl import root

    found: list[float] = []
    for column, networks in zip(pair, (there, here), strict=True):
        latency_s = column.by_network
        if not all(network in latency_s for network in networks):
            return None
        found += [latency_s[network] for network in networks]
    return root(np.array(found) / np.median(found))
