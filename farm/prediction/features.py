"""Networks of a search space as the predictor sees them.

What is known beforehand are the features of the search space: costs that follow from the graph
(multiply-accumulates, parameters, kernels, traffic: `farm.spaces.counts.ANALYTIC_NAMES`), each of
which some real device resembles, and what the space says of its own edges or layers
(`farm.spaces.nb201.features`, `farm.spaces.fbnet`).
Where other devices were measured, they are references (HWL, Multi-Predict, section 3.2), each of
which is predicted from the analytic features where it was not measured.

Everything here is fitted once, on a pool of networks and on what was measured: what it says of a
network does not depend on what else is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from farm.core.values import Network
from farm.prediction.columns import Column
from farm.spaces.base import SearchSpace
from predictors import FloatArray, IntArray, Observations, metrics

if TYPE_CHECKING:
    from predictors.encodings.analytic import AnalyticScale
    from predictors.encodings.hwl import Normalisation
    from predictors.models.mixture_gp import FittedMixtureGP, MixtureGP
    from predictors.models.surrogate import Surrogates

MANY = 60
"""Networks of a reference from which on a plain Gaussian process predicts the others as well as the
mixture, which takes longer the more there are."""

MOST = 400
"""Networks of a reference that the others are predicted from: more change little and take long."""

LOG = "log_"
"""How a space marks the columns that are log(1 + cost)."""


@dataclass(frozen=True, eq=False)
class Described:
    """N networks, as far as they are known without measuring any.

    structure: (N, S), the features of the search space. analytic: (N, V), costs as latencies.
    """

    networks: tuple[Network, ...]
    structure: FloatArray
    analytic: FloatArray

    def __add__(self, other: Described) -> Described:
        structure = np.concatenate([self.structure, other.structure])
        analytic = np.concatenate([self.analytic, other.analytic])
        return Described(self.networks + other.networks, structure, analytic)


class Reference(Protocol):
    """Another device, which says of any network what it would take there."""

    def latency_s(self, asked: Described) -> FloatArray:
        """(N,) seconds."""
        ...

    def belief(self, asked: Described) -> tuple[FloatArray, FloatArray]:
        """The same, and (N,) how uncertain that is, in log-seconds."""
        ...


@dataclass(frozen=True, eq=False)
class Encoder:
    """Describes networks of a space; its scales are fitted on a pool.

    alone: the predictor without any reference.
    """

    space: SearchSpace
    pool: Described
    scale: AnalyticScale
    alone: MixtureGP

    @classmethod
    def of(cls, space: SearchSpace, pool: Sequence[Network]) -> Encoder:
        from predictors.encodings.analytic import AnalyticScale
        from predictors.encodings.normalisation import TrainingRows
        from predictors.models.mixture_gp import MixtureGP

        structure = space.features(pool)
        rows = TrainingRows.every(structure)
        costs, names = _costs(space, structure)
        scale = AnalyticScale.fit(costs, names, rows)
        described = Described(tuple(pool), structure, scale.apply(costs))
        none = np.empty((len(pool), 0))
        alone = MixtureGP.over(none, described.analytic, structure, rows, np.empty(0), scale.spread)
        return cls(space, described, scale, alone)

    def describe(self, networks: Sequence[Network]) -> Described:
        """Networks that need not be of the pool."""
        structure = self.space.features(networks)
        costs, _ = _costs(self.space, structure)
        return Described(tuple(networks), structure, self.scale.apply(costs))

    def reference(self, known: Column) -> Reference | None:
        """A reference by what is known of it; None where too few networks are.

        One that the whole pool is known of, as of a published table, is taken as it is. Any other
        is predicted throughout, so that what it says of measured networks is no better than of
        others. Of what others published, what they say of the pool counts.
        """
        learnt = known if known.measurements else known.without(_beside(known, self.pool))
        if len(learnt.networks) < metrics.FEWEST:
            return None
        made: type[_ByMixture | _BySurrogate] = (
            _ByMixture if len(learnt.networks) < MANY else _BySurrogate
        )
        if set(self.pool.networks) <= set(learnt.networks):
            return _Throughout(known, partial(made.of, self, learnt))
        return made.of(self, learnt)

    def predictor(self, hwl: FloatArray, spread: FloatArray, asked: Described) -> MixtureGP:
        """The predictor over networks, those of the pool first; row i of its `features` (N, F)
        encodes network i.

        hwl: (N, R), values on each device other than the one that is predicted, as `Normalisation`
        gives them. spread: (R,), how differently networks run there.
        """
        from predictors.encodings.normalisation import TrainingRows
        from predictors.models.mixture_gp import MixtureGP

        pool, others = len(self.pool.networks), np.arange(len(self.pool.networks), len(hwl))
        rows = TrainingRows.of(np.arange(pool), others)
        analytic = asked.analytic
        return MixtureGP.over(hwl, analytic, asked.structure, rows, spread, self.scale.spread)


def features(hwl: FloatArray, asked: Described) -> FloatArray:
    """(N, F), rows as those of `Encoder.predictor`."""
    return np.concatenate([hwl, asked.analytic, asked.structure], axis=1)


def _costs(space: SearchSpace, structure: FloatArray) -> tuple[FloatArray, list[str]]:
    """(N, C), the costs among a space's features, and their names."""
    logs = [i for i, name in enumerate(space.feature_names) if name.startswith(LOG)]
    names = [space.feature_names[i].removeprefix(LOG) for i in logs]
    return np.expm1(structure[:, logs]), names


