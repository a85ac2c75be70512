"""A Gaussian process on log-latency, shared between devices.

The latency of network x on device d, in natural-log seconds, is

    y = centre_d + offset_d + scale_d (slope log MACs(x) + f(x) + g_d(x)) + noise

with f common to all devices and g_d the device's own, an intrinsic coregionalisation (Bonilla,
Chai & Williams, Multi-task Gaussian Process Prediction, NeurIPS 2007, equation 1) of equally
related devices. f and g_d are sums of a linear, an additive and an RBF process on standardised
features. Weights, noise, slope and the share of f are averaged over a grid by evidence, so
fitting needs no gradient and no iteration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from predictors import FloatArray, Observations, Posterior
from predictors.encodings.normalisation import Standardisation, TrainingRows
from predictors.models import evidence, unseen
from predictors.models.kernels import FeatureKernels

SLOPES = np.array([0.0, 0.5, 1.0])
"""Slope of log-latency on log MACs, both in standard deviations: from none to all of it."""

OFFSET_STD = 2.0
"""Log-seconds; of a device's level around the mean of its own measurements."""

LATENCY_PER_MACS = 0.5
"""Spread of log-latency expected per spread of log MACs: published tables have 0.3 to 0.8."""

SPREAD_WITHOUT_MACS = 0.3
"""Log-seconds; median over the published devices of NAS-Bench-201."""

SPREAD_OBSERVATIONS = 2.0
"""How many measurements the expected spread of a device counts for."""

_SMALLEST_MACS = 1.0
"""A network without any multiplication counts as this many, so that it has a logarithm."""

_CHUNK = 2048
"""Rows predicted at once: small enough for the cache, large enough for the matrix product."""


@dataclass(frozen=True)
class Hyperparameters:
    """One point of the grid; variances are relative to a device's own spread.

    weights: of the linear, additive and RBF kernel.
    shared: share of the variance that is common to all devices.
    noise: variance of one measurement.
    """

    weights: tuple[float, float, float]
    shared: float
    noise: float


