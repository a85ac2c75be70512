"""A network's latency from the sum of its kernels' times, and from what measured networks add.

The logarithm of latency is that of the sum, and a residual: what the uncertain time of each kernel
makes of it, which networks share as they share kernels; a level; a slope in the sum; and what is
smooth in the network's structure. The residual is a Gaussian process, whose grid of standard
deviations is averaged by evidence. Without any measured network it is as wide as sums were off on
the devices that were looked at: by 0 to 5 % in the level, and by 1 % from network to network.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from predictors import FloatArray, Observations, Posterior
from predictors.encodings.normalisation import Standardisation, TrainingRows
from predictors.models import evidence
from predictors.models.kernels import squared_distances

LEVELS = {0.01: 0.4, 0.03: 0.4, 0.2: 0.2}
SMOOTH = {0.008: 0.3, 0.02: 0.4, 0.05: 0.2, 0.15: 0.1}
NOISES = {0.004: 0.3, 0.01: 0.4, 0.03: 0.2, 0.1: 0.1}
"""Log-seconds, each with its prior probability: of the level, of what is smooth in structure, and
of one measurement with all that no other network tells of."""

SLOPE = 0.3
"""Standard deviation of the slope, relative to that of the level: for each spread of the sums."""

GRID = tuple(product(LEVELS, SMOOTH, NOISES))
_LOG_PRIOR = np.log(
    [LEVELS[level] * SMOOTH[smooth] * NOISES[noise] for level, smooth, noise in GRID]
)
_COMPONENTS = np.array([(1.0, level**2, smooth**2) for level, smooth, _ in GRID])
_NOISE = np.array([noise for _, _, noise in GRID])


@dataclass(frozen=True, eq=False)
class KernelSumGP:
    """The model before any measured network, over a pool of N networks.

    features: (N, 1 + K + S): the logarithm of the sum in log-seconds; what each kernel's
    uncertainty makes of the sum, relative, one standard deviation; the structure.
    kernels: K. scaling: of the sum and of structure, over the pool.
    """

    features: FloatArray
    kernels: int
    scaling: Standardisation

    @classmethod
    def over(cls, sum_s: FloatArray, uncertainty: FloatArray, structure: FloatArray) -> KernelSumGP:
        """sum_s: (N,) seconds; uncertainty: (N, K); structure: (N, S)."""
        features = np.column_stack([np.log(sum_s), uncertainty, structure])
        k = uncertainty.shape[1]
        plain = np.delete(features, slice(1, 1 + k), axis=1)
        return cls(features, k, Standardisation.fit(plain, TrainingRows.every(plain)))

    def fit(self, observations: Observations) -> FittedKernelSumGP:
        """Condition on measured networks, of which there may be none."""
        features, latency_s = observations.features, observations.latency_s
        noise_std = observations.own_noise_std
        beliefs = tuple(
            Belief.of(self, features[own], latency_s[own], noise_std[own])
            for own in (observations.device == d for d in range(len(observations.devices)))
        )
        return FittedKernelSumGP(observations, beliefs)

    def parts(self, a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Features (A, F), (B, F) -> three (A, B): of the kernels' times; of level and slope, and
        of structure, each of unit variance."""
        mine, theirs = self._scaled(a), self._scaled(b)
        own, other = a[:, 1 : 1 + self.kernels], b[:, 1 : 1 + self.kernels]
        slopes = SLOPE**2 * np.outer(mine[:, 0], theirs[:, 0])
        distances = squared_distances(mine, theirs) / mine.shape[1]
        return own @ other.T, 1 + slopes, np.exp(-distances / 2)

    def _scaled(self, features: FloatArray) -> FloatArray:
        return self.scaling.apply(np.delete(features, slice(1, 1 + self.kernels), axis=1))


@dataclass(frozen=True, eq=False)
class Belief:
    """What is believed of one device after its measured networks: a `predictors.acquisition.Prior`.

    In log-seconds squared: of what latency is beside the sum.
    rows: (n, F), the measured networks. noise_variance: of one more measurement.
    """

    model: KernelSumGP
    rows: FloatArray
    collapsed: evidence.Collapsed
    noise_variance: float

    @classmethod
    def of(
        cls, model: KernelSumGP, rows: FloatArray, latency_s: FloatArray, noise_std: FloatArray
    ) -> Belief:
        """rows: (n, F), latency_s: (n,) seconds, noise_std: (n,) log-seconds; n may be 0."""
        residual = (np.log(latency_s) - rows[:, 0])[:, None]
        noise = _NOISE[:, None] ** 2 + noise_std**2
        covariance = np.tensordot(_COMPONENTS, np.stack(model.parts(rows, rows)), 1)
        covariance += noise[:, :, None] * np.eye(len(rows))
        inverse = np.linalg.inv(covariance)
        solved = inverse @ residual
        scale = -np.linalg.slogdet(inverse)[1]
        weight = evidence.softmax(_LOG_PRIOR - 0.5 * ((residual * solved).sum((1, 2)) + scale))
        weighed = evidence.Weighed(
            weight[:, None], inverse, solved, _COMPONENTS, np.ones(len(_COMPONENTS)), _NOISE**2
        )
        return cls(model, rows, evidence.Collapsed.of(weighed), float(weight @ _NOISE**2))

    def variance_of(self, noise_std: float) -> float:
        """What noise of a measurement, in log-seconds, adds to that."""
        return noise_std**2

    def covariance(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """Features (A, F), (B, F) -> (A, B)."""
        own = np.stack(self.model.parts(a, b))
        return self.collapsed.covariance(self._seen_from(a), self._seen_from(b), own)

    def variance(self, a: FloatArray) -> FloatArray:
        """Features (A, F) -> (A,), the diagonal of `covariance(a, a)`."""
        return self.predict(a, joint=False)[1]

    def predict(self, a: FloatArray, joint: bool) -> tuple[FloatArray, FloatArray]:
        """Mean (A,), and variance (A,) or covariance (A, A), of what latency is beside the sum."""
        own = self.model.parts(a, a) if joint else _diagonals(self.model, a)
        return self.collapsed.predict(*self._seen_from(a), np.stack(own))

    def _seen_from(self, a: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The mean function, nothing, (A, 1), and covariances to the samples, (3, n, A)."""
        return np.zeros((len(a), 1)), np.stack(self.model.parts(self.rows, a))


@dataclass(frozen=True, eq=False)
class FittedKernelSumGP:
    """The model after some measured networks."""

    observations: Observations
    beliefs: tuple[Belief, ...]

    def belief(self, device: str) -> Belief:
        """What to choose the device's next samples by. Raises UnknownName."""
        return self.beliefs[self.observations.index(device)]

    def posterior(self, features: FloatArray, device: str, joint: bool = False) -> Posterior:
        """As `predictors.FittedPredictor.posterior`."""
        belief = self.belief(device)
        mean, spread = belief.predict(features, joint)
        std = np.sqrt(np.maximum(np.diag(spread) if joint else spread, 0.0))
        noise_std = np.full(len(mean), np.sqrt(belief.noise_variance))
        return Posterior(features[:, 0] + mean, std, noise_std, spread if joint else None)


def _diagonals(model: KernelSumGP, features: FloatArray) -> tuple[FloatArray, ...]:
    """(M,) each: the diagonals of `model.parts(features, features)`."""
    own = features[:, 1 : 1 + model.kernels]
    slope = model._scaled(features)[:, 0]
    return (own**2).sum(1), 1 + SLOPE**2 * slope**2, np.ones(len(features))