def _beside(known: Column, pool: Described) -> set[Network]:
    return set(known.networks) - set(pool.networks)


@dataclass(frozen=True, eq=False)
class _ByMixture:
    """A reference of which little is known."""

    fitted: FittedMixtureGP

    @classmethod
    def of(cls, encoder: Encoder, known: Column) -> _ByMixture:
        asked = encoder.describe(known.networks)
        seen = Observations.of_one("reference", _alone(asked), known.latency_s)
        return cls(encoder.alone.fit(seen))

    def latency_s(self, asked: Described) -> FloatArray:
        return self.fitted.posterior(_alone(asked), "reference").latency_s

    def belief(self, asked: Described) -> tuple[FloatArray, FloatArray]:
        posterior = self.fitted.posterior(_alone(asked), "reference")
        return posterior.latency_s, posterior.std


def _alone(asked: Described) -> FloatArray:
    return features(np.empty((len(asked.networks), 0)), asked)


@dataclass(frozen=True, eq=False)
class _BySurrogate:
    """A reference by a Gaussian process on structure. own: of the networks that were measured."""

    fitted: Surrogates
    own: Normalisation

    @classmethod
    def of(cls, encoder: Encoder, known: Column) -> _BySurrogate:
        from predictors.encodings.hwl import Normalisation
        from predictors.models.surrogate import Surrogates

        few = known.first(MOST)
        latency_s = few.latency_s[:, None]
        own = Normalisation.fit(latency_s)
        structure = encoder.space.features(few.networks)
        return cls(Surrogates.of(structure, own.values(latency_s)), own)

    def latency_s(self, asked: Described) -> FloatArray:
        return self.own.latency_s(self.fitted.means(asked.structure))[:, 0]

    def belief(self, asked: Described) -> tuple[FloatArray, FloatArray]:
        means, std = self.fitted.posterior(asked.structure)
        latency_s = self.own.latency_s(means)
        return latency_s[:, 0], self.own.log_std(latency_s, std)[:, 0]


@dataclass(frozen=True, eq=False)
class _Throughout:
    """A reference with a table. made: predicts the networks that the table lacks, if there are
    any."""

    known: Column
    made: Callable[[], Reference]

    def latency_s(self, asked: Described) -> FloatArray:
        at = self._rows(asked)
        found = np.asarray(self.known.latency_s[at])
        return np.where(at < 0, self.predicted.latency_s(asked), found) if (at < 0).any() else found

    def belief(self, asked: Described) -> tuple[FloatArray, FloatArray]:
        at = self._rows(asked)
        found = np.stack([self.known.latency_s[at], self.known.noise_std[at]])
        if (at < 0).any():
            found = np.where(at < 0, self.predicted.belief(asked), found)
        return found[0], found[1]

    @cached_property
    def predicted(self) -> Reference:
        """Of the networks that the table lacks."""
        return self.made()

    def _rows(self, asked: Described) -> IntArray:
        """(N,), of the table; -1 where it lacks a network."""
        row = self.known.row
        return np.array([row.get(network, -1) for network in asked.networks], np.intp)
