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
from scipy.special import logsumexp

from predictors import FloatArray, Observations, Posterior
from predictors.encodings.normalisation import Standardisation, TrainingRows
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
        return FittedKernelSumGP(self, observations)

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
class FittedKernelSumGP:
    """The model after some measured networks."""

    model: KernelSumGP
    observations: Observations

    def posterior(self, features: FloatArray, device: str, joint: bool = False) -> Posterior:
        """As `predictors.FittedPredictor.posterior`."""
        seen = self.observations.device == self.observations.index(device)
        rows, latency_s = self.observations.features[seen], self.observations.latency_s[seen]
        residual, own_noise = np.log(latency_s) - rows[:, 0], self.observations.own_noise_std[seen]
        among, across = self.model.parts(rows, rows), self.model.parts(rows, features)
        own = self.model.parts(features, features) if joint else _diagonals(self.model, features)
        found = [_conditioned(point, residual, own_noise, among, across, own) for point in GRID]
        log_weight = _LOG_PRIOR + np.array([evidence for _, _, evidence in found])
        weight = np.exp(log_weight - logsumexp(log_weight))
        means = np.stack([mean for mean, _, _ in found])
        mean = weight @ means
        apart = means - mean
        spread = np.tensordot(weight, np.stack([variance for _, variance, _ in found]), 1)
        spread += (apart.T * weight) @ apart if joint else weight @ apart**2
        noise_std = np.sqrt(weight @ np.array([noise**2 for _, _, noise in GRID]))
        std = np.sqrt(np.maximum(np.diag(spread) if joint else spread, 0.0))
        noise = np.full(len(mean), noise_std)
        return Posterior(features[:, 0] + mean, std, noise, spread if joint else None)


def _diagonals(model: KernelSumGP, features: FloatArray) -> tuple[FloatArray, ...]:
    """(M,) each: the diagonals of `model.parts(features, features)`."""
    own = features[:, 1 : 1 + model.kernels]
    slope = model._scaled(features)[:, 0]
    return (own**2).sum(1), 1 + SLOPE**2 * slope**2, np.ones(len(features))


def _conditioned(
    point: tuple[float, float, float],
    residual: FloatArray,
    own_noise: FloatArray,
    among: tuple[FloatArray, ...],
    across: tuple[FloatArray, ...],
    own: tuple[FloatArray, ...],
) -> tuple[FloatArray, FloatArray, float]:
    """Mean and (co)variance of the residual at a point of the grid, and the log evidence for it.

    residual, own_noise: (n,) log-seconds. among: (n, n) each; across: (n, M); own: (M,) or (M, M).
    """
    level, smooth, noise = point
    scales = np.array([1.0, level**2, smooth**2])
    covariance, cross, prior = (np.tensordot(scales, np.stack(p), 1) for p in (among, across, own))
    factor = np.linalg.cholesky(covariance + np.diag(noise**2 + own_noise**2))
    white = np.linalg.solve(factor, residual)
    known = np.linalg.solve(factor, cross)
    less = known.T @ known if prior.ndim == 2 else (known**2).sum(0)
    evidence = -0.5 * float(white @ white) - float(np.log(np.diag(factor)).sum())
    return known.T @ white, prior - less, evidence