def grid() -> tuple[Hyperparameters, ...]:
    """The hyper-parameters that are averaged over, equally likely beforehand."""
    choices = product(
        (0.1, 1.0), (0.03, 0.3), (0.03, 0.3), (0.0, 0.5, 0.9, 0.99), (1e-4, 1e-3, 1e-2, 0.1, 0.5)
    )
    return tuple(Hyperparameters((a, b, c), shared, noise) for a, b, c, shared, noise in choices)


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """The model before any observation, over a pool of candidate networks.

    kernels: on features standardised over the pool.
    macs_column: column of the features that counts multiply-accumulates, or None.
    log_macs: standardisation of that column's logarithm over the pool.
    hyperparameters: grid to average over.
    """

    kernels: FeatureKernels
    macs_column: int | None
    log_macs: Standardisation | None
    hyperparameters: tuple[Hyperparameters, ...]

    @classmethod
    def over(cls, pool: FloatArray, macs_column: int | None = None) -> GaussianProcess:
        """pool: (N, F) features of all candidates. Raises ValueError for values not finite."""
        kernels = FeatureKernels.of_pool(pool)
        if macs_column is None or macs_column not in kernels.varying:
            return cls(kernels, None, None, grid())
        column = _log_column(pool, macs_column)
        scaled = Standardisation.fit(column, TrainingRows.every(column))
        return cls(kernels, macs_column, scaled, grid())

    @property
    def expected_spread(self) -> float:
        """Standard deviation of log-latency over the pool, before anything was measured."""
        if self.log_macs is None:
            return SPREAD_WITHOUT_MACS
        return LATENCY_PER_MACS * float(self.log_macs.scale[0])

    def size(self, features: FloatArray) -> FloatArray:
        """(M, F) -> (M,), standardised log MACs; zeros without a MACs column."""
        if self.log_macs is None or self.macs_column is None:
            return np.zeros(len(features))
        return self.log_macs.apply(_log_column(features, self.macs_column))[:, 0]

    def fit(self, observations: Observations) -> FittedGaussianProcess:
        """Condition on `observations`; of the order of 0.1 s for a hundred entries."""
        devices = Devices.of(observations, self.expected_spread)
        entries = Entries.of(self, observations, devices)
        residuals = entries.target[:, None] - self.size(observations.features)[:, None] * SLOPES
        points = self.hyperparameters
        hypotheses = evidence.average(
            lambda t: entries.covariance(points[t]), len(points), residuals, np.zeros(len(SLOPES))
        )
        return FittedGaussianProcess(self, observations, devices, tuple(hypotheses))

    def covariance(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """Prior covariance on one device, averaged over the grid: (A, F), (B, F) -> (A, B).

        In units of the expected spread squared; it depends on no measured value.
        """
        total = np.tensordot(self._mean_weights, self.kernels.matrices(a, b), 1)
        total += SLOPES.var() * np.outer(self.size(a), self.size(b))
        return np.asarray(total + (OFFSET_STD / self.expected_spread) ** 2)

    def variance(self, a: FloatArray) -> FloatArray:
        """The diagonal of `covariance(a, a)`: (A, F) -> (A,)."""
        total = self._mean_weights @ self.kernels.diagonals(a)
        total += SLOPES.var() * self.size(a) ** 2
        return np.asarray(total + (OFFSET_STD / self.expected_spread) ** 2)

    @property
    def noise_variance(self) -> float:
        """Prior variance of one measurement, in units of the expected spread squared."""
        return float(np.mean([point.noise for point in self.hyperparameters]))

    @property
    def _mean_weights(self) -> FloatArray:
        return np.asarray(np.mean([point.weights for point in self.hyperparameters], axis=0))


@dataclass(frozen=True, eq=False)
class Devices:
    """Level and spread of each device's log-latency: (D,) each, log-seconds.

    centre: mean of what was measured; offset_std: how far the device's level may be from it;
    spread: standard deviation, shrunk towards the expected one.
    """

    centre: FloatArray
    offset_std: FloatArray
    spread: FloatArray

    @classmethod
    def of(cls, observations: Observations, expected_spread: float) -> Devices:
        """From measured entries; a device without any gets the level of the others, loosely."""
        log_s = np.log(observations.latency_s)
        count = np.bincount(observations.device, minlength=len(observations.devices))
        sums = np.bincount(observations.device, log_s, len(observations.devices))
        means = sums / np.maximum(count, 1)
        elsewhere = means[count > 0].mean() if count.any() else unseen.LOG_S
        centre = np.where(count > 0, means, elsewhere)
        squares = (log_s - centre[observations.device]) ** 2
        squares = np.bincount(observations.device, squares, len(observations.devices))
        prior = SPREAD_OBSERVATIONS * expected_spread**2
        spread = np.sqrt((prior + squares) / (SPREAD_OBSERVATIONS + np.maximum(count - 1, 0)))
        return cls(centre, np.where(count > 0, OFFSET_STD, unseen.STD), spread)


@dataclass(frozen=True, eq=False)
class Entries:
    """Measured entries in relative units, with the kernels between them.

    target: (n,), centred and divided by the spread of the entry's device.
    kernels: (COUNT, n, n). same: (n, n), 1 where two entries are of one device.
    offset: (n, n), covariance of the devices' levels.
    """

    target: FloatArray
    kernels: FloatArray
    same: FloatArray
    offset: FloatArray

    @classmethod
    def of(cls, model: GaussianProcess, observed: Observations, devices: Devices) -> Entries:
        d = observed.device
        target = (np.log(observed.latency_s) - devices.centre[d]) / devices.spread[d]
        same = (d[:, None] == d[None]).astype(np.float64)
        level = (devices.offset_std / devices.spread)[d]
        kernels = model.kernels.matrices(observed.features, observed.features)
        return cls(target, kernels, same, same * np.outer(level, level))

    def covariance(self, point: Hyperparameters) -> FloatArray:
        """(n, n), noise included."""
        common = np.tensordot(point.weights, self.kernels, 1)
        relation = point.shared + (1 - point.shared) * self.same
        return np.asarray(common * relation + self.offset + point.noise * np.eye(len(common)))


@dataclass(frozen=True, eq=False)
class FittedGaussianProcess:
    """The model after some observations."""

    model: GaussianProcess
    observations: Observations
    devices: Devices
    hypotheses: tuple[evidence.Hypothesis, ...]

    def posterior(self, features: FloatArray, device: str, joint: bool = False) -> Posterior:
        """As `predictors.FittedPredictor.posterior`; `joint` needs M^2 numbers."""
        d = self.observations.index(device)
        size = len(features) if joint else _CHUNK
        parts = [self._chunk(rows, d, joint) for rows in _chunks(features, size)]
        centre, spread = self.devices.centre[d], self.devices.spread[d]
        mean = centre + spread * np.concatenate([mean for mean, _ in parts])
        noise_std = np.full(len(mean), self._noise_std(spread))
        if joint:
            covariance = spread**2 * parts[0][1]
            std = np.sqrt(np.maximum(np.diag(covariance), 0))
            return Posterior(mean, std, noise_std, covariance)
        std = spread * np.sqrt(np.maximum(np.concatenate([variance for _, variance in parts]), 0))
        return Posterior(mean, std, noise_std)

    def _noise_std(self, spread: float) -> float:
        variance = sum(h.weight.sum() * point.noise for point, h in self._points())
        return float(spread * np.sqrt(variance))

    def _chunk(
        self, features: FloatArray, device: int, joint: bool
    ) -> tuple[FloatArray, FloatArray]:
        """Mean (M,) and variance (M,), or covariance (M, M), relative to the device's spread."""
        kernels = self.model.kernels
        own = kernels.matrices(features, features) if joint else kernels.diagonals(features)
        same = (self.observations.device == device).astype(np.float64)[:, None]
        between = kernels.matrices(self.observations.features, features)
        slope = self.model.size(features)[:, None] * SLOPES
        level = float(self.devices.offset_std[device] / self.devices.spread[device]) ** 2
        means, spreads = [], []
        for point, hypothesis in self._points():
            relation = point.shared + (1 - point.shared) * same
            cross = np.tensordot(point.weights, between, 1) * relation + level * same
            explained, reduction = hypothesis.conditioned.explain(cross)
            gain = reduction.T @ reduction if joint else (reduction**2).sum(0)
            means.append(explained + slope[:, hypothesis.columns])
            spreads.append(np.tensordot(point.weights, own, 1) + level - gain)
        return evidence.moments([h.weight for h in self.hypotheses], means, spreads)

    def _points(self) -> Iterator[tuple[Hyperparameters, evidence.Hypothesis]]:
        for hypothesis in self.hypotheses:
            yield self.model.hyperparameters[hypothesis.index], hypothesis


def _chunks(features: FloatArray, size: int) -> Iterator[FloatArray]:
    for start in range(0, max(len(features), 1), max(size, 1)):
        yield features[start : start + max(size, 1)]


def _log_column(features: FloatArray, column: int) -> FloatArray:
    return np.log(np.maximum(features[:, [column]], _SMALLEST_MACS))
