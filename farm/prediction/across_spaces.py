"""What a device's networks of one search space say of another one's.

Two spaces share what follows from any network's graph, and the latencies on devices that are known
throughout both (HWL, Multi-Predict, section 3.2). The predictor learns on these what the device
takes in the one space, and says it of the other, where that is a reference among others: how much
it is worth there is for the networks measured there to tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from farm.core.values import Network
from farm.prediction.columns import Column
from farm.prediction.features import LOG, Described
from farm.spaces.base import SearchSpace
from predictors import FloatArray, Observations, Posterior

if TYPE_CHECKING:
    from predictors.encodings.analytic import AnalyticScale
    from predictors.encodings.hwl import Normalisation
    from predictors.models.mixture_gp import FittedMixtureGP

FEWEST = 10
"""Networks of the other space without which nothing is carried over."""

MOST = 100
"""Networks that are learnt from: more change little, and take long."""


@dataclass(frozen=True, eq=False)
class Carried:
    """A device as a `farm.prediction.features.Reference` of a space that it did not measure.

    names, scale: of the costs that both spaces have. throughout: devices known in both, each
    with its normalisation over what was fitted.
    """

    here: SearchSpace
    names: tuple[str, ...]
    scale: AnalyticScale
    throughout: tuple[tuple[Column, Normalisation], ...]
    fitted: FittedMixtureGP

    def latency_s(self, asked: Described) -> FloatArray:
        """(N,) seconds."""
        return self._posterior(asked).latency_s

    def belief(self, asked: Described) -> tuple[FloatArray, FloatArray]:
        """The same, and (N,) how uncertain that is, in log-seconds."""
        posterior = self._posterior(asked)
        return posterior.latency_s, posterior.std

    def _posterior(self, asked: Described) -> Posterior:
        logs = _some(self.here, asked.structure, self.names)
        analytic = self.scale.apply(np.expm1(logs))
        hwl = [own.values(_seconds(column, asked.networks)) for column, own in self.throughout]
        # A network that one of these lacks is an average one there.
        real = np.nan_to_num(np.column_stack([np.empty((len(logs), 0)), *hwl]))
        return self.fitted.posterior(np.concatenate([real, analytic, logs], axis=1), "there")


def carried(
    known: Column,
    there: SearchSpace,
    here: SearchSpace,
    pool: Described,
    throughout: Sequence[tuple[Column, Column]],
) -> Carried | None:
    """What is known of a device `there`, for the space `here`; None where that is too little.

    pool: of the space `here`, which scales are fitted on. throughout: columns of devices in both
    spaces, there and here; those that lack a network of the pool are left out.
    """
    from predictors.encodings.analytic import AnalyticScale
    from predictors.encodings.hwl import Normalisation
    from predictors.encodings.normalisation import TrainingRows
    from predictors.models.mixture_gp import MixtureGP

    names = [n for n in there.feature_names if n.startswith(LOG) and n in here.feature_names]
    learnt = known.first(MOST)
    if len(learnt.networks) < FEWEST or not names:
        return None
    n = len(learnt.networks)
    learnt_structure = there.features(list(learnt.networks))
    logs = np.concatenate(
        [_some(there, learnt_structure, names), _some(here, pool.structure, names)]
    )
    rows = TrainingRows.every(logs)
    costs = np.expm1(logs)
    scale = AnalyticScale.fit(costs, [name.removeprefix(LOG) for name in names], rows)
    both, values, spread = [], [np.empty((len(logs), 0))], []
    for one, other in throughout:
        latency_s = np.concatenate([_seconds(one, learnt.networks), _seconds(other, pool.networks)])
        if np.isfinite(latency_s).all():
            own = Normalisation.fit(latency_s)
            both.append((other, own))
            values.append(own.values(latency_s))
            spread.append(own.scale[0])
    model = MixtureGP.over(
        np.column_stack(values), scale.apply(costs), logs, rows, np.array(spread), scale.spread
    )
    seen = Observations.of_one("there", model.features[:n], learnt.latency_s, learnt.noise_std)
    return Carried(here, tuple(names), scale, tuple(both), model.fit(seen))


def _some(space: SearchSpace, structure: FloatArray, names: Sequence[str]) -> FloatArray:
    return structure[:, [space.feature_names.index(name) for name in names]]


def _seconds(column: Column, networks: Sequence[Network]) -> FloatArray:
    """(N, 1), NaN where a network is not known."""
    known = column.by_network
    return np.array([[known.get(network, np.nan)] for network in networks])
